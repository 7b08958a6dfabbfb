//! What the integration tests are made of: a runner of scenarios, and the world that a scenario stands on.
//!
//! A scenario is a function that builds a mesh out of network namespaces with the pieces of the lab, runs real
//! tunnels in it, and looks at what applications, logs, metrics and packets say. [`harness::main`] runs each in a
//! process of its own.
//!
//! The [`soak`] uses the same pieces for as long as it is told to, and counts what is left at the end.

pub mod harness;
pub mod soak;

#[cfg(test)]
mod claims;
