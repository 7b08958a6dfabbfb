//! New connections with one request each, by ab, four at a time.

use std::time::Duration;

use adit::lab::host;
use anyhow::{Context, ensure};

use super::{Sample, costing};
use crate::ground::{Ground, HTTP};
use crate::systems::System;
use crate::tools;

/// More than can be made in the time; ab ends at the first of the two.
const MANY: &str = "1000000";

pub fn run(ground: &Ground, system: &System, time: Duration) -> anyhow::Result<Sample> {
    let url = format!("http://{}/", ground.address(&system.pods.server, HTTP)?);
    let namespace = ground.namespace(&system.pods.client)?;
    let table = host::path("ab.csv").display().to_string();
    // ab counts whole seconds only; `-n` goes after `-t`, which sets it too.
    let seconds = time.as_secs_f64().ceil().to_string();
    let arguments = ["-q", "-t", &seconds, "-n", MANY, "-c", "4", "-e", &table, &url];
    let (text, cpu) = costing(system, || tools::output(namespace, "ab", &arguments))?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next());
        Ok(value
            .with_context(|| format!("ab says no {name:?}: {text}"))?
            .parse()?)
    };
    let made = field("Complete requests:")?;
    ensure!(
        made > 0.0 && field("Failed requests:")? == 0.0,
        "requests failed: {text}"
    );
    let latencies = std::fs::read_to_string(&table).context("cannot read ab's table")?;
    let latency = |percent: &str| -> anyhow::Result<f64> {
        let line = latencies.lines().find_map(|line| line.strip_prefix(percent));
        let milliseconds: f64 = line
            .with_context(|| format!("ab has no {percent} %"))?
            .trim()
            .parse()?;
        Ok(milliseconds * 1e3)
    };
    let mut sample = Sample::from([
        ("conn_per_s", field("Requests per second:")?),
        ("p50_us", latency("50,")?),
        ("p99_us", latency("99,")?),
    ]);
    if !cpu.is_zero() {
        sample.insert("cpu_ms_per_conn", cpu.as_secs_f64() * 1e3 / made);
    }
    Ok(sample)
}
