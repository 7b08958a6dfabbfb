//! The mesh as an immutable snapshot.

mod store;
mod update;

use std::sync::Arc;

pub use store::Store;
pub use update::{Rejection, ResourceName, Update};

use crate::policy::{Policy, PolicyKey};
use crate::service::{Service, ServiceKey};
use crate::text::Text;
use crate::workload::Workload;

/// Where this tunnel runs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LocalNode {
    /// The node's name; "" treats every workload as local.
    pub name: Text,
    /// The network that the node belongs to.
    pub network: Text,
    /// The cluster that the node belongs to.
    pub cluster: Text,
}

/// A workload of this node with what its connections need, made once per change of configuration.
#[derive(Debug)]
pub struct Local {
    /// The workload.
    pub workload: Arc<Workload>,
    /// Its `baggage` header.
    pub baggage: bytes::Bytes,
}

/// A snapshot of the mesh. Cloning it is O(1).
#[derive(Clone, Debug)]
pub struct Registry {
    node: LocalNode,
    generation: u64,
}

impl Registry {
    /// A registry without anything in it.
    pub fn new(node: LocalNode) -> Self {
        Self { node, generation: 0 }
    }

    /// Applies a batch; tells whether anything changed.
    pub fn apply(&mut self, batch: impl IntoIterator<Item = Update>) -> bool {
        let changed = batch.into_iter().count() > 0;
        self.generation += u64::from(changed);
        changed
    }

    /// Counts the changes.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where this tunnel runs.
    pub fn node(&self) -> &LocalNode {
        &self.node
    }

    /// A workload of this node, as the node agent names it.
    pub fn local(&self, _namespace: &str, _name: &str, _service_account: &str) -> Option<&Arc<Local>> {
        None
    }

    /// A workload by its uid.
    pub fn workload(&self, _uid: &str) -> Option<&Arc<Workload>> {
        None
    }

    /// The workload that owns an address.
    pub fn workload_at(&self, _network: &str, _ip: std::net::IpAddr) -> Option<&Arc<Workload>> {
        None
    }

    /// A service by its name.
    pub fn service(&self, _key: &ServiceKey) -> Option<&Arc<Service>> {
        None
    }

    /// A policy by its name.
    pub fn policy(&self, _key: &PolicyKey) -> Option<&Arc<Policy>> {
        None
    }

    /// All workloads, by uid.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        std::iter::empty()
    }

    /// All services, by namespace and hostname.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        std::iter::empty()
    }

    /// All policies, by namespace and name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        std::iter::empty()
    }

    /// The endpoints of a service, healthy or not, by uid.
    pub fn endpoints(&self, _key: &ServiceKey) -> impl Iterator<Item = &Arc<Workload>> {
        std::iter::empty()
    }
}
