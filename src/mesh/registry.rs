//! The mesh as an immutable snapshot, indexed for the questions that connections ask.
//!
//! A snapshot is built of persistent maps: the next one shares all but the few nodes that a batch touched, so one
//! change costs the same whether the mesh has 1,000 or 100,000 workloads, and a connection that keeps reading the old
//! one costs nobody anything. What a connection would otherwise compute is computed once per change: endpoint
//! groups in the order of preference of *this* node ([`Ranks`]), the policies and the headers of the workloads
//! *of this node* ([`Local`]).
//!
//! The content is a function of the resources alone: batches that bring the same resources in another order give
//! an equal registry. Endpoints may come before their service, policies after the workloads that name them.
//!
//! A resource that was rejected keeps its last good version; one that never had any becomes a tombstone
//! ([`Tombstone`]), which takes the place of the resource in every index. So its addresses are refused by name,
//! instead of being nobody's, which would mean plaintext.
//!
//! All maps are ordered ones, for memory (the module `index` has the figures); where another choice was made, the field says why.

mod apply;
mod index;
mod known;
mod local;
mod lookup;
mod store;
mod update;

use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use smallvec::SmallVec;

pub use known::{Known, Named, Tombstone};
pub use local::Local;
pub use lookup::{Gateway, Owner};
pub use store::Store;
pub use update::{Rejection, ResourceName, Update};

use crate::balance::{Place, Ranks};
use crate::policy::{Policy, PolicyKey};
use crate::service::{Service, ServiceKey};
use crate::text::Text;
use crate::workload::{Locality, Workload};
use index::{ByAddress, ByRange};
use known::Claims;
use local::Reach;

/// Where this tunnel runs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LocalNode {
    /// The node's name; "" treats every workload as local, which costs memory and time for each of them.
    pub name: Text,
    /// The network that the node belongs to.
    pub network: Text,
    /// The cluster that the node belongs to.
    pub cluster: Text,
}

/// A snapshot of the mesh. Cloning it is O(1).
#[derive(Clone)]
pub struct Registry {
    generation: u64,
    /// The node, and the locality that its workloads tell.
    place: Place,
    /// By uid.
    workloads: OrdMap<Text, Known<Workload>>,
    /// By their own addresses; those of host-network workloads are their node's and prove nothing.
    workload_addresses: ByAddress<Workload>,
    /// Workloads with a hostname, by namespace and hostname.
    workload_hostnames: OrdMap<ServiceKey, Claims<Workload>>,
    /// By hostname, which serves lookups with and without a namespace: services that share a hostname are few.
    services: OrdMap<Text, Claims<Service>>,
    /// By virtual address.
    service_addresses: ByAddress<Service>,
    /// By address range.
    service_ranges: ByRange,
    /// The endpoints of each service, also of one that has not arrived.
    endpoints: OrdMap<ServiceKey, Arc<Ranks>>,
    policies: OrdMap<PolicyKey, Known<Policy>>,
    /// Those that hold for more than the workloads that name them.
    scopes: OrdMap<Reach, OrdSet<PolicyKey>>,
    /// The workloads of this node by pod name, which is all that most lookups need: those that share it across
    /// namespaces are few.
    locals: OrdMap<Text, SmallVec<[Arc<Local>; 1]>>,
}

impl Registry {
    /// A registry without anything in it.
    pub fn new(node: LocalNode) -> Self {
        Self {
            generation: 0,
            place: Place {
                node,
                locality: Locality::default(),
            },
            workloads: OrdMap::new(),
            workload_addresses: ByAddress::default(),
            workload_hostnames: OrdMap::new(),
            services: OrdMap::new(),
            service_addresses: ByAddress::default(),
            service_ranges: ByRange::default(),
            endpoints: OrdMap::new(),
            policies: OrdMap::new(),
            scopes: OrdMap::new(),
            locals: OrdMap::new(),
        }
    }

    /// Counts the batches that changed something; never goes back.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where this tunnel runs.
    pub fn node(&self) -> &LocalNode {
        &self.place.node
    }

    /// The node's region, zone and subzone, learned from the workloads that run on it.
    pub fn locality(&self) -> &Locality {
        &self.place.locality
    }

    /// All workloads, by uid.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values().filter_map(Known::good)
    }

    /// All services, by hostname.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services
            .values()
            .flat_map(Claims::iter)
            .filter_map(Known::good)
    }

    /// All policies, by namespace and name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values().filter_map(Known::good)
    }

    /// The workloads of this node, by pod name.
    pub fn locals(&self) -> impl Iterator<Item = &Arc<Local>> {
        self.locals.values().flatten()
    }

    /// Every resource that was rejected and never had a good version, with what is wrong with it.
    pub fn tombstones(&self) -> impl Iterator<Item = (ResourceName, &Text)> {
        let workloads = stones(self.workloads.values(), ResourceName::Workload);
        let services = stones(
            self.services.values().flat_map(Claims::iter),
            ResourceName::Service,
        );
        let policies = stones(self.policies.values(), ResourceName::Policy);
        workloads.chain(services).chain(policies)
    }

    /// Whether nothing is in it, not even a tombstone or an entry of an index.
    pub fn is_empty(&self) -> bool {
        *self == Self::new(self.place.node.clone())
    }
}

fn stones<'a, T: Named + 'a>(
    all: impl Iterator<Item = &'a Known<T>>,
    name: impl Fn(T::Name) -> ResourceName,
) -> impl Iterator<Item = (ResourceName, &'a Text)> {
    all.filter_map(move |known| match known {
        Known::Good(_) => None,
        Known::Rejected(stone) => Some((name(stone.name.clone()), &stone.reason)),
    })
}

/// Compares what is in them, not how they came to it: the generation does not count.
impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        // Named one by one, so that a new index cannot be forgotten.
        let Self {
            generation: _,
            place,
            workloads,
            workload_addresses,
            workload_hostnames,
            services,
            service_addresses,
            service_ranges,
            endpoints,
            policies,
            scopes,
            locals,
        } = self;
        *place == other.place
            && *workloads == other.workloads
            && *workload_addresses == other.workload_addresses
            && *workload_hostnames == other.workload_hostnames
            && *services == other.services
            && *service_addresses == other.service_addresses
            && *service_ranges == other.service_ranges
            && *endpoints == other.endpoints
            && *policies == other.policies
            && *scopes == other.scopes
            && *locals == other.locals
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("generation", &self.generation)
            .field("place", &self.place)
            .field("workloads", &self.workloads.len())
            .field("services", &self.services.len())
            .field("policies", &self.policies.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
