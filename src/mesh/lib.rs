//! The mesh as plain data and pure decisions.
//!
//! What exists in the mesh ([`Workload`], [`Service`], [`Policy`]), where a connection goes ([`route`]),
//! to which endpoint ([`balance`]), whether it may ([`authorize`]) and how it ended ([`Outcome`]). Nothing
//! here does I/O, reads a clock or keeps a global: time and randomness are arguments, so that every decision
//! can be tested, explained (`adit explain`) and repeated.

pub mod authorize;
pub mod baggage;
pub mod balance;
pub mod constants;
pub mod eject;
#[cfg(test)]
mod fixtures;
pub mod identity;
pub mod near;
pub mod outcome;
pub mod policy;
pub mod registry;
pub mod route;
pub mod service;
pub mod text;
pub mod workload;

pub use identity::{Identity, InvalidIdentity, TrustDomain};
pub use outcome::Outcome;
pub use policy::{Policy, PolicyKey};
pub use registry::{Registry, Store};
pub use service::{Service, ServiceKey};
pub use text::{Interner, Text};
pub use workload::Workload;
