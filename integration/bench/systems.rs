//! What is compared: no proxy at all, nginx as a pair that does the same work, adit, and a stock ztunnel.

use clap::ValueEnum;
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cost::Processes;
use crate::ground::{Ground, Pods};

mod direct;
mod nginx;
pub mod tunnels;
mod ztunnel;

/// Which system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// No proxy.
    Direct,
    /// Two nginx: TCP in, mutual TLS 1.3 between, TCP out.
    Nginx,
    /// Two of our tunnels.
    Adit,
    /// Two tunnels of another build.
    Other,
    /// Two stock ztunnels.
    Ztunnel,
}

/// A system that runs.
pub struct System {
    /// Its name in the results.
    pub name: &'static str,
    /// Its pods.
    pub pods: Pods,
    /// What serves the client.
    pub near: Processes,
    /// What serves the server; the same as `near` where one process serves both.
    pub far: Processes,
    /// Our program, of which more can be started.
    pub program: Option<PathBuf>,
    /// How to make a tunnel to the server's end without sending anything through it.
    pub handshake: Option<Handshake>,
}

/// A server that takes handshakes.
#[derive(Clone)]
pub struct Handshake {
    /// Where.
    pub address: SocketAddr,
    /// As whom.
    pub config: Arc<ClientConfig>,
}

impl System {
    /// All its processes.
    pub fn processes(&self) -> Processes {
        if self.near == self.far {
            self.near.clone()
        } else {
            self.near.and(&self.far)
        }
    }
}

/// Starts what is wanted and can be had.
///
/// # Errors
/// One of them does not start.
pub fn start_all(ground: &mut Ground) -> anyhow::Result<Vec<System>> {
    let wanted = ground.args.systems.clone();
    let wanted = |kind| wanted.is_empty() || wanted.contains(&kind);
    let mut systems = Vec::new();
    if wanted(Kind::Direct) {
        systems.push(direct::start(ground)?);
    }
    if wanted(Kind::Nginx) {
        systems.push(nginx::start(ground)?);
    }
    if wanted(Kind::Adit) {
        let program = ground.args.tunnel.clone();
        systems.push(tunnels::start(ground, "adit", &program)?);
    }
    if let Some(program) = ground.args.other.clone().filter(|_| wanted(Kind::Other)) {
        systems.push(tunnels::start(ground, "other", &program)?);
    }
    if let Some(folder) = ground.ztunnel.clone().filter(|_| wanted(Kind::Ztunnel)) {
        systems.push(ztunnel::start(ground, &folder)?);
    }
    Ok(systems)
}
