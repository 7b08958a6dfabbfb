//! Bytes from the client to the server, by iperf3.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Sample, costing};
use crate::ground::{Ground, IPERF};
use crate::systems::System;
use crate::tools;

pub fn run(ground: &Ground, system: &System, time: Duration, streams: u32) -> anyhow::Result<Sample> {
    let server = ground.address(&system.pods.server, IPERF)?;
    let namespace = ground.namespace(&system.pods.client)?;
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    // iperf3 counts whole seconds only.
    let seconds = time.as_secs_f64().ceil().to_string();
    let streams = streams.to_string();
    let arguments = ["-c", &host, "-p", &port, "-t", &seconds, "-P", &streams, "-J"];
    let (text, cpu) = costing(system, || tools::output(namespace, "iperf3", &arguments))?;
    let result: Value = serde_json::from_str(&text).context("iperf3's JSON")?;
    let received = &result["end"]["sum_received"];
    let number = |name: &str| {
        received[name]
            .as_f64()
            .with_context(|| format!("iperf3 says no {name}: {text}"))
    };
    let (bytes, rate) = (number("bytes")?, number("bits_per_second")?);
    ensure!(bytes > 0.0, "iperf3 moved nothing: {text}");
    let mut sample = Sample::from([("gbps", rate / 1e9)]);
    if !cpu.is_zero() {
        sample.insert("cpu_s_per_gb", cpu.as_secs_f64() / (bytes / 1e9));
    }
    Ok(sample)
}
