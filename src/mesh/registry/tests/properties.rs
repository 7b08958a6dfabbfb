//! Whatever the order in which resources come, change and go, the registry is a function of those that are there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use fastrand::Rng;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::fixtures::{at, ip, key, node, pod, policy, policy_key, ports, service};
use crate::policy::PolicyScope;
use crate::registry::{Owner, Registry, Rejection, ResourceName, Update};
use crate::service::{BalancingMode, NetworkRange, Scope, Service, Visibility};
use crate::workload::{Health, NetworkMode, Workload};

const NAMESPACES: [&str; 2] = ["bank", "shop"];
const HOSTS: [&str; 3] = ["ledger", "web", "cards"];
const RANGES: [&str; 4] = ["10.0.0.0/8", "10.0.0.0/30", "10.0.0.4/30", "fd00::/16"];

fn pick<T: Copy>(random: &mut Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

fn address(random: &mut Rng) -> IpAddr {
    if random.u8(..8) == 0 {
        return ip("fd00::1");
    }
    format!("10.0.0.{}", random.u8(..8)).parse().expect("an address")
}

fn some_name(random: &mut Rng) -> ResourceName {
    let (namespace, n) = (pick(random, &NAMESPACES), random.u8(..6));
    match random.u8(..3) {
        0 if n == 0 => ResourceName::Workload("A/networking.istio.io/WorkloadEntry/bank/vm".into()),
        0 => ResourceName::Workload(format!("A//Pod/{namespace}/pod-{n}").into()),
        1 => ResourceName::Service(key(&format!("{namespace}/{}", pick(random, &HOSTS)))),
        _ => ResourceName::Policy(policy_key(&format!("{namespace}/policy-{n}"))),
    }
}

fn some_workload(uid: &str, random: &mut Rng) -> Workload {
    // Some share a name, as pods of several namespaces do.
    pod(&format!("name-{}", random.u8(..3)), "10.0.0.1", |w| {
        w.uid = uid.into();
        w.addresses = (0..random.usize(..3)).map(|_| address(random)).collect();
        w.node = pick(random, &["node-1", "node-2"]).into();
        w.locality.zone = pick(random, &["", "a", "b"]).into();
        w.capacity = random.u32(1..4);
        w.hostname = random.bool().then(|| pick(random, &HOSTS).into());
        if random.u8(..4) == 0 {
            w.network_mode = NetworkMode::HostNetwork;
        }
        if random.u8(..4) == 0 {
            w.health = Health::Unhealthy;
        }
        w.services = (0..random.usize(..3))
            .map(|_| {
                let name = format!("{}/{}", pick(random, &NAMESPACES), pick(random, &HOSTS));
                (key(&name), ports(&[(80, 8080)]))
            })
            .collect();
        w.authorization_policies = (0..random.usize(..3))
            .map(|_| policy_key(&format!("bank/policy-{}", random.u8(..6))))
            .collect();
    })
}

fn some_service(name: &crate::service::ServiceKey, random: &mut Rng) -> Service {
    service(&name.hostname, "10.0.0.1", |s| {
        s.key = name.clone();
        s.addresses = (0..random.usize(..3))
            .map(|_| at(&address(random).to_string()))
            .collect();
        s.ranges = some_ranges(random);
        s.canonical = random.bool();
        if random.bool() {
            s.visibility = Visibility::Namespace;
        }
        s.balancing.mode = pick(
            random,
            &[
                BalancingMode::Standard,
                BalancingMode::Strict,
                BalancingMode::Failover,
            ],
        );
        s.balancing.preferences = Box::new([pick(random, &[Scope::Zone, Scope::Node])]);
    })
}

fn some_ranges(random: &mut Rng) -> Box<[NetworkRange]> {
    let range = |random: &mut Rng| NetworkRange {
        network: "".into(),
        range: pick(random, &RANGES).parse().expect("a range"),
    };
    (0..random.usize(..3)).map(|_| range(random)).collect()
}

fn some_scope(random: &mut Rng) -> PolicyScope {
    pick(
        random,
        &[
            PolicyScope::Global,
            PolicyScope::Namespace,
            PolicyScope::WorkloadSelector,
        ],
    )
}

fn some_good(name: &ResourceName, random: &mut Rng) -> Update {
    match name {
        ResourceName::Workload(uid) => some_workload(uid, random).into(),
        ResourceName::Service(key) => some_service(key, random).into(),
        ResourceName::Policy(key) => policy(&key.to_string(), some_scope(random)).into(),
    }
}

fn some_rejection(name: ResourceName, random: &mut Rng) -> Update {
    Update::Reject(Rejection {
        addresses: (0..random.usize(..3))
            .map(|_| at(&address(random).to_string()))
            .collect(),
        ranges: some_ranges(random),
        scope: random.bool().then(|| some_scope(random)),
        ..Rejection::new(name, "broken".into())
    })
}

/// What ought to be there: the last good version of each resource, or the last rejection.
type Model = BTreeMap<ResourceName, Update>;

fn step(model: &mut Model, random: &mut Rng) -> Update {
    let name = some_name(random);
    match random.u8(..10) {
        0..6 => {
            let update = some_good(&name, random);
            model.insert(name, update.clone());
            update
        }
        6..8 => {
            let update = some_rejection(name.clone(), random);
            if model
                .get(&name)
                .is_none_or(|known| matches!(known, Update::Reject(_)))
            {
                model.insert(name, update.clone());
            }
            update
        }
        _ => {
            model.remove(&name);
            Update::Remove(name)
        }
    }
}

fn shuffled(model: &Model, random: &mut Rng) -> Vec<Update> {
    let mut all: Vec<Update> = model.values().cloned().collect();
    random.shuffle(&mut all);
    all
}

/// Applies changes in batches of random size.
fn apply(registry: &mut Registry, mut updates: Vec<Update>, random: &mut Rng) {
    while !updates.is_empty() {
        let size = random.usize(1..=updates.len());
        registry.apply(updates.drain(..size));
    }
}

/// Who owns an address, straight from the words of the rule, by looking at every resource.
fn naive_owner(model: &Model, ip: IpAddr, namespace: &str) -> Option<ResourceName> {
    let service_claims = |prefix: Option<u8>| {
        let mut claims: Vec<(bool, bool, ResourceName)> = Vec::new();
        for (name, update) in model {
            let ResourceName::Service(key) = name else {
                continue;
            };
            let (addresses, ranges, canonical, visible) = match update {
                Update::Service(s) => {
                    let visible = s.visibility == Visibility::Public || key.namespace == namespace;
                    (&s.addresses, &s.ranges, s.canonical, visible)
                }
                Update::Reject(r) => (&r.addresses, &r.ranges, false, true),
                _ => continue,
            };
            let claims_it = match prefix {
                None => addresses.iter().any(|address| address.ip == ip),
                Some(length) => {
                    let fits = |r: &&NetworkRange| r.range.prefix_len() == length && r.range.contains(&ip);
                    ranges.iter().any(|range| fits(&range))
                }
            };
            if claims_it && visible {
                claims.push((key.namespace != namespace, !canonical, name.clone()));
            }
        }
        claims.sort();
        claims.into_iter().next().map(|(_, _, name)| name)
    };
    let workload = || {
        let mut claims: Vec<(bool, ResourceName)> = Vec::new();
        for (name, update) in model {
            let ResourceName::Workload(uid) = name else {
                continue;
            };
            let claims_it = match update {
                Update::Workload(w) => w.network_mode == NetworkMode::Standard && w.addresses.contains(&ip),
                Update::Reject(r) => r.addresses.iter().any(|address| address.ip == ip),
                _ => false,
            };
            if claims_it {
                claims.push((!uid.contains("//Pod/"), name.clone()));
            }
        }
        claims.sort();
        claims.into_iter().next().map(|(_, name)| name)
    };
    let by_range = || (0..=128).rev().find_map(|length| service_claims(Some(length)));
    service_claims(None).or_else(workload).or_else(by_range)
}

fn found_owner(registry: &Registry, ip: IpAddr, namespace: &str) -> Option<ResourceName> {
    match registry.owner("", ip, namespace) {
        Owner::Service(service) => Some(ResourceName::Service(service.key.clone())),
        Owner::Workload(workload) => Some(ResourceName::Workload(workload.uid.clone())),
        Owner::RejectedService(stone) => Some(ResourceName::Service(stone.name.clone())),
        Owner::RejectedWorkload(stone) => Some(ResourceName::Workload(stone.name.clone())),
        Owner::Hidden(_) | Owner::Nobody => None,
    }
}

proptest! {
    #[test]
    fn any_history_ends_like_its_outcome_told_at_once(seed in any::<u64>(), steps in 0_usize..80) {
        let random = &mut Rng::with_seed(seed);
        let mut model = Model::new();
        let history: Vec<Update> = (0..steps).map(|_| step(&mut model, random)).collect();
        let mut lived = Registry::new(node());
        apply(&mut lived, history, random);
        for _ in 0..2 {
            let mut told = Registry::new(node());
            let updates = shuffled(&model, random);
            apply(&mut told, updates, random);
            prop_assert!(lived == told, "{lived:?} {told:?}");
        }
    }

    #[test]
    fn removing_all_that_was_added_leaves_nothing(seed in any::<u64>(), steps in 0_usize..80) {
        let random = &mut Rng::with_seed(seed);
        let mut model = Model::new();
        let mut registry = Registry::new(node());
        for _ in 0..steps {
            registry.apply([step(&mut model, random)]);
        }
        let workloads: Vec<Weak<Workload>> = registry.workloads().map(Arc::downgrade).collect();
        let services: Vec<Weak<Service>> = registry.services().map(Arc::downgrade).collect();
        let mut removals: Vec<Update> = model.keys().cloned().map(Update::Remove).collect();
        random.shuffle(&mut removals);
        drop(model);
        apply(&mut registry, removals, random);
        prop_assert!(registry.is_empty(), "{registry:?}");
        prop_assert!(workloads.iter().all(|workload| workload.upgrade().is_none()));
        prop_assert!(services.iter().all(|service| service.upgrade().is_none()));
    }

    #[test]
    fn owners_are_those_that_a_look_at_every_resource_finds(seed in any::<u64>(), steps in 0_usize..80) {
        let random = &mut Rng::with_seed(seed);
        let mut model = Model::new();
        let mut registry = Registry::new(node());
        for _ in 0..steps {
            registry.apply([step(&mut model, random)]);
        }
        for address in (0..9).map(|n| ip(&format!("10.0.0.{n}"))).chain([ip("fd00::1"), ip("fd00::2")]) {
            for namespace in NAMESPACES {
                let found = found_owner(&registry, address, namespace);
                prop_assert_eq!(found, naive_owner(&model, address, namespace), "{} {}", address, namespace);
            }
        }
    }
}
