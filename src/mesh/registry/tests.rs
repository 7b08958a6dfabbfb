mod locals;
mod lookups;
mod properties;
mod sharing;

use std::sync::Arc;

use super::{Known, Rejection, ResourceName, Store, Update};
use crate::balance::Ranks;
use crate::fixtures::{at, ip, joins, key, mesh, node, pod, policy_key, service};
use crate::service::{Balancing, BalancingMode, HealthPolicy, Scope};
use crate::workload::{Health, Workload};

fn names(ranks: Option<&Arc<Ranks>>) -> Vec<Vec<&str>> {
    let ranks = ranks.into_iter().flat_map(|ranks| ranks.iter());
    ranks
        .map(|rank| rank.endpoints().map(|e| e.name.as_str()).collect())
        .collect()
}

fn uid(name: &str) -> ResourceName {
    ResourceName::Workload(pod(name, "10.0.0.1", |_| {}).uid)
}

fn rejected(name: ResourceName, address: &str) -> Update {
    Update::Reject(Rejection {
        addresses: Box::new([at(address)]),
        ..Rejection::new(name, "a port of 70000".into())
    })
}

fn failover(scopes: &[Scope]) -> Balancing {
    Balancing {
        mode: BalancingMode::Failover,
        preferences: scopes.into(),
        ..Balancing::default()
    }
}

#[test]
fn endpoints_may_come_before_their_service() {
    let ledger = key("bank/ledger");
    let mut registry = mesh([
        pod("far", "10.0.0.2", |w| {
            joins(w, "ledger");
            w.node = "node-2".into();
        })
        .into(),
        pod("near", "10.0.0.1", |w| joins(w, "ledger")).into(),
    ]);
    assert_eq!(names(registry.ranks(&ledger)), [["far", "near"]]);
    registry.apply([service("ledger", "10.1.0.1", |s| s.balancing = failover(&[Scope::Node])).into()]);
    assert_eq!(names(registry.ranks(&ledger)), [["near"], ["far"]]);
    registry.apply([Update::Remove(ResourceName::Service(ledger.clone()))]);
    assert_eq!(names(registry.ranks(&ledger)), [["far", "near"]]);
}

#[test]
fn unhealthy_endpoints_come_back_when_the_service_asks_for_all() {
    let ledger = key("bank/ledger");
    let mut registry = mesh([
        service("ledger", "10.1.0.1", |_| {}).into(),
        pod("ill", "10.0.0.1", |w| {
            joins(w, "ledger");
            w.health = Health::Unhealthy;
        })
        .into(),
    ]);
    assert!(names(registry.ranks(&ledger)).is_empty());
    assert_eq!(registry.endpoints(&ledger).count(), 1);
    let all = service("ledger", "10.1.0.1", |s| {
        s.balancing.health_policy = HealthPolicy::AllowAll
    });
    registry.apply([all.into()]);
    assert_eq!(names(registry.ranks(&ledger)), [["ill"]]);
}

#[test]
fn ranks_follow_the_locality_that_the_node_turns_out_to_have() {
    let ledger = key("bank/ledger");
    let remote = |name: &str, zone: &'static str| {
        pod(name, "10.0.0.1", |w| {
            joins(w, "ledger");
            w.node = "node-2".into();
            w.locality.zone = zone.into();
        })
    };
    let mut registry = mesh([
        service("ledger", "10.1.0.1", |s| s.balancing = failover(&[Scope::Zone])).into(),
        remote("a", "zone-a").into(),
        remote("b", "zone-b").into(),
    ]);
    assert_eq!(names(registry.ranks(&ledger)), [["a", "b"]]);
    let web = |zone: &'static str| pod("web", "10.0.0.9", |w| w.locality.zone = zone.into());
    registry.apply([web("zone-a").into()]);
    assert_eq!(registry.locality().zone, "zone-a");
    assert_eq!(names(registry.ranks(&ledger)), [["a"], ["b"]]);
    registry.apply([web("zone-b").into()]);
    assert_eq!(names(registry.ranks(&ledger)), [["b"], ["a"]]);
    registry.apply([Update::Remove(uid("web"))]);
    assert_eq!(names(registry.ranks(&ledger)), [["a", "b"]]);
}

#[test]
fn an_endpoint_that_leaves_a_service_is_no_longer_its_endpoint() {
    let mut registry = mesh([
        service("ledger", "10.1.0.1", |_| {}).into(),
        pod("a", "10.0.0.1", |w| joins(w, "ledger")).into(),
    ]);
    registry.apply([pod("a", "10.0.0.1", |w| joins(w, "web")).into()]);
    assert!(registry.ranks(&key("bank/ledger")).is_none());
    assert_eq!(names(registry.ranks(&key("bank/web"))), [["a"]]);
}

