//! How a batch changes the registry. A resource is first taken out of every index in its old form, then put in
//! in its new one, so that nothing of the old one can stay behind; consequences that several changes share (the
//! policies of a workload, this node's locality) are drawn once, at the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::index::{claim, release};
use super::known::{Known, Tombstone};
use super::local::{Reach, Touched, is_local};
use super::{Registry, Rejection, ResourceName, Update};
use crate::balance::{Ranks, ranks};
use crate::policy::{Policy, PolicyKey};
use crate::service::{Balancing, BalancingMode, NetworkRange, Service, ServiceKey};
use crate::text::Text;
use crate::workload::{NetworkAddress, NetworkMode, Workload};

impl Registry {
    /// Applies a batch; tells whether it changed anything, in which case the generation is one more.
    pub fn apply(&mut self, batch: impl IntoIterator<Item = Update>) -> bool {
        let mut touched = Touched::default();
        let mut changed = false;
        for update in batch {
            changed |= match update {
                Update::Workload(workload) => self.set_workload(Known::Good(workload), &mut touched),
                Update::Service(service) => self.set_service(Known::Good(service)),
                Update::Policy(policy) => self.set_policy(Known::Good(policy), &mut touched),
                Update::Remove(name) => self.remove(&name, &mut touched),
                Update::Reject(rejection) => self.reject(rejection, &mut touched),
            };
        }
        if changed {
            let moved = !touched.locals.is_empty();
            self.settle_locals(touched);
            if moved {
                self.settle_locality();
            }
            self.generation += 1;
        }
        changed
    }

    fn remove(&mut self, name: &ResourceName, touched: &mut Touched) -> bool {
        match name {
            ResourceName::Workload(uid) => self.drop_workload(uid, touched),
            ResourceName::Service(key) => self.drop_service(key),
            ResourceName::Policy(key) => self.drop_policy(key, touched),
        }
    }

    /// A resource that has a good version keeps it.
    fn reject(&mut self, rejection: Rejection, touched: &mut Touched) -> bool {
        match rejection.name.clone() {
            ResourceName::Workload(uid) => {
                let good = matches!(self.workloads.get(&uid), Some(Known::Good(_)));
                let stone = Tombstone::new(uid, rejection);
                !good && self.set_workload(Known::Rejected(Arc::new(stone)), touched)
            }
            ResourceName::Service(key) => {
                let good = matches!(self.known_service(&key), Some(Known::Good(_)));
                let stone = Tombstone::new(key, rejection);
                !good && self.set_service(Known::Rejected(Arc::new(stone)))
            }
            ResourceName::Policy(key) => {
                let good = matches!(self.policies.get(&key), Some(Known::Good(_)));
                let stone = Tombstone::new(key, rejection);
                !good && self.set_policy(Known::Rejected(Arc::new(stone)), touched)
            }
        }
    }

    fn set_workload(&mut self, known: Known<Workload>, touched: &mut Touched) -> bool {
        if self.workloads.get(known.name()) == Some(&known) {
            return false;
        }
        self.drop_workload(known.name(), touched);
        let node = &self.place.node;
        match &known {
            Known::Good(workload) => {
                if workload.network_mode == NetworkMode::Standard {
                    for ip in &workload.addresses {
                        self.workload_addresses
                            .insert(&workload.network, *ip, known.clone());
                    }
                }
                if let Some(key) = hostname_key(workload) {
                    claim(&mut self.workload_hostnames, key, known.clone());
                }
                if is_local(node, workload) {
                    touched
                        .locals
                        .insert((workload.name.clone(), workload.uid.clone()));
                }
                for (key, _) in &workload.services {
                    self.add_endpoint(key, workload);
                }
            }
            Known::Rejected(stone) => {
                for address in &stone.addresses {
                    self.workload_addresses
                        .insert(&address.network, address.ip, known.clone());
                }
            }
        }
        self.workloads.insert(known.name().clone(), known);
        true
    }

    fn drop_workload(&mut self, uid: &Text, touched: &mut Touched) -> bool {
        let Some(known) = self.workloads.remove(uid) else {
            return false;
        };
        match &known {
            Known::Good(workload) => {
                if workload.network_mode == NetworkMode::Standard {
                    for ip in &workload.addresses {
                        self.workload_addresses.remove(&workload.network, *ip, &known);
                    }
                }
                if let Some(key) = hostname_key(workload) {
                    release(&mut self.workload_hostnames, &key, &known);
                }
                if is_local(&self.place.node, workload) {
                    touched
                        .locals
                        .insert((workload.name.clone(), workload.uid.clone()));
                }
                for (key, _) in &workload.services {
                    self.remove_endpoint(key, workload);
                }
            }
            Known::Rejected(stone) => {
                for address in &stone.addresses {
                    self.workload_addresses
                        .remove(&address.network, address.ip, &known);
                }
            }
        }
        true
    }

    fn add_endpoint(&mut self, key: &ServiceKey, workload: &Arc<Workload>) {
        let score = self.score(key, workload);
        let ranks = self.endpoints.entry(key.clone()).or_default();
        // In place as long as no older snapshot shares them; else a copy of the few group heads.
        Arc::make_mut(ranks).insert(score, Arc::clone(workload));
    }

