//! The process itself: workers, ports, shutdown, logging.

use std::time::Duration;

use adit_mesh::constants::{ADMIN_PORT, METRICS_PORT, READINESS_PORT};
use adit_telemetry::log::levels::{DEFAULT as DEFAULT_LEVELS, Levels};
use adit_telemetry::runtime::workers::{self, Sources, Workers};

use super::environment::Environment;
use super::error::ConfigError;
use super::proxy_config::ProxyConfig;
use super::read;
use crate::cli::ProcessArgs;

/// How long open connections may go on where nobody says how much time there is; Istio's choice.
const DEFAULT_DRAIN: Duration = Duration::from_secs(5);
/// Kubernetes kills after the grace period; of a longer one so much is left to close what is still open.
const SHUTDOWN_MARGIN: u64 = 5;
/// A grace period of up to so many seconds is too short for that margin.
const SHORT_GRACE: u64 = 10;
/// Workers, ports, shutdown and logging.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// How many workers, and why.
    pub workers: Workers,
    /// Where the process answers about itself.
    pub ports: Ports,
    /// How long open connections may go on after SIGTERM. Zero cuts them at once.
    pub drain_deadline: Duration,
    /// What is logged, and how.
    pub logging: Logging,
}

/// Where the process answers about itself. All three differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// Administration, on the loopback interface.
    pub admin: u16,
    /// Metrics.
    pub stats: u16,
    /// The readiness probe.
    pub readiness: u16,
}

/// What is logged, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logging {
    /// Levels, in the form of `RUST_LOG`.
    pub levels: String,
    /// The form of lines.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LogFormat {
    /// Istio's, with tabs.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

impl Process {
    pub(super) fn new(
        args: &ProcessArgs,
        proxy: &ProxyConfig,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let workers = workers::decide(&Sources {
            worker_threads: args.worker_threads.clone(),
            concurrency: proxy.concurrency,
            resource_cpu_limit: args.resource_cpu_limit.clone(),
            cpu_limit: args.cpu_limit.clone(),
            resource_cpu_request: args.resource_cpu_request.clone(),
            cores: environment.cores,
        })?;
        Ok(Self {
            workers,
            ports: ports(args, proxy)?,
            drain_deadline: drain_deadline(args)?,
            logging: Logging {
                levels: levels(&args.rust_log)?,
                format: format(&args.log_format)?,
            },
        })
    }
}

fn ports(args: &ProcessArgs, proxy: &ProxyConfig) -> Result<Ports, ConfigError> {
    let port = |variable, value, otherwise: Option<u16>, default| -> Result<u16, ConfigError> {
        let given = read::number(variable, value, 1, u32::from(u16::MAX))?;
        // The range has been checked.
        Ok(given
            .and_then(|port| u16::try_from(port).ok())
            .or(otherwise)
            .unwrap_or(default))
    };
    let ports = Ports {
        admin: port("ADIT_PORT_ADMIN", &args.port_admin, proxy.admin_port, ADMIN_PORT)?,
        stats: port(
            "ADIT_PORT_STATS",
            &args.port_stats,
            proxy.stats_port,
            METRICS_PORT,
        )?,
        readiness: port("ADIT_PORT_READINESS", &args.port_readiness, None, READINESS_PORT)?,
    };
    let (admin, stats, readiness) = ("ADIT_PORT_ADMIN", "ADIT_PORT_STATS", "ADIT_PORT_READINESS");
    for (first, second, one, other) in [
        (admin, stats, ports.admin, ports.stats),
        (admin, readiness, ports.admin, ports.readiness),
        (stats, readiness, ports.stats, ports.readiness),
    ] {
        if one == other {
            return Err(ConfigError::SamePort {
                first,
                second,
                port: one,
            });
        }
    }
    Ok(ports)
}

/// What is given, else what the grace period leaves, else five seconds.
fn drain_deadline(args: &ProcessArgs) -> Result<Duration, ConfigError> {
    let given = read::duration_or_zero(
        "CONNECTION_TERMINATION_DEADLINE",
        &args.connection_termination_deadline,
    )?;
    let grace: Option<u32> = read::parsed(
        "TERMINATION_GRACE_PERIOD_SECONDS",
        &args.termination_grace_period_seconds,
        "a whole number of seconds, without a unit",
    )?;
    Ok(given
        .or(grace.map(|seconds| after_margin(u64::from(seconds))))
        .unwrap_or(DEFAULT_DRAIN))
}

fn after_margin(grace: u64) -> Duration {
    let margin = if grace > SHORT_GRACE { SHUTDOWN_MARGIN } else { 1 };
    Duration::from_secs(grace.saturating_sub(margin).max(1))
}

/// Checked by who will obey it, so that there is one language of levels.
fn levels(value: &Option<String>) -> Result<String, ConfigError> {
    let value = read::given(value.as_deref()).unwrap_or(DEFAULT_LEVELS);
    match Levels::new(Some(value)) {
        Ok(_) => Ok(value.to_owned()),
        Err(problem) => {
            let allowed = format!("levels separated by commas ({problem})");
            Err(ConfigError::invalid("RUST_LOG", value, allowed))
        }
    }
}

fn format(value: &Option<String>) -> Result<LogFormat, ConfigError> {
    match read::given(value.as_deref()) {
        None | Some("plain") => Ok(LogFormat::Plain),
        Some("json") => Ok(LogFormat::Json),
        Some(value) => Err(ConfigError::invalid("LOG_FORMAT", value, "plain or json")),
    }
}
