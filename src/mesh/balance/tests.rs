use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::ranks::score;
use super::{Choice, Place, Ranks, choose};
use crate::fixtures::{Known, node, pod};
use crate::service::{Balancing, BalancingMode, HealthPolicy, Scope};
use crate::text::Text;
use crate::workload::{Health, Locality, Workload};

fn ranks(endpoints: impl IntoIterator<Item = (usize, Workload)>) -> Ranks {
    let mut ranks = Ranks::default();
    for (score, endpoint) in endpoints {
        ranks.insert(Some(score), Arc::new(endpoint));
    }
    ranks
}

fn endpoint(name: &str, capacity: u32) -> Workload {
    pod(name, "10.0.0.1", |w| w.capacity = capacity)
}

/// How often each endpoint is chosen in `times` connections.
fn count(ranks: &Ranks, load: &Known, tried: &[Text], times: usize) -> BTreeMap<String, usize> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        let mut choice = Choice {
            random: &mut random,
            load,
            tried,
        };
        if let Some(chosen) = choose(ranks, &mut choice, |_| true) {
            *counts.entry(chosen.name.to_string()).or_default() += 1;
        }
    }
    counts
}

fn uids(names: &[&str]) -> Vec<Text> {
    names
        .iter()
        .map(|name| pod(name, "10.0.0.1", |_| {}).uid)
        .collect()
}

#[test]
fn spreads_evenly_over_idle_endpoints() {
    let ranks = ranks((0..4).map(|n| (0, endpoint(&format!("e{n}"), 1))));
    for (name, times) in count(&ranks, &Known::default(), &[], 4000) {
        assert!((850..1150).contains(&times), "{name}: {times}");
    }
}

#[test]
fn prefers_the_one_with_fewer_connections() {
    let ranks = ranks([(0, endpoint("busy", 1)), (0, endpoint("idle", 1))]);
    let load = Known {
        active: vec![("busy", 5), ("idle", 1)],
        ..Known::default()
    };
    let counts = count(&ranks, &load, &[], 1000);
    // Both drawn: the idle one. The busy one only if eight draws gave nothing else.
    assert!(counts["idle"] > 950, "{counts:?}");
}

#[test]
fn connections_count_in_proportion_to_capacity() {
    let ranks = ranks([(0, endpoint("large", 10)), (0, endpoint("small", 1))]);
    let load = Known {
        active: vec![("large", 9), ("small", 1)],
        ..Known::default()
    };
    let counts = count(&ranks, &load, &[], 1000);
    assert!(counts["large"] > 950, "0.9 a unit against 1: {counts:?}");
}

#[test]
fn draws_in_proportion_to_capacity() {
    let mut random = fastrand::Rng::with_seed(3);
    let ranks = ranks([
        (0, endpoint("a", 1)),
        (0, endpoint("b", 3)),
        (0, endpoint("c", 4)),
    ]);
    let rank = ranks.iter().next().expect("one rank");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..8000 {
        let drawn = rank.draw(&mut random).expect("never empty");
        *counts.entry(&drawn.name).or_default() += 1;
    }
    for (name, expected) in [("a", 1000), ("b", 3000), ("c", 4000)] {
        assert!(counts[name].abs_diff(expected) < 200, "{name}: {counts:?}");
    }
}

#[test]
fn falls_to_the_next_rank_when_all_of_the_first_are_excluded() {
    let ranks = ranks([
        (2, endpoint("near", 1)),
        (2, endpoint("near2", 1)),
        (1, endpoint("far", 1)),
    ]);
    let none = Known::default();
    assert!(!count(&ranks, &none, &[], 200).contains_key("far"));
    assert_eq!(
        count(&ranks, &none, &uids(&["near"]), 200),
        BTreeMap::from([("near2".into(), 200)])
    );
    let tried = uids(&["near", "near2"]);
    assert_eq!(
        count(&ranks, &none, &tried, 200),
        BTreeMap::from([("far".into(), 200)])
    );
    let ejected = Known {
        ejected: vec!["near", "near2"],
        ..Known::default()
    };
    assert_eq!(
        count(&ranks, &ejected, &[], 200),
        BTreeMap::from([("far".into(), 200)])
    );
}