#[test]
fn the_last_good_version_outlives_a_rejection() {
    let mut registry = mesh([pod("a", "10.0.0.1", |_| {}).into()]);
    let before = registry.clone();
    assert!(!registry.apply([rejected(uid("a"), "10.0.0.7")]));
    assert_eq!(registry, before);
    assert_eq!(registry.tombstones().count(), 0);
}

#[test]
fn a_tombstone_ends_with_a_good_version_or_with_its_removal() {
    let fresh = mesh([pod("a", "10.0.0.1", |_| {}).into()]);
    let mut registry = mesh([rejected(uid("a"), "10.0.0.7")]);
    assert_eq!(
        registry.tombstones().map(|(name, _)| name).collect::<Vec<_>>(),
        [uid("a")]
    );
    registry.apply([pod("a", "10.0.0.1", |_| {}).into()]);
    assert_eq!(registry, fresh);

    for name in [
        uid("a"),
        ResourceName::Service(key("bank/ledger")),
        ResourceName::Policy(policy_key("bank/strict")),
    ] {
        let mut registry = mesh([rejected(name.clone(), "10.0.0.7")]);
        assert!(!registry.is_empty(), "{name}");
        registry.apply([Update::Remove(name.clone())]);
        assert!(registry.is_empty(), "{name}");
    }
}

#[test]
fn saying_the_same_again_changes_nothing() {
    let batch = || -> Vec<Update> {
        vec![
            pod("a", "10.0.0.1", |w| joins(w, "ledger")).into(),
            service("ledger", "10.1.0.1", |_| {}).into(),
            rejected(uid("b"), "10.0.0.2"),
        ]
    };
    let mut registry = mesh(batch());
    let generation = registry.generation();
    assert!(!registry.apply(batch()));
    assert!(!registry.apply([Update::Remove(uid("nobody"))]));
    assert_eq!(registry.generation(), generation);
}

#[test]
fn of_two_changes_in_a_batch_the_later_one_counts() {
    let registry = mesh([
        pod("a", "10.0.0.1", |_| {}).into(),
        Update::Remove(uid("a")),
        pod("a", "10.0.0.2", |_| {}).into(),
    ]);
    assert!(registry.workload_at("", ip("10.0.0.1")).is_none());
    assert!(registry.workload_at("", ip("10.0.0.2")).is_some());
}

#[test]
fn removal_frees_what_was_there() {
    let workload: Arc<Workload> = Arc::new(pod("a", "10.0.0.1", |w| joins(w, "ledger")));
    let weak = Arc::downgrade(&workload);
    let mut registry = mesh([Update::Workload(workload)]);
    let old = registry.clone();
    registry.apply([Update::Remove(uid("a"))]);
    assert!(registry.is_empty());
    assert!(weak.upgrade().is_some(), "an older snapshot still has it");
    drop(old);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_store_publishes_whole_batches_and_counts_them() {
    let store = Store::new(node());
    assert!(!store.is_complete());
    let old = store.snapshot();
    assert_eq!(store.update([pod("a", "10.0.0.1", |_| {}).into()]), 1);
    assert_eq!(
        store.update([pod("a", "10.0.0.1", |_| {}).into()]),
        1,
        "nothing new"
    );
    assert_eq!(store.update([Update::Remove(uid("a"))]), 2);
    assert!(store.load().is_empty());
    assert!(old.is_empty());
    assert_eq!(store.load().generation(), 2);
    store.mark_complete();
    assert!(store.is_complete());
}

#[test]
fn writers_take_turns_and_lose_nothing() {
    let store = Store::new(node());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..50 {
                    store.update([pod(&format!("{thread}-{n}"), "10.0.0.1", |_| {}).into()]);
                }
            });
        }
    });
    assert_eq!(store.load().workloads().count(), 200);
    assert_eq!(store.load().generation(), 200);
}

#[test]
fn hostnames_are_resolved_for_the_client() {
    let elsewhere = |canonical: bool| {
        service("ledger", "10.1.0.2", |s| {
            s.key = key("shop/ledger");
            s.canonical = canonical;
        })
    };
    let mut registry = mesh([
        service("ledger", "10.1.0.1", |s| s.canonical = false).into(),
        elsewhere(true).into(),
    ]);
    let seen = |registry: &super::Registry, namespace: &str| {
        let known = registry
            .service_by_hostname("ledger", namespace)
            .and_then(Known::good);
        known.map(|service| service.key.clone())
    };
    assert_eq!(seen(&registry, "bank"), Some(key("bank/ledger")));
    assert_eq!(
        seen(&registry, "other"),
        Some(key("shop/ledger")),
        "the canonical one"
    );
    registry.apply([elsewhere(false).into()]);
    assert_eq!(
        seen(&registry, "other"),
        Some(key("bank/ledger")),
        "the first by name"
    );
    assert_eq!(seen(&registry, "shop"), Some(key("shop/ledger")));
}
