//! Delta xDS: how configuration travels from a control plane to those that it serves.
//!
//! What is served is a [`Catalog`], an immutable snapshot of encoded resources. A client that wants everything is told
//! the difference between the snapshot that it has and the present one, whenever it has taken what it was told before: a
//! slow client is told less often, and never has anything waiting for it. Who has what is decided in [`Session`], a pure
//! state machine; the server and the client only move its messages.

pub mod catalog;
pub mod debounce;
pub mod node;
pub mod server;
pub mod session;

pub use catalog::{Catalog, Change, Resource};
pub use debounce::Debounce;
pub use server::{Clients, Server};
pub use session::Session;

/// The types of resources that a node's tunnel knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Workloads and services.
    Address,
    /// Workloads alone, as the first versions of the protocol sent them.
    Workload,
    /// Policies.
    Authorization,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Address, Self::Workload, Self::Authorization];

    /// Its type URL.
    pub const fn url(self) -> &'static str {
        match self {
            Self::Address => crate::wire::ADDRESS,
            Self::Workload => "type.googleapis.com/istio.workload.Workload",
            Self::Authorization => crate::wire::AUTHORIZATION,
        }
    }

    /// What this type URL stands for, if it is one of them.
    pub fn of(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }

    /// Its short name, as status pages spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "Address",
            Self::Workload => "Workload",
            Self::Authorization => "Authorization",
        }
    }
}
