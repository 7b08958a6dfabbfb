//! Where a redirected connection wanted to go: the kernel's connection tracking remembers it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use socket2::SockRef;

use crate::namespace::errno_of;

/// The destination that the client asked for. Of a connection that was not redirected, this is the address it came
/// to, which is also right for transparent redirection. IPv4 destinations are IPv4 addresses here, also on a socket
/// that serves both families.
pub fn original_destination(stream: &impl AsFd) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let local = plain(socket.local_addr()?.as_socket().ok_or(Errno::EAFNOSUPPORT)?);
    let asked = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    match asked {
        Ok(address) => Ok(address.as_socket().map_or(local, plain)),
        // Not tracked, or no connection tracking in this kernel or namespace: then nothing redirected it either.
        Err(error)
            if matches!(
                errno_of(&error),
                Errno::ENOENT | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP
            ) =>
        {
            Ok(local)
        }
        Err(error) => Err(error),
    }
}

/// Without the wrapping of IPv4 in IPv6, and without what is of no meaning to others.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
