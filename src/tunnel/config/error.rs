//! What can be wrong with a configuration.

use std::path::PathBuf;

use adit_net::socket::InvalidCongestion;
use adit_telemetry::runtime::workers::InvalidWorkers;
use thiserror::Error;

/// Why the tunnel does not start. Every text names the setting, what is wrong, and what to do.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum ConfigError {
    /// A value that is none.
    #[error("{variable} (flag {flag}) is {value:?}: give {allowed}", flag = flag(variable))]
    Invalid {
        /// The variable of the setting.
        variable: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: String,
    },
    /// A setting without which there is nothing to do.
    #[error("{variable} (flag {flag}) is not set: give {needed}", flag = flag(variable))]
    Missing {
        /// The variable of the setting.
        variable: &'static str,
        /// What has to be given, and why nothing else serves.
        needed: &'static str,
    },
    /// Settings that are only meaningful together.
    #[error(
        "POD_NAME, POD_NAMESPACE and SERVICE_ACCOUNT describe the tunnel's own pod together: {missing} is not set"
    )]
    IncompletePod {
        /// The first one that is missing.
        missing: &'static str,
    },
    /// A congestion control that this kernel does not have.
    #[error("{variable} (flag {flag}): {source}", flag = flag(variable))]
    Congestion {
        /// The variable of the setting.
        variable: &'static str,
        /// What the kernel said.
        source: InvalidCongestion,
    },
    /// The number of workers cannot be decided.
    #[error(transparent)]
    Workers(#[from] InvalidWorkers),
    /// Two servers on one port.
    #[error("{first} and {second} are both {port}: give each a port of its own")]
    SamePort {
        /// The variable of the one.
        first: &'static str,
        /// The variable of the other.
        second: &'static str,
        /// The port.
        port: u16,
    },
    /// `PROXY_CONFIG`, or the file below it, is not what it should be.
    #[error("{origin} is not a ProxyConfig: {problem}")]
    ProxyConfig {
        /// The variable, or the file.
        origin: String,
        /// What the parser said.
        problem: String,
    },
    /// A file of the configuration that exists and cannot be read.
    #[error("{path} cannot be read: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// A header for the control plane that is none.
    #[error("{variable} is no header: {problem}")]
    Header {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting of ztunnel's that must not be ignored.
    #[error("{setting} is {value:?}, which is not supported and not safe to ignore: {reason}")]
    Refused {
        /// The variable.
        setting: String,
        /// What was given.
        value: String,
        /// What ignoring it would mean, and what to do.
        reason: &'static str,
    },
    /// A variable with our prefix that is no setting.
    #[error("{variable:?} is not a setting (`--help` lists them): correct its name or remove it")]
    Unknown {
        /// The variable.
        variable: String,
    },
}

impl ConfigError {
    pub(super) fn invalid(variable: &'static str, value: &str, allowed: impl Into<String>) -> Self {
        Self::Invalid {
            variable,
            value: value.to_owned(),
            allowed: allowed.into(),
        }
    }
}

/// The flag that goes with a variable.
pub(super) fn flag(variable: &str) -> String {
    let name = ["ADIT_", "ZTUNNEL_"]
        .into_iter()
        .find_map(|prefix| variable.strip_prefix(prefix))
        .unwrap_or(variable);
    format!("--{}", name.to_ascii_lowercase().replace('_', "-"))
}
