//! What the mesh tells about itself, and the process around it.
//!
//! [`metrics`] counts every connection under Istio's names; [`access`] writes one line about each, and [`spans`] tells
//! a collector of traces of those that are sampled; [`log`] takes every line to its destination without ever blocking
//! a worker; [`server`] answers scrapes, readiness probes and the operator; [`runtime`] holds what every long-lived
//! process needs: worker threads, drain, signals.
//!
//! Nothing here knows how a connection is carried. The data path hands over values it already has, and whatever
//! costs more than an atomic addition is done once for many connections or on another thread.

pub mod access;
pub mod direction;
pub mod log;
pub mod metrics;
mod outcomes;
pub mod runtime;
pub mod server;
pub mod spans;

pub use direction::Direction;
