//! How sockets are made: for connections that stay on this node, and for those to other nodes.

use std::time::Duration;

use adit_net::constants::{MARK_MASK, TUNNEL_MARK};
use adit_net::{Congestion, Keepalive, SocketOptions};

use super::error::ConfigError;
use super::read;
use crate::cli::SocketArgs;

/// As ztunnel: below the ten minutes and more after which firewalls forget an idle connection.
const DEFAULT_KEEPALIVE: Keepalive = Keepalive {
    time: Duration::from_secs(180),
    interval: Duration::from_secs(180),
    retries: 9,
};
/// Seconds, `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` of Linux.
const LONGEST_KEEPALIVE: u64 = 32_767;
/// `MAX_TCP_KEEPCNT` of Linux.
const MOST_KEEPALIVE_RETRIES: u32 = 127;
/// Milliseconds, what `TCP_USER_TIMEOUT` takes.
const LONGEST_USER_TIMEOUT: u128 = i32::MAX as u128;

/// Options of sockets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sockets {
    /// Connections that stay on this node: from and to applications, and between tunnel ends of the same node.
    pub local: SocketOptions,
    /// Connections to and from other nodes.
    pub remote: SocketOptions,
    /// Whether applications see their client's address.
    pub keep_source: KeepSource,
}

/// What to do about the source address of a connection to an application.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum KeepSource {
    /// Keep it; where that is impossible, say so in the log and connect from the pod's own address.
    #[default]
    Try,
    /// Keep it; where that is impossible, refuse the connection.
    Require,
    /// Connect from the pod's own address.
    Never,
}

impl Sockets {
    pub(super) fn new(args: &SocketArgs) -> Result<Self, ConfigError> {
        let keepalive = keepalive(args)?;
        let common = SocketOptions {
            mark: Some(mark(&args.packet_mark)?),
            keepalive: read::boolean("KEEPALIVE_ENABLED", &args.keepalive_enabled)?
                .unwrap_or(true)
                .then_some(keepalive),
            user_timeout: user_timeout(args, keepalive)?,
            ..SocketOptions::default()
        };
        let local = match read::given(args.local_congestion.as_deref()) {
            None | Some("auto") => Congestion::for_node_local(),
            Some(name) => congestion("ADIT_LOCAL_CONGESTION", name)?,
        };
        let remote = congestion(
            "ADIT_REMOTE_CONGESTION",
            read::given(args.remote_congestion.as_deref()).unwrap_or("host"),
        )?;
        let keep_source = match read::boolean("ENABLE_ORIG_SRC", &args.enable_orig_src)? {
            None => KeepSource::Try,
            Some(true) => KeepSource::Require,
            Some(false) => KeepSource::Never,
        };
        Ok(Self {
            local: SocketOptions {
                congestion: local,
                ..common.clone()
            },
            remote: SocketOptions {
                congestion: remote,
                ..common
            },
            keep_source,
        })
    }

    /// The options towards a peer.
    pub fn towards(&self, on_this_node: bool) -> &SocketOptions {
        if on_this_node { &self.local } else { &self.remote }
    }
}

/// The rules in pods let pass what bears the mesh's mark in its lowest bits; with any other mark the tunnel would be
/// redirected to itself for ever.
fn mark(value: &Option<String>) -> Result<u32, ConfigError> {
    let mark = read::number("PACKET_MARK", value, 0, u32::MAX)?.unwrap_or(TUNNEL_MARK);
    if mark & MARK_MASK != TUNNEL_MARK {
        let allowed = format!(
            "{TUNNEL_MARK} ({TUNNEL_MARK:#x}), or a number with the same lowest 12 bits: others are redirected to \
             the tunnel itself"
        );
        return Err(ConfigError::invalid(
            "PACKET_MARK",
            value.as_deref().unwrap_or_default(),
            allowed,
        ));
    }
    Ok(mark)
}

fn keepalive(args: &SocketArgs) -> Result<Keepalive, ConfigError> {
    Ok(Keepalive {
        time: read::seconds("KEEPALIVE_TIME", &args.keepalive_time, LONGEST_KEEPALIVE)?
            .unwrap_or(DEFAULT_KEEPALIVE.time),
        interval: read::seconds("KEEPALIVE_INTERVAL", &args.keepalive_interval, LONGEST_KEEPALIVE)?
            .unwrap_or(DEFAULT_KEEPALIVE.interval),
        retries: read::number(
            "KEEPALIVE_RETRIES",
            &args.keepalive_retries,
            1,
            MOST_KEEPALIVE_RETRIES,
        )?
        .unwrap_or(DEFAULT_KEEPALIVE.retries),
    })
}

/// The time after which keepalive would have given up as well.
fn user_timeout(args: &SocketArgs, keepalive: Keepalive) -> Result<Option<Duration>, ConfigError> {
    if !read::boolean("USER_TIMEOUT_ENABLED", &args.user_timeout_enabled)?.unwrap_or(false) {
        return Ok(None);
    }
    let timeout = keepalive.time + keepalive.interval * keepalive.retries;
    if timeout.as_millis() > LONGEST_USER_TIMEOUT {
        let allowed = "false, or keepalive settings that end a connection within 24 days, the kernel's limit";
        return Err(ConfigError::invalid("USER_TIMEOUT_ENABLED", "true", allowed));
    }
    Ok(Some(timeout))
}

fn congestion(variable: &'static str, name: &str) -> Result<Option<Congestion>, ConfigError> {
    match name {
        "host" => Ok(None),
        _ => match Congestion::new(name) {
            Ok(congestion) => Ok(Some(congestion)),
            Err(source) => Err(ConfigError::Congestion { variable, source }),
        },
    }
}
