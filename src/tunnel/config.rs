//! The configuration of the tunnel: typed, and valid because it exists.
//!
//! [`Config::new`] is the only way from text to values. A wrong value is an error that names the variable, the value
//! and what is allowed, never a silent default; a setting of ztunnel's that is not supported is reported, and stops
//! the start if ignoring it would make the mesh less safe than its operator believes; an unknown variable of ours is
//! an error, because it is a misspelt setting.

mod environment;
mod error;
mod hbone;
mod limits;
mod node;
mod process;
mod proxy_config;
mod read;
mod sockets;
mod sources;
mod spans;
mod traffic;
pub(crate) mod unsupported;

pub use environment::Environment;
pub use error::ConfigError;
pub use limits::Limits;
pub use node::{Node, OwnPod};
pub use process::{LogFormat, Logging, Ports, Process};
pub use sockets::{KeepSource, Sockets};
pub use sources::{CertificateSource, Certificates, MeshSource, State};
pub use traffic::Traffic;
pub use unsupported::Unsupported;

use std::path::PathBuf;

use crate::cli::Args;

/// Everything that can be configured.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where the tunnel runs, and who it is.
    pub node: Node,
    /// Where workloads, services and policies come from.
    pub mesh: MeshSource,
    /// Certificates and trust.
    pub certificates: Certificates,
    /// What is kept for a successor; `None` keeps nothing.
    pub state: Option<State>,
    /// The socket on which the node agent hands over pods.
    pub agent_socket: PathBuf,
    /// Options of sockets.
    pub sockets: Sockets,
    /// Windows, limits and deadlines of HBONE.
    pub hbone: adit_hbone::Settings,
    /// How much one pod and all together may have.
    pub limits: Limits,
    /// How connections are treated.
    pub traffic: Traffic,
    /// Workers, ports, shutdown and logging.
    pub process: Process,
    /// Spans: where they go, and which connections have one. `None` if there are none.
    pub spans: Option<adit_telemetry::spans::Settings>,
    /// Settings of ztunnel that were given and have no effect here, for a warning each.
    pub unsupported: Vec<Unsupported>,
}

impl Config {
    /// Makes a configuration of what was given: flags and their variables in `args`, everything else from
    /// `environment`. A flag wins over its variable, that over `PROXY_CONFIG`, and that over the default.
    ///
    /// # Errors
    /// The first setting that is wrong, missing, unknown, or unsafe to ignore.
    pub fn new(args: Args, environment: &Environment) -> Result<Self, ConfigError> {
        unsupported::check_names(environment)?;
        let proxy = proxy_config::read(args.sources.proxy_config.as_deref(), environment)?;
        let mut unsupported = unsupported::find(environment, &proxy)?;
        unsupported.extend(sources::overruled(&args.sources));
        let node = Node::new(&args.node, &proxy, environment)?;
        Ok(Self {
            spans: spans::settings(&args.spans, &node)?,
            mesh: MeshSource::new(&args.sources, &node, &proxy, environment)?,
            certificates: Certificates::new(&args, &node, environment)?,
            node,
            state: State::new(&args.sources)?,
            agent_socket: sources::agent_socket(&args.sources)?,
            sockets: Sockets::new(&args.sockets)?,
            hbone: hbone::settings(&args.hbone)?,
            limits: Limits::new(&args.limits)?,
            traffic: Traffic::new(&args.traffic)?,
            process: Process::new(&args.process, &proxy, environment)?,
            unsupported,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
