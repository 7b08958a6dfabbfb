//! Congestion control of a socket: a host's default of bbr paces with timers, which on a local hop only costs (three
//! times the CPU per byte, measured), so node-local sockets choose for themselves.

use std::fmt;
use std::sync::Arc;

use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use thiserror::Error;

use crate::namespace::errno_of;

/// The kernel's limit, `TCP_CA_NAME_MAX` without the final zero.
const MAXIMUM_NAME: usize = 15;

/// A congestion control that this kernel has and this process may use.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Congestion(Arc<str>);

impl Congestion {
    /// Tries the name on a socket, so that a setting is wrong at start and not with every connection.
    pub fn new(name: &str) -> Result<Self, InvalidCongestion> {
        let invalid = |errno| InvalidCongestion {
            name: name.to_owned(),
            errno,
            available: available(),
        };
        if name.is_empty() || name.len() > MAXIMUM_NAME || name.contains('\0') {
            return Err(invalid(Errno::EINVAL));
        }
        Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)
            .and_then(|socket| socket.set_tcp_congestion(name.as_bytes()))
            .map_err(|error| invalid(errno_of(&error)))?;
        Ok(Self(name.into()))
    }

    /// What suits a hop that stays on this node: cubic, else reno (which every kernel has and everybody may use).
    /// `None` when not even that can be set; the host's default is as good as can be had then.
    pub fn for_node_local() -> Option<Self> {
        ["cubic", "reno"]
            .into_iter()
            .find_map(|name| Self::new(name).ok())
    }

    /// The kernel's name for it.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names that the kernel offers, separated by spaces; empty when it does not say.
fn available() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .map(|names| names.trim().to_owned())
        .unwrap_or_default()
}

/// A congestion control that cannot be used here.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
#[error(
    "congestion control {name:?} cannot be used: {errno}; this kernel offers: {available} \
     (those outside net.ipv4.tcp_allowed_congestion_control need CAP_NET_ADMIN)"
)]
pub struct InvalidCongestion {
    /// What was asked for.
    pub name: String,
    /// What the kernel said.
    pub errno: Errno,
    /// What the kernel offers, separated by spaces.
    pub available: String,
}
