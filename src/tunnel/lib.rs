//! The node tunnel: it carries the TCP traffic of the enrolled pods of a node over HBONE.
//!
//! [`pods`] takes pods from the node agent and gives each a worker; a [`pod::Pod`] has three listeners in the pod's
//! own network namespace, for [`outbound`], [`inbound`] and [`plaintext`] connections; the pure decisions of
//! `adit-mesh` say where each goes and whether it may, and [`relay`] moves its bytes. [`report`] tells how it ended,
//! [`recheck`] ends it when it is no longer allowed.

mod accept;
mod admin;
mod allocator;
pub mod cli;
pub mod config;
mod dial;
mod inbound;
mod live;
mod meter;
mod outbound;
mod placement;
mod plaintext;
mod pod;
mod pods;
mod process;
pub mod proxy_protocol;
mod recheck;
mod relay;
mod report;
mod worker;

pub use admin::explain;
pub use process::run;
