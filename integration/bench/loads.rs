//! What is done to each system, and what is read off it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use crate::ground::Ground;
use crate::systems::System;

mod connections;
mod handshakes;
pub mod hold;
mod memory;
mod pods;
mod requests;
mod throughput;

/// Figures of one run of one load, by the name of the metric.
pub type Sample = BTreeMap<&'static str, f64>;

/// A load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Load {
    /// One stream of bytes.
    Tput1,
    /// Eight streams of bytes.
    Tput8,
    /// Requests of 1 KiB, one after another over one connection.
    Rps1,
    /// The same over 32 connections.
    Rps32,
    /// New connections, one request each.
    Conn,
    /// New tunnels: TLS handshakes with the server's end.
    Handshake,
    /// One reader that hardly reads among 50 connections that do.
    Slow,
    /// 4,000 connections that do nothing.
    Idle,
    /// 200 connections that do nothing any more.
    Busy,
    /// A tunnel that has no pods, and then 110 that do nothing.
    Pods,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Load {
    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tput1 => "tput1",
            Self::Tput8 => "tput8",
            Self::Rps1 => "rps1",
            Self::Rps32 => "rps32",
            Self::Conn => "conn",
            Self::Handshake => "handshake",
            Self::Slow => "slow",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Pods => "pods",
        }
    }

    /// Whether it tells about memory.
    pub fn is_memory(self) -> bool {
        matches!(self, Self::Idle | Self::Busy | Self::Pods)
    }

    /// Whether there is anything to be learned from it about this system.
    pub fn applies_to(self, system: &System) -> bool {
        match self {
            Self::Idle | Self::Busy => !system.processes().0.is_empty(),
            Self::Pods => system.program.is_some(),
            Self::Handshake => system.handshake.is_some(),
            _ => true,
        }
    }

    /// Runs it for about so many seconds.
    ///
    /// # Errors
    /// A load generator fails, or anything that it sent did.
    pub fn run(self, ground: &mut Ground, system: &System, seconds: f64) -> anyhow::Result<Sample> {
        let time = Duration::from_secs_f64(seconds);
        match self {
            Self::Tput1 => throughput::run(ground, system, time, 1),
            Self::Tput8 => throughput::run(ground, system, time, 8),
            Self::Rps1 => requests::run(ground, system, time, 1),
            Self::Rps32 => requests::run(ground, system, time, 32),
            Self::Conn => connections::run(ground, system, time),
            Self::Handshake => handshakes::run(ground, system, time),
            Self::Slow => requests::beside_a_slow_reader(ground, system, time),
            Self::Idle => memory::idle(ground, system),
            Self::Busy => memory::after_bulk(ground, system),
            Self::Pods => pods::run(ground, system),
        }
    }
}

/// Runs something and says how long the system's processes computed for it.
fn costing<T>(system: &System, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Duration)> {
    let processes = system.processes();
    let before = processes.cpu()?;
    let result = run()?;
    Ok((result, processes.cpu()?.saturating_sub(before)))
}
