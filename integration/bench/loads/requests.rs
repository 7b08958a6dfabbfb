//! Requests over connections that stay, by wrk.

use std::time::Duration;

use adit::lab::host;
use anyhow::{Context, ensure};

use super::hold::SlowReader;
use super::{Sample, costing};
use crate::ground::{Ground, HOLD, HTTP};
use crate::systems::System;
use crate::tools;

/// Makes wrk print what we read, latencies in microseconds.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"#;

struct Figures {
    requests: f64,
    rate: f64,
    latencies: [f64; 3],
}

pub fn run(ground: &Ground, system: &System, time: Duration, connections: u32) -> anyhow::Result<Sample> {
    let (figures, cpu) = costing(system, || wrk(ground, system, time, connections))?;
    let mut sample = sample(&figures);
    if !cpu.is_zero() {
        sample.insert("cpu_ms_per_req", cpu.as_secs_f64() * 1e3 / figures.requests);
    }
    Ok(sample)
}

/// What fifty connections get alone, and what they get beside a reader that takes next to nothing of what it asked for.
pub fn beside_a_slow_reader(ground: &Ground, system: &System, time: Duration) -> anyhow::Result<Sample> {
    const FAST: u32 = 50;
    let alone = wrk(ground, system, time, FAST)?;
    let namespace = ground.namespace(&system.pods.client)?;
    let slow = SlowReader::start(namespace, ground.address(&system.pods.server, HOLD)?)?;
    let (beside, cpu) = costing(system, || wrk(ground, system, time, FAST))?;
    let read = slow.end()?;
    ensure!(read > 0, "the slow reader got nothing at all");
    let mut sample = sample(&beside);
    sample.insert("rps_alone", alone.rate);
    sample.insert("p99_us_alone", alone.latencies[1]);
    if !cpu.is_zero() {
        sample.insert("cpu_ms_per_req", cpu.as_secs_f64() * 1e3 / beside.requests);
    }
    Ok(sample)
}

fn sample(figures: &Figures) -> Sample {
    let [p50, p99, p999] = figures.latencies;
    Sample::from([
        ("rps", figures.rate),
        ("p50_us", p50),
        ("p99_us", p99),
        ("p999_us", p999),
    ])
}

fn wrk(ground: &Ground, system: &System, time: Duration, connections: u32) -> anyhow::Result<Figures> {
    let script = host::path("wrk.lua");
    std::fs::write(&script, SCRIPT).context("cannot write wrk's script")?;
    let url = format!("http://{}/", ground.address(&system.pods.server, HTTP)?);
    let namespace = ground.namespace(&system.pods.client)?;
    let script = script.display().to_string();
    // wrk counts whole seconds only.
    let seconds = time.as_secs_f64().ceil().to_string();
    let connections = connections.to_string();
    let arguments = ["-t1", "-c", &connections, "-d", &seconds, "-s", &script, &url];
    let text = tools::output(namespace, "wrk", &arguments)?;
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let line = line.with_context(|| format!("wrk gives no result: {text}"))?;
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [requests, microseconds, errors, p50, p99, p999] = numbers[..] else {
        anyhow::bail!("wrk's result is {line:?}");
    };
    ensure!(errors == 0.0 && requests > 0.0, "requests failed: {text}");
    Ok(Figures {
        requests,
        rate: requests / (microseconds / 1e6),
        latencies: [p50, p99, p999],
    })
}
