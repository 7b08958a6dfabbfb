//! The endpoints of a service in groups, the best first, computed when configuration changes.
//!
//! A connection then finds its endpoint by one or two draws, whether the service has ten endpoints or ten thousand,
//! and a change of one endpoint costs O(log n): groups are persistent sorted sets
//! (the module `members`). Within a group, endpoints
//! of the same capacity are kept together, so that drawing one in proportion to its capacity needs no table. (A mesh
//! uses a handful of capacities; the cost of a draw grows with their number, not with the number of endpoints.)

use std::sync::Arc;

use smallvec::SmallVec;

use super::members::Members;
use crate::registry::LocalNode;
use crate::service::{Balancing, BalancingMode, HealthPolicy, Scope};
use crate::workload::{Health, Locality, Workload};

/// Where this node is: what the scopes of a service's preferences are compared with.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Place {
    /// The node, its cluster and its network.
    pub node: LocalNode,
    /// Region, zone and subzone.
    pub locality: Locality,
}

impl Place {
    fn shares(&self, scope: Scope, endpoint: &Workload) -> bool {
        match scope {
            Scope::Region => self.locality.region == endpoint.locality.region,
            Scope::Zone => self.locality.zone == endpoint.locality.zone,
            Scope::Subzone => self.locality.subzone == endpoint.locality.subzone,
            Scope::Node => self.node.name == endpoint.node,
            Scope::Cluster => self.node.cluster == endpoint.cluster,
            Scope::Network => self.node.network == endpoint.network,
        }
    }
}

/// How good an endpoint is for clients of `place`, more being better; `None` if it is not to be used.
///
/// *Failover* counts the leading scopes that the endpoint shares. Where the network comes first it is preferred, not
/// required (an endpoint of another network is still ranked by the other scopes), but it weighs more than all
/// others together, so that the way through a gateway is taken only when nothing nearer is left.
pub fn score(balancing: &Balancing, place: &Place, endpoint: &Workload) -> Option<usize> {
    if balancing.health_policy == HealthPolicy::OnlyHealthy && endpoint.health == Health::Unhealthy {
        return None;
    }
    let shares = |scope: &Scope| place.shares(*scope, endpoint);
    let preferences = &balancing.preferences;
    match balancing.mode {
        BalancingMode::Standard | BalancingMode::Passthrough => Some(0),
        BalancingMode::Strict => preferences.iter().all(shares).then_some(0),
        BalancingMode::Failover => {
            let (bonus, rest) = match preferences.split_first() {
                Some((Scope::Network, rest)) => {
                    let near = place.shares(Scope::Network, endpoint);
                    (if near { preferences.len() } else { 0 }, rest)
                }
                _ => (0, &preferences[..]),
            };
            Some(bonus + rest.iter().take_while(|scope| shares(scope)).count())
        }
    }
}

/// The endpoints of one service.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Ranks {
    /// Best first; none is empty.
    ranks: SmallVec<[Rank; 1]>,
    /// Those that are not to be used now, by uid; kept so that a changed service can be ranked anew.
    unused: Members,
}

impl Ranks {
    /// The groups in the order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &Rank> {
        self.ranks.iter()
    }

    /// All endpoints, the unused ones last.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Workload>> {
        let used = self.ranks.iter().flat_map(Rank::endpoints);
        used.chain(self.unused.iter())
    }

    /// The endpoints that are not to be used: unhealthy ones, and those out of scope of a strict service.
    pub fn unused(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.unused.iter()
    }

    /// Whether there is no endpoint at all.
    pub fn is_empty(&self) -> bool {
        self.ranks.is_empty() && self.unused.is_empty()
    }

    /// Adds an endpoint, or replaces the one with its uid if that has the same score and capacity.
    pub(crate) fn insert(&mut self, score: Option<usize>, endpoint: Arc<Workload>) {
        let Some(score) = score else {
            return self.unused.insert(endpoint);
        };
        let index = self.find(score).unwrap_or_else(|index| {
            self.ranks.insert(index, Rank::new(score));
            index
        });
        self.ranks[index].insert(endpoint);
    }

    /// Removes an endpoint that was inserted with this score; one that is not there is no mistake.
    pub(crate) fn remove(&mut self, score: Option<usize>, endpoint: &Workload) {
        let Some(score) = score else {
            return self.unused.remove(&endpoint.uid);
        };
        if let Ok(index) = self.find(score) {
            self.ranks[index].remove(endpoint);
            if self.ranks[index].is_empty() {
                self.ranks.remove(index);
                self.ranks.shrink_to_fit();
            }
        }
    }

    fn find(&self, score: usize) -> Result<usize, usize> {
        self.ranks.binary_search_by(|rank| score.cmp(&rank.score))
    }
}

/// Endpoints that are equally good.
#[derive(Clone, PartialEq, Debug)]
pub struct Rank {
    score: usize,
    /// By capacity; none is empty.
    buckets: SmallVec<[Bucket; 1]>,
}

/// Endpoints of one capacity.
#[derive(Clone, PartialEq, Debug)]
struct Bucket {
    capacity: u32,
    /// By uid.
    members: Members,
}

impl Rank {
    fn new(score: usize) -> Self {
        Self {
            score,
            buckets: SmallVec::new(),
        }
    }

    /// All its endpoints, by capacity and uid.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.buckets.iter().flat_map(|bucket| bucket.members.iter())
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.members.len()).sum()
    }

    /// Whether there are none, which no rank of a [`Ranks`] is.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// One endpoint, each with a probability in proportion to its capacity.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Option<&Arc<Workload>> {
        let total: u64 = self.buckets.iter().map(Bucket::weight).sum();
        if total == 0 {
            return None;
        }
        let mut point = random.u64(..total);
        for bucket in &self.buckets {
            if point < bucket.weight() {
                return bucket.members.draw(random);
            }
            point -= bucket.weight();
        }
        None
    }

    fn insert(&mut self, endpoint: Arc<Workload>) {
        let capacity = endpoint.capacity.max(1);
        let index = self.find(capacity).unwrap_or_else(|index| {
            let members = Members::default();
            self.buckets.insert(index, Bucket { capacity, members });
            index
        });
        self.buckets[index].members.insert(endpoint);
    }

    fn remove(&mut self, endpoint: &Workload) {
        if let Ok(index) = self.find(endpoint.capacity.max(1)) {
            self.buckets[index].members.remove(&endpoint.uid);
            if self.buckets[index].members.is_empty() {
                self.buckets.remove(index);
                self.buckets.shrink_to_fit();
            }
        }
    }

    fn find(&self, capacity: u32) -> Result<usize, usize> {
        self.buckets
            .binary_search_by_key(&capacity, |bucket| bucket.capacity)
    }
}

impl Bucket {
    fn weight(&self) -> u64 {
        u64::from(self.capacity) * self.members.len() as u64
    }
}
