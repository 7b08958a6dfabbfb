//! Listening in a pod.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket};

use super::{SocketOptions, ipv6_available};
use crate::namespace::Namespace;

/// How to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenOptions {
    /// How many connections may wait to be accepted. The kernel lowers it to `net.core.somaxconn` (4096 by default).
    pub backlog: u32,
    /// `SO_REUSEPORT`: several listeners share the port (one a worker, or an old and a new tunnel), and the kernel
    /// spreads new connections.
    pub reuse_port: bool,
    /// `IP_TRANSPARENT`: accepted connections may have a local address that is not the namespace's.
    pub transparent: bool,
    /// For a listener on `::`: only IPv6. Otherwise it serves IPv4 too, and where there is no IPv6 it is one on
    /// `0.0.0.0`.
    pub only_v6: bool,
    /// Options that accepted connections inherit.
    pub options: SocketOptions,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            reuse_port: false,
            transparent: false,
            only_v6: false,
            options: SocketOptions::default(),
        }
    }
}

/// Listens on `address` in the namespace (`None`: the caller's). The listener is non-blocking and closed on exec, and
/// `SO_REUSEADDR` is set, so that a restart does not wait for old connections.
pub fn listen(
    namespace: Option<&Namespace>,
    address: SocketAddr,
    listen: &ListenOptions,
) -> io::Result<TcpListener> {
    let dual = address.is_ipv6() && address.ip().is_unspecified() && !listen.only_v6;
    let address = if dual && !ipv6_available(namespace)? {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))
    } else {
        address
    };
    let socket = super::create(namespace, Domain::for_address(address), &listen.options)?;
    socket.set_reuse_address(true)?;
    if listen.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    if listen.transparent {
        be_transparent(&socket, address)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(listen.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn be_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    // One flag of the socket, with a name for each family; set on IPv6 it holds for IPv4 too.
    if address.is_ipv6() {
        socket.set_ip_transparent_v6(true)
    } else {
        socket.set_ip_transparent_v4(true)
    }
}
