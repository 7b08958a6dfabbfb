//! Decisions in the large mesh, and one change of it.

use std::sync::Arc;

use adit_mesh::authorize::{self, Connection, Verdict};
use adit_mesh::registry::{Local, LocalNode, Update};
use adit_mesh::route::{self, Choice, NoLoad, Route};
use adit_mesh::{Interner, Registry, Store, Text, Workload};

use crate::case::Case;
use crate::mesh;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("route", || {
            let (registry, local) = meshed();
            route(&registry, &local)
        }),
        Case::new("verdict of 20 policies", || verdict(&meshed().1)),
        Case::new("route and verdict", || {
            let (registry, local) = meshed();
            let (mut routed, judged) = (route(&registry, &local), verdict(&local));
            move || (routed(), judged())
        }),
        Case::new("one change among 100,000", || update(&meshed().0)),
    ]
}

/// The large mesh, and the workload in it whose connections are decided.
fn meshed() -> (Arc<Registry>, Arc<Local>) {
    let registry = Arc::new(mesh::registry());
    let local = registry
        .local_by_uid(&mesh::local_uid())
        .expect("in the mesh")
        .clone();
    assert_eq!(local.policies.policies().count(), mesh::POLICIES);
    (registry, local)
}

/// Where a connection of the local workload goes, each time to another of the hot destinations.
fn route(registry: &Arc<Registry>, local: &Arc<Local>) -> impl FnMut() -> Route + use<> {
    let (registry, source) = (registry.clone(), local.workload.clone());
    let mut hot = mesh::hot().into_iter().cycle();
    let mut random = fastrand::Rng::with_seed(1);
    move || {
        let mut choice = Choice {
            random: &mut random,
            load: &NoLoad,
            tried: &[],
        };
        let destination = hot.next().expect("endless");
        let route = route::decide(&registry, &source, destination, &mut choice);
        assert!(matches!(route, Route::Hbone(_)));
        route
    }
}

/// Whether a peer may enter the local workload, which the last of its policies allows.
fn verdict(local: &Arc<Local>) -> impl Fn() -> Verdict + use<> {
    let local = local.clone();
    let peer = local.workload.identity.clone();
    let address = local.workload.addresses[0];
    move || {
        let connection = Connection {
            peer: Some(&peer),
            source: address,
            destination: (address, 8080).into(),
        };
        let verdict = authorize::decide(&local.policies, &connection);
        assert!(verdict.is_allowed());
        verdict
    }
}

/// One workload of the mesh gets another version, published while the former snapshot is given up.
fn update(registry: &Registry) -> impl FnMut() + use<> {
    let store = Store::new(LocalNode {
        name: registry.node().name.clone(),
        network: Text::empty(),
        cluster: registry.node().cluster.clone(),
    });
    store.update(registry.services().cloned().map(Update::Service));
    store.update(registry.workloads().cloned().map(Update::Workload));
    store.update(registry.policies().cloned().map(Update::Policy));
    let mut texts = Interner::default();
    let every = mesh::WORKLOADS / mesh::HOT;
    let mut changes = Vec::new();
    for revision in ["v3", "v4"] {
        let changed = (0..mesh::HOT).map(|n| Workload {
            canonical_revision: revision.into(),
            ..mesh::workload(n * every + 1, &mut texts)
        });
        changes.extend(changed.map(Arc::new));
    }
    let mut changes = changes.into_iter().cycle();
    let mut generation = 0;
    move || {
        let change = changes.next().expect("endless");
        let after = store.update([Update::Workload(change)]);
        assert_ne!(std::mem::replace(&mut generation, after), after);
    }
}
