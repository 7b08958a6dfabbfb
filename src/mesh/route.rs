//! Where a connection goes, as a pure decision: [`decide`] for what a pod's application connects to, [`accept`] for
//! what a peer asks of a pod's tunnel, [`accept_plaintext`] for what arrives without one. The data path obeys these
//! values, `adit explain` prints them, the access log records them.
//!
//! [`decide`] asks in this order, and the first that applies counts:
//!
//! 1. The tunnel's own ports on loopback or on the pod's own address: refused, it would go round for ever.
//! 2. The address is a *service's*: through its waypoint if it has one and we are not that waypoint; where it was
//!    addressed, if the service is a passthrough one; else to an endpoint, chosen by [`crate::balance`]. The waypoints of
//!    its endpoints do not count.
//! 3. The address is a *workload's* own: through its waypoint if it has one and we are not that waypoint; else to it.
//! 4. The address lies in a service's *range*: as 2.
//! 5. Nobody's: passed through as it is.
//!
//! Whatever is known and cannot be reached by these rules is refused with an outcome of its own. Nothing that is known
//! to speak HBONE is ever sent plaintext, and no failure to find an endpoint or a waypoint turns into a passthrough.

mod authority;
mod inbound;
mod outbound;
mod types;
mod way;
mod waypoint;

use std::net::SocketAddr;

pub use crate::balance::{Choice, Load, NoLoad};
pub use authority::InvalidAuthority;
pub use inbound::{accept, accept_plaintext, attribute};
pub use outbound::decide;
pub use types::{Authority, Delivery, Hop, Refusal, Route, Tunnelled, Via};

/// An IPv4-mapped IPv6 address, as a dual-stack socket reports IPv4 peers, becomes the IPv4 address that it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
