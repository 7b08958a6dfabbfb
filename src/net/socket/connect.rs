//! Opening connections, when needed in the name of somebody else: the application sees its client's address although
//! the tunnel connects.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as StdTcpStream};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket};
use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream};

use super::SocketOptions;
use crate::namespace::{Namespace, errno_of};

/// From which address a connection is opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// Whatever the routes give.
    Any,
    /// An address of this namespace.
    Bind(IpAddr),
    /// Any address at all, usually the real client's. Needs CAP_NET_ADMIN, and policy routing for the way back
    /// ([`crate::policy_routing`]).
    Transparent(IpAddr),
}

/// Connects to `destination` from inside the namespace (`None`: the caller's). There is no deadline here: drop the
/// future to give up.
pub async fn connect(
    namespace: Option<&Namespace>,
    source: Source,
    destination: SocketAddr,
    options: &SocketOptions,
) -> Result<TcpStream, ConnectError> {
    let socket = connector(namespace, destination, source, options)?;
    TcpSocket::from_std_stream(StdTcpStream::from(socket))
        .connect(destination)
        .await
        .map_err(|error| ConnectError::Connect(errno_of(&error)))
}

/// A socket that is ready to connect to `destination`: of its family, non-blocking, with options set and bound to the
/// source. For callers that connect on their own.
pub fn connector(
    namespace: Option<&Namespace>,
    destination: SocketAddr,
    source: Source,
    options: &SocketOptions,
) -> Result<Socket, ConnectError> {
    let socket = super::create(namespace, Domain::for_address(destination), options)
        .map_err(|error| ConnectError::Socket(errno_of(&error)))?;
    let (address, transparent) = match source {
        Source::Any => return Ok(socket),
        Source::Bind(address) => (address, false),
        Source::Transparent(address) => (address, true),
    };
    let unavailable = |errno| ConnectError::SourceUnavailable { address, errno };
    if address.is_ipv4() != destination.is_ipv4() {
        return Err(unavailable(Errno::EAFNOSUPPORT));
    }
    if transparent {
        be_transparent(&socket, address).map_err(|error| unavailable(errno_of(&error)))?;
    }
    // Without this the kernel would pick a port at bind time that is unique for the address, and so run out of ports
    // after 28 thousand connections in the name of one client; with it, the port is unique per destination.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true).map_err(unavailable)?;
    socket
        .bind(&SocketAddr::new(address, 0).into())
        .map_err(|error| unavailable(errno_of(&error)))?;
    Ok(socket)
}

fn be_transparent(socket: &Socket, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => {
            socket.set_ip_transparent_v4(true)?;
            socket.set_freebind_v4(true)
        }
        IpAddr::V6(_) => {
            socket.set_ip_transparent_v6(true)?;
            socket.set_freebind_v6(true)
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Error, Debug)]
pub enum ConnectError {
    /// No socket could be made: no descriptors or memory left, or the namespace is out of reach.
    #[error("no socket could be created: {0}")]
    Socket(Errno),
    /// The source address cannot be used. The caller decides whether another one will do.
    #[error("the source address {address} cannot be used: {errno}")]
    SourceUnavailable {
        /// The address that was to be kept.
        address: IpAddr,
        /// What the kernel said.
        errno: Errno,
    },
    /// The destination refused, or cannot be reached.
    #[error("{0}")]
    Connect(Errno),
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let errno = match error {
            ConnectError::Socket(errno)
            | ConnectError::Connect(errno)
            | ConnectError::SourceUnavailable { errno, .. } => errno,
        };
        Self::new(Self::from(errno).kind(), error)
    }
}
