//! What a connection costs in memory that is open and does nothing.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use adit_net::Namespace;
use anyhow::Context;

use super::{Sample, hold};
use crate::ground::{Ground, HOLD};
use crate::systems::System;

/// Connections that never did anything.
const IDLE: usize = 4000;
/// Connections that have carried 12 MB.
const BUSY: usize = 200;
/// Until an allocator has given back what it wants to: ours waits for five seconds.
pub const SETTLE: Duration = Duration::from_secs(8);

pub fn idle(ground: &Ground, system: &System) -> anyhow::Result<Sample> {
    held(ground, system, IDLE, hold::idle)
}

pub fn after_bulk(ground: &Ground, system: &System) -> anyhow::Result<Sample> {
    held(ground, system, BUSY, hold::bulk)
}

fn held(
    ground: &Ground,
    system: &System,
    count: usize,
    open: fn(&Namespace, SocketAddr) -> anyhow::Result<TcpStream>,
) -> anyhow::Result<Sample> {
    let namespace = ground.namespace(&system.pods.client)?;
    let server = ground.address(&system.pods.server, HOLD)?;
    // What only the first connection costs is not a connection's.
    let first = open(namespace, server)?;
    std::thread::sleep(SETTLE);
    let before = (system.near.resident()?, system.far.resident()?);
    let connections = (0..count)
        .map(|index| open(namespace, server).with_context(|| format!("connection {index}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::sleep(SETTLE);
    let after = (system.near.resident()?, system.far.resident()?);
    drop((connections, first));
    let each = |before: f64, after: f64| (after - before).max(0.0) / count as f64;
    let (client, server) = (each(before.0, after.0), each(before.1, after.1));
    Ok(Sample::from([
        ("kb_per_conn", client.max(server)),
        ("kb_per_conn_client", client),
        ("kb_per_conn_server", server),
    ]))
}