#[test]
fn tries_an_ejected_endpoint_rather_than_none() {
    let ranks = ranks([(1, endpoint("near", 1)), (0, endpoint("far", 1))]);
    let load = Known {
        ejected: vec!["near", "far"],
        ..Known::default()
    };
    assert_eq!(
        count(&ranks, &load, &[], 10),
        BTreeMap::from([("near".into(), 10)])
    );
    assert_eq!(
        count(&ranks, &load, &uids(&["near"]), 10),
        BTreeMap::from([("far".into(), 10)])
    );
    assert_eq!(count(&ranks, &load, &uids(&["near", "far"]), 10), BTreeMap::new());
}

#[test]
fn finds_the_one_usable_endpoint_among_very_many() {
    let ranks = ranks((0..5000).map(|n| (0, endpoint(&format!("e{n}"), 1 + n % 3))));
    let mut random = fastrand::Rng::with_seed(1);
    let mut choice = Choice {
        random: &mut random,
        load: &Known::default(),
        tried: &[],
    };
    let chosen = choose(&ranks, &mut choice, |endpoint| endpoint.name == "e4711");
    assert_eq!(chosen.map(|endpoint| endpoint.name.as_str()), Some("e4711"));
}

#[test]
fn the_scan_keeps_the_shares() {
    // 100 endpoints of which two are usable: draws hardly find them, so the scan decides, by capacity.
    let ranks = ranks((0..100).map(|n| (0, endpoint(&format!("e{n}"), if n == 1 { 30 } else { 10 }))));
    let mut random = fastrand::Rng::with_seed(5);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..4000 {
        let mut choice = Choice {
            random: &mut random,
            load: &Known::default(),
            tried: &[],
        };
        let chosen = choose(&ranks, &mut choice, |e| e.name == "e0" || e.name == "e1").expect("two are");
        *counts.entry(chosen.name.to_string()).or_default() += 1;
    }
    assert!(
        (2700..3300).contains(&counts["e1"]),
        "three quarters of 4000: {counts:?}"
    );
}

fn balancing(mode: BalancingMode, preferences: &[Scope]) -> Balancing {
    Balancing {
        mode,
        preferences: preferences.into(),
        health_policy: HealthPolicy::OnlyHealthy,
    }
}

fn here() -> Place {
    Place {
        node: node(),
        locality: locality("r", "z", "s"),
    }
}

fn locality(region: &str, zone: &str, subzone: &str) -> Locality {
    Locality {
        region: region.into(),
        zone: zone.into(),
        subzone: subzone.into(),
    }
}

#[test]
fn scores_follow_the_mode_and_the_leading_scopes() {
    use BalancingMode::{Failover, Standard, Strict};
    use Scope::{Network, Node, Region, Subzone, Zone};
    let near = pod("near", "10.0.0.1", |w| w.locality = locality("r", "z", "s"));
    let zone = pod("zone", "10.0.0.1", |w| {
        w.locality = locality("r", "z", "other");
        w.node = "node-2".into();
    });
    let odd = pod("odd", "10.0.0.1", |w| w.locality = locality("r", "other", "s"));
    let remote = pod("remote", "10.0.0.1", |w| {
        w.network = "remote".into();
        w.locality = locality("r", "z", "s");
    });
    let far = pod("far", "10.0.0.1", |w| {
        w.locality = locality("other", "other", "other")
    });
    let cases: &[(BalancingMode, &[Scope], &Workload, Option<usize>)] = &[
        (Standard, &[Region], &far, Some(0)),
        (Strict, &[Node], &near, Some(0)),
        (Strict, &[Node], &zone, None),
        (Strict, &[Region, Zone], &zone, Some(0)),
        (Strict, &[Region, Zone], &odd, None),
        (Strict, &[], &far, Some(0)),
        (Failover, &[Region, Zone, Subzone], &near, Some(3)),
        (Failover, &[Region, Zone, Subzone], &zone, Some(2)),
        // Only leading scopes count: the shared subzone after a foreign zone does not.
        (Failover, &[Region, Zone, Subzone], &odd, Some(1)),
        (Failover, &[Region, Zone, Subzone], &far, Some(0)),
        // A network in the first place is preferred before everything, and not required.
        (Failover, &[Network, Region, Zone], &near, Some(5)),
        (Failover, &[Network, Region, Zone], &far, Some(3)),
        (Failover, &[Network, Region, Zone], &remote, Some(2)),
        // In another place it is a scope like the others.
        (Failover, &[Region, Network, Zone], &remote, Some(1)),
    ];
    for (mode, preferences, endpoint, expected) in cases {
        let found = score(&balancing(*mode, preferences), &here(), endpoint);
        assert_eq!(found, *expected, "{mode:?} {preferences:?} {}", endpoint.name);
    }
}

