//! Linux as the mesh needs it: network namespaces, socket options, the original destination of a redirected
//! connection, the pod's redirection rules, policy routing; and for topologies made of namespaces their links, the
//! processes in them and the packets between them.
//!
//! This is the only room with `unsafe` code, and the only one that changes a kernel's configuration. Every change is
//! confined to the network namespace that is given to it, can be repeated without harm, and can be taken back.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

pub mod capture;
pub mod constants;
pub mod cores;
pub mod link;
pub mod listeners;
pub mod memory;
pub mod namespace;
mod netlink;
pub mod policy_routing;
pub mod process;
pub mod rlimit;
pub mod rules;
pub mod socket;
pub mod userns;

pub use namespace::{Namespace, NamespaceError};
pub use netlink::{NetlinkError, Reason};
pub use socket::{Congestion, Keepalive, SocketOptions, Source};
