//! The agent-tunnel protocol (ZDS): how the node agent tells the node's tunnel which pods are enrolled, and hands it
//! their network namespaces.
//!
//! The agent listens ([`server::Agent`]), the tunnel connects ([`client::run`]). A connection starts with the
//! tunnel's hello and a snapshot of the agent's pods; after that each change is one request, answered before the next
//! one is sent. The room decides what is a well-formed message and what a lost connection means: the tunnel goes
//! on serving the pods it has, and connects again, for ever; the agent keeps its list, and sends it to whoever
//! connects. The wire format is Istio's, so that either end may be Istio's own.

pub mod client;
mod failure;
pub mod message;
pub mod server;
mod socket;

pub use failure::{ConnectionFailure, Malformed};
pub use message::WorkloadInfo;

use std::time::Duration;

/// Longest packet in either direction, in bytes: the buffer that Istio's ends read with.
pub const LONGEST_MESSAGE: usize = 1024;

/// How long one packet may take to be written, and a request to be answered. Five seconds, like Istio's agent: an add
/// binds a few sockets, so that one which takes longer is stuck.
pub const DEADLINE: Duration = Duration::from_secs(5);
