//! Sockets as the tunnel wants them: marked, so that they are not redirected to itself; with the client's address
//! towards the application; with the congestion control that suits the path.
//!
//! A socket is created inside the pod's namespace and everything else about it is done outside: its namespace never
//! changes, and a visit costs two system calls.

mod accepted;
mod congestion;
mod connect;
mod listen;
mod original;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;

pub use accepted::{accept_waiting, set_congestion, watch_broken};
pub use congestion::{Congestion, InvalidCongestion};
pub use connect::{ConnectError, Source, connect, connector};
pub use listen::{ListenOptions, listen};
pub use original::original_destination;

use crate::namespace::Namespace;

/// What is set on every socket of a kind. The default sets nothing but `TCP_NODELAY`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketOptions {
    /// `SO_MARK`; [`crate::constants::TUNNEL_MARK`] for every socket in an enrolled pod.
    pub mark: Option<u32>,
    /// When an idle connection is probed; `None` leaves keepalive off.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged before the connection is given up.
    pub user_timeout: Option<Duration>,
    /// `TCP_CONGESTION`; `None` keeps the host's choice.
    pub congestion: Option<Congestion>,
    /// `TCP_NODELAY`: the tunnel writes what it has at once, so waiting for more only adds latency.
    pub nodelay: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            mark: None,
            keepalive: None,
            user_timeout: None,
            congestion: None,
            nodelay: true,
        }
    }
}

/// TCP keepalive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Keepalive {
    /// How long a connection is idle before the first probe. Whole seconds, at least one.
    pub time: Duration,
    /// Between probes. Whole seconds, at least one.
    pub interval: Duration,
    /// How many unanswered probes end the connection.
    pub retries: u32,
}

/// Sets the options on an accepted connection, for those that differ from its listener's: on Linux an accepted
/// connection inherits all of [`ListenOptions::options`], which saves the five system calls that this costs. The mark
/// and the congestion control are not touched.
pub fn apply_accepted(stream: &impl AsFd, options: &SocketOptions) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(options.nodelay)?;
    apply_timers(&socket, options)
}

/// Waits until the connection is broken: reset by the peer, or given up by the kernel. Bytes that arrive meanwhile stay
/// unread, and a peer that only finished sending is still there: it waits for an answer.
pub async fn broken(stream: &TcpStream) -> io::Result<()> {
    stream.ready(Interest::ERROR).await.map(|_| ())
}

/// Makes the coming close of this stream send a reset instead of an orderly end, so that the peer learns that the
/// connection broke.
pub fn reset(stream: &impl AsFd) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Whether IPv6 can be used in the namespace (`None`: the caller's): the kernel has it, and neither all interfaces nor
/// the loopback interface have it disabled, where the tunnel's listeners and replies need it.
pub fn ipv6_available(namespace: Option<&Namespace>) -> io::Result<bool> {
    within(namespace, || {
        ["all", "lo"].into_iter().all(|interface| {
            // No such file: the kernel was built or booted without IPv6.
            std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"))
                .is_ok_and(|disabled| disabled.trim() == "0")
        })
    })
}

/// A new TCP socket of the namespace, non-blocking and closed on exec, with the options set.
fn create(namespace: Option<&Namespace>, domain: Domain, options: &SocketOptions) -> io::Result<Socket> {
    let socket = within(namespace, || {
        Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
    })??;
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(congestion) = &options.congestion {
        socket.set_tcp_congestion(congestion.name().as_bytes())?;
    }
    apply_timers(&socket, options)?;
    Ok(socket)
}

fn apply_timers(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    if let Some(keepalive) = options.keepalive {
        let parameters = TcpKeepalive::new()
            .with_time(keepalive.time)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.retries);
        socket.set_tcp_keepalive(&parameters)?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(())
}

fn within<T>(namespace: Option<&Namespace>, work: impl FnOnce() -> T) -> io::Result<T> {
    match namespace {
        Some(namespace) => namespace.run(work),
        None => Ok(work()),
    }
}
