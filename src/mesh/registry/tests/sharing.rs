//! What one change costs, counted instead of timed: the entries that the next snapshot does not share with the last.

use std::sync::Arc;

use crate::fixtures::{joins, mesh, pod, service};
use crate::registry::{Registry, ResourceName, Update};
use crate::workload::Workload;

/// A mesh of that many workloads on other nodes, half of them endpoints of one service.
fn mesh_of(size: usize) -> Registry {
    let workloads = (0..size).map(|n| Update::from(workload(n, "v1")));
    mesh(workloads.chain([service("ledger", "10.250.0.1", |_| {}).into()]))
}

fn workload(n: usize, revision: &str) -> Workload {
    let address = format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
    pod(&format!("pod-{n:06}"), &address, |w| {
        w.node = "node-2".into();
        w.canonical_revision = revision.into();
        if n.is_multiple_of(2) {
            joins(w, "ledger");
        }
    })
}

/// How many entries of all indices refer to workloads, counting what snapshots share once.
fn entries(registry: &Registry) -> usize {
    registry.workloads().map(Arc::strong_count).sum()
}

/// How many entries a change copies.
fn copied(before: &Registry, change: Update) -> usize {
    let shared = entries(before);
    let mut after = before.clone();
    assert_eq!(entries(before), shared, "cloning copies nothing");
    after.apply([change]);
    let all = entries(before);
    drop(after);
    assert_eq!(entries(before), shared, "an old snapshot is freed");
    all - shared
}

#[test]
fn one_change_copies_as_much_in_a_mesh_of_1_000_as_in_one_of_30_000() {
    for size in [1_000, 30_000] {
        let registry = mesh_of(size);
        for n in [0, size / 2, size - 2] {
            let removed = ResourceName::Workload(workload(n, "v1").uid);
            let added = workload(size + n, "v1");
            for change in [
                Update::from(workload(n, "v2")),
                Update::Remove(removed),
                Update::from(added),
            ] {
                let copied = copied(&registry, change);
                // A leaf or two of each map (up to 16 entries) and a chunk or two of the service's endpoints (64).
                assert!((1..=200).contains(&copied), "{copied} of a mesh of {size}");
            }
        }
        let unrelated = Update::from(service("cards", "10.250.0.2", |_| {}));
        assert_eq!(copied(&registry, unrelated), 0);
    }
}
