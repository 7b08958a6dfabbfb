//! Where a connection goes.

mod authority;
mod types;

use std::net::SocketAddr;

pub use crate::balance::{Load, NoLoad};
pub use authority::InvalidAuthority;
pub use types::{Authority, Choice, Delivery, Hop, Refusal, Route, Tunnelled, Via};

use crate::outcome::Outcome;
use crate::registry::Registry;
use crate::workload::Workload;

/// Decides where a connection of `source` to `destination` goes.
pub fn decide(
    _registry: &Registry,
    _source: &Workload,
    _destination: SocketAddr,
    _choice: &mut Choice<'_>,
) -> Route {
    Route::Refuse(Refusal::new(Outcome::NotReady, String::new()))
}

/// Decides how a CONNECT for `authority` that arrived at `socket` is delivered to `local`.
///
/// # Errors
/// The refusal to answer with.
pub fn accept(
    _registry: &Registry,
    _local: &Workload,
    _socket: SocketAddr,
    _authority: &Authority,
) -> Result<Delivery, Refusal> {
    Err(Refusal::new(Outcome::NotReady, String::new()))
}

/// Decides how a plaintext connection that was addressed to `destination` is delivered to `local`.
///
/// # Errors
/// The refusal to close the connection with.
pub fn accept_plaintext(
    _registry: &Registry,
    _local: &Workload,
    _destination: SocketAddr,
) -> Result<Delivery, Refusal> {
    Err(Refusal::new(Outcome::NotReady, String::new()))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
