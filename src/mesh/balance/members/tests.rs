use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{LEAST, MOST, Members};
use crate::fixtures::pod;
use crate::workload::Workload;

fn endpoint(n: usize) -> Arc<Workload> {
    Arc::new(pod(&format!("e{n:05}"), "10.0.0.1", |_| {}))
}

fn of(numbers: impl IntoIterator<Item = usize>) -> Members {
    let mut members = Members::default();
    for n in numbers {
        members.insert(endpoint(n));
    }
    members
}

/// What every change must keep.
fn check(members: &Members) {
    let lengths: Vec<usize> = members.chunks.iter().map(|chunk| chunk.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), members.len());
    let least = if lengths.len() > 1 { LEAST } else { 1 };
    assert!(
        lengths.iter().all(|len| (least..=MOST).contains(len)),
        "{lengths:?}"
    );
    assert!(members.iter().is_sorted_by(|a, b| a.uid < b.uid));
}

/// The chunks that a set consists of, by where they are.
fn chunks(members: &Members) -> BTreeSet<usize> {
    members
        .chunks
        .iter()
        .map(|chunk| Arc::as_ptr(chunk).addr())
        .collect()
}

#[test]
fn ten_thousand_endpoints_come_and_go_in_any_order() {
    let mut order: Vec<usize> = (0..10_000).collect();
    let mut random = fastrand::Rng::with_seed(11);
    random.shuffle(&mut order);
    let mut members = of(order.iter().copied());
    check(&members);
    assert_eq!(members.len(), 10_000);
    assert!(members == of(0..10_000), "the order does not matter");
    random.shuffle(&mut order);
    for (left, n) in (0..10_000).rev().zip(&order) {
        members.remove(&endpoint(*n).uid);
        assert_eq!(members.len(), left);
        if left % 97 == 0 {
            check(&members);
        }
    }
    assert!(members.is_empty());
    assert!(members == Members::default());
}

#[test]
fn one_change_of_ten_thousand_endpoints_copies_a_chunk_or_two() {
    let before = of((0..10_000).map(|n| 2 * n));
    let old = chunks(&before);
    assert!(old.len() > 100, "{}", old.len());
    for n in (0..20_000).step_by(501) {
        let mut added = before.clone();
        added.insert(endpoint(n | 1));
        let mut removed = before.clone();
        removed.remove(&endpoint(n & !1).uid);
        for after in [added, removed] {
            let copied = chunks(&after).difference(&old).count();
            assert!(
                (1..=2).contains(&copied),
                "{copied} chunks of {} were copied",
                old.len()
            );
        }
    }
}

#[test]
fn removing_what_is_not_there_copies_nothing() {
    let before = of((0..100).map(|n| 2 * n));
    let mut after = before.clone();
    after.remove(&endpoint(7).uid);
    assert_eq!(chunks(&after), chunks(&before));
}

#[test]
fn replaces_the_one_with_the_same_uid() {
    let mut members = of(0..200);
    let changed = Arc::new(pod("e00150", "10.9.9.9", |_| {}));
    members.insert(Arc::clone(&changed));
    assert_eq!(members.len(), 200);
    assert!(members.iter().any(|member| Arc::ptr_eq(member, &changed)));
    assert!(members != of(0..200));
}

#[test]
fn every_endpoint_is_drawn_as_often_as_any_other() {
    for count in [1, 2, 64, 65, 300] {
        // Built by removals too, so that chunks differ in size.
        let mut members = of(0..2 * count);
        for n in (0..count).map(|n| 2 * n) {
            members.remove(&endpoint(n).uid);
        }
        let mut random = fastrand::Rng::with_seed(9);
        let mut drawn: BTreeMap<&str, usize> = BTreeMap::new();
        for _ in 0..count * 1000 {
            let endpoint = members.draw(&mut random).expect("there are some");
            *drawn.entry(&endpoint.uid).or_default() += 1;
        }
        assert_eq!(drawn.len(), count);
        // Five standard deviations of a thousand draws.
        assert!(
            drawn.values().all(|times| times.abs_diff(1000) < 160),
            "{drawn:?}"
        );
    }
}

#[test]
fn nothing_is_drawn_from_nothing() {
    assert!(
        Members::default()
            .draw(&mut fastrand::Rng::with_seed(0))
            .is_none()
    );
}
