//! The way back of connections that the tunnel opened in a client's name: the application's replies, which carry
//! [`REPLY_MARK`], are routed to the loopback device and so to the tunnel's socket, not out to the client.

use crate::constants::REPLY_MARK;
use crate::namespace::Namespace;
use crate::netlink::NetlinkError;

/// Adds rule and route for IPv4, and for IPv6 when told so. What is there already stays.
pub fn apply(namespace: &Namespace, ipv6: bool) -> Result<(), NetlinkError> {
    let _ = (namespace, ipv6, REPLY_MARK);
    todo!()
}

/// Removes rule and route of both families, as far as they are there.
pub fn remove(namespace: &Namespace) -> Result<(), NetlinkError> {
    let _ = namespace;
    todo!()
}

/// Whether rule and route are there, for IPv4 and if told so for IPv6.
pub fn is_applied(namespace: &Namespace, ipv6: bool) -> Result<bool, NetlinkError> {
    let _ = (namespace, ipv6);
    todo!()
}