    fn remove_endpoint(&mut self, key: &ServiceKey, workload: &Workload) {
        let score = self.score(key, workload);
        let Some(ranks) = self.endpoints.get_mut(key) else {
            return;
        };
        let ranks = Arc::make_mut(ranks);
        ranks.remove(score, workload);
        if ranks.is_empty() {
            self.endpoints.remove(key);
        }
    }

    fn score(&self, key: &ServiceKey, workload: &Workload) -> Option<usize> {
        match self.service(key) {
            Some(service) => ranks::score(&service.balancing, &self.place, workload),
            None => ranks::score(&Balancing::default(), &self.place, workload),
        }
    }

    fn set_service(&mut self, known: Known<Service>) -> bool {
        let key = known.name().clone();
        if self.known_service(&key) == Some(&known) {
            return false;
        }
        let before = self.balancing(&key);
        self.unlink_service(&key);
        let (addresses, ranges) = claims_of(&known);
        for address in addresses {
            self.service_addresses
                .insert(&address.network, address.ip, known.clone());
        }
        for range in ranges {
            self.service_ranges
                .insert(&range.network, range.range, known.clone());
        }
        claim(&mut self.services, key.hostname.clone(), known);
        if self.balancing(&key) != before {
            self.rank(&key);
        }
        true
    }

    fn drop_service(&mut self, key: &ServiceKey) -> bool {
        let before = self.balancing(key);
        let was_there = self.unlink_service(key);
        if self.balancing(key) != before {
            self.rank(key);
        }
        was_there
    }

    fn unlink_service(&mut self, key: &ServiceKey) -> bool {
        let Some(known) = self.known_service(key).cloned() else {
            return false;
        };
        let (addresses, ranges) = claims_of(&known);
        for address in addresses {
            self.service_addresses
                .remove(&address.network, address.ip, &known);
        }
        for range in ranges {
            self.service_ranges.remove(&range.network, range.range, &known);
        }
        release(&mut self.services, &key.hostname, &known);
        true
    }

    /// How the endpoints of a service are ranked; the default as long as there is no good version of it.
    fn balancing(&self, key: &ServiceKey) -> Balancing {
        let known = self.known_service(key).and_then(Known::good);
        known.map(|service| service.balancing.clone()).unwrap_or_default()
    }

    /// Ranks the endpoints of a service anew: O(n), when its balancing or this node's place has changed.
    fn rank(&mut self, key: &ServiceKey) {
        let Some(before) = self.endpoints.get(key) else {
            return;
        };
        let balancing = self.balancing(key);
        let mut after = Ranks::default();
        for endpoint in before.endpoints() {
            after.insert(
                ranks::score(&balancing, &self.place, endpoint),
                Arc::clone(endpoint),
            );
        }
        self.endpoints.insert(key.clone(), Arc::new(after));
    }

    fn settle_locality(&mut self) {
        let locality = self.learned_locality();
        if locality == self.place.locality {
            return;
        }
        self.place.locality = locality;
        let concerned = |service: &&Arc<Service>| {
            matches!(
                service.balancing.mode,
                BalancingMode::Strict | BalancingMode::Failover
            )
        };
        let services = self.services().filter(concerned);
        let keys: BTreeSet<ServiceKey> = services.map(|service| service.key.clone()).collect();
        for key in keys {
            self.rank(&key);
        }
    }

    fn set_policy(&mut self, known: Known<Policy>, touched: &mut Touched) -> bool {
        let key = known.name().clone();
        if self.policies.get(&key) == Some(&known) {
            return false;
        }
        self.drop_policy(&key, touched);
        if let Some(reach) = Reach::of(&known) {
            self.scopes.entry(reach.clone()).or_default().insert(key.clone());
            touched.reaches.insert(reach);
        }
        touched.policies.insert(key.clone());
        self.policies.insert(key, known);
        true
    }

    fn drop_policy(&mut self, key: &PolicyKey, touched: &mut Touched) -> bool {
        let Some(known) = self.policies.remove(key) else {
            return false;
        };
        if let Some(reach) = Reach::of(&known) {
            if let Some(keys) = self.scopes.get_mut(&reach) {
                keys.remove(key);
                if keys.is_empty() {
                    self.scopes.remove(&reach);
                }
            }
            touched.reaches.insert(reach);
        }
        touched.policies.insert(key.clone());
        true
    }
}

fn hostname_key(workload: &Workload) -> Option<ServiceKey> {
    let hostname = workload.hostname.clone()?;
    Some(ServiceKey {
        namespace: workload.namespace().clone(),
        hostname,
    })
}

/// The single addresses and the ranges that a service claims, or would.
fn claims_of(known: &Known<Service>) -> (&[NetworkAddress], &[NetworkRange]) {
    match known {
        Known::Good(service) => (&service.addresses, &service.ranges),
        Known::Rejected(stone) => (&stone.addresses, &stone.ranges),
    }
}
