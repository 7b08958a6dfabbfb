//! How connections are treated.

use std::time::Duration;

use super::error::ConfigError;
use super::read;
use crate::cli::TrafficArgs;

/// A push of the control plane and a certificate take a second, ten when something had to be tried again. A peer
/// waits 15 s for the answer to its CONNECT: refusing before that tells it the reason.
const DEFAULT_READY_TIMEOUT: Duration = Duration::from_secs(10);

/// How connections are treated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// How long a connection waits for the first complete configuration, for its pod to be known, or for a
    /// certificate, before it is refused.
    pub ready_timeout: Duration,
    /// Whether IPv6 is used where the kernel and the pod have it.
    pub ipv6: bool,
    /// Whether an application tunnel is reached at the loopback address.
    pub localhost_app_tunnel: bool,
    /// Whether answers to CONNECT tell which workload served it, and those of peers are believed in metrics.
    pub response_baggage: bool,
}

impl Traffic {
    pub(super) fn new(args: &TrafficArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            ready_timeout: read::duration("ADIT_READY_TIMEOUT", &args.ready_timeout)?
                .unwrap_or(DEFAULT_READY_TIMEOUT),
            ipv6: read::boolean("IPV6_ENABLED", &args.ipv6_enabled)?.unwrap_or(true),
            localhost_app_tunnel: read::boolean("LOCALHOST_APP_TUNNEL", &args.localhost_app_tunnel)?
                .unwrap_or(true),
            response_baggage: read::boolean("ENABLE_RESPONSE_BAGGAGE", &args.enable_response_baggage)?
                .unwrap_or(true),
        })
    }
}
