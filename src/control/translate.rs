//! From objects to the mesh: pure functions, each of one object and what it depends on.
//!
//! Where each rule comes from stands with it; most are Istio's ("Ambient mode", and its control plane's behaviour), so
//! that a mesh means the same under both. Where Istio lets pass what cannot be enforced, we refuse it and say so
//! ([`WithoutWaypoint`](crate::settings::WithoutWaypoint)).

pub mod authentication;
pub mod authorization;
pub mod condition;
pub mod entry;
pub mod names;
pub mod service;
pub mod waypoint;
pub mod workload;

pub use condition::{Condition, Reason};