#[test]
fn unhealthy_endpoints_take_part_only_where_the_service_asks_for_all() {
    let ill = pod("ill", "10.0.0.1", |w| w.health = Health::Unhealthy);
    let mut all = balancing(BalancingMode::Standard, &[]);
    assert_eq!(score(&all, &here(), &ill), None);
    all.health_policy = HealthPolicy::AllowAll;
    assert_eq!(score(&all, &here(), &ill), Some(0));
}

fn changes() -> impl Strategy<Value = Vec<(bool, u8, Option<usize>, u32)>> {
    let score = proptest::option::of(0_usize..4);
    proptest::collection::vec((any::<bool>(), 0_u8..150, score, 1_u32..4), 0..600)
}

proptest! {
    /// Against a plain map: after any insertions and removals the ranks hold the same endpoints, in order, and
    /// equal those that were built from the survivors at once.
    #[test]
    fn ranks_hold_what_was_put_in_and_not_taken_out(changes in changes()) {
        let mut model: BTreeMap<u8, (Option<usize>, Arc<Workload>)> = BTreeMap::new();
        let mut ranks = Ranks::default();
        for (insert, n, score, capacity) in changes {
            if let Some((score, old)) = model.remove(&n) {
                ranks.remove(score, &old);
            }
            if insert {
                let new = Arc::new(endpoint(&format!("e{n}"), capacity));
                ranks.insert(score, Arc::clone(&new));
                model.insert(n, (score, new));
            }
        }
        let mut built = Ranks::default();
        for (score, endpoint) in model.values().rev() {
            built.insert(*score, Arc::clone(endpoint));
        }
        prop_assert_eq!(&ranks, &built);
        let found: BTreeSet<Text> = ranks.endpoints().map(|e| e.uid.clone()).collect();
        let expected: BTreeSet<Text> = model.values().map(|(_, e)| e.uid.clone()).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(ranks.endpoints().count(), model.len());
        prop_assert_eq!(ranks.is_empty(), model.is_empty());
    }

    /// Whatever is excluded: the choice is one of the best rank that has an endpoint left, and never one that was
    /// tried or is not usable; asking again until nothing is left gives each endpoint once.
    #[test]
    fn each_candidate_is_given_once_and_better_ranks_first(
        scores in proptest::collection::vec(0_usize..3, 1..12),
        unusable in proptest::collection::vec(any::<bool>(), 12),
        seed in any::<u64>(),
    ) {
        let endpoints = scores.iter().enumerate();
        let ranks = ranks(endpoints.map(|(n, score)| (*score, endpoint(&n.to_string(), 1 + (n as u32 % 2)))));
        let index = |e: &Workload| e.name.parse::<usize>().expect("a number");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut tried: Vec<Text> = Vec::new();
        let mut given: Vec<usize> = Vec::new();
        loop {
            let mut choice = Choice { random: &mut random, load: &Known::default(), tried: &tried };
            let Some(chosen) = choose(&ranks, &mut choice, |e| !unusable[index(e)]) else { break };
            tried.push(chosen.uid.clone());
            given.push(index(chosen));
            prop_assert!(given.len() <= scores.len());
        }
        let in_order: Vec<usize> = given.iter().map(|n| scores[*n]).collect();
        prop_assert!(in_order.is_sorted_by(|a, b| a >= b), "{in_order:?}");
        let distinct: BTreeSet<usize> = given.iter().copied().collect();
        prop_assert_eq!(distinct.len(), given.len());
        let usable = (0..scores.len()).filter(|n| !unusable[*n]).count();
        prop_assert_eq!(given.len(), usable);
    }
}
