use adit_mesh::registry::LocalNode;
use adit_proto::discovery::{Any, Resource};
use adit_proto::workload::{self as sent, Address, address};
use prost::Message;

use super::*;

fn address(name: &str, kind: address::Type) -> Vec<u8> {
    resource(
        name,
        "v1",
        Kind::Address.url(),
        Address { r#type: Some(kind) }.encode_to_vec(),
    )
}

fn resource(name: &str, version: &str, url: &str, value: Vec<u8>) -> Vec<u8> {
    Resource {
        version: version.to_owned(),
        resource: Some(Any {
            type_url: url.to_owned(),
            value: value.into(),
        }),
        name: name.to_owned(),
        aliases: Vec::new(),
    }
    .encode_to_vec()
}

fn workload(name: &str, address_bytes: &[u8]) -> Vec<u8> {
    let uid = format!("c//Pod/bank/{name}");
    let message = sent::Workload {
        uid: uid.clone(),
        name: name.to_owned(),
        namespace: "bank".to_owned(),
        addresses: vec![address_bytes.to_vec()],
        ..sent::Workload::default()
    };
    address(&uid, address::Type::Workload(message))
}

fn response(resources: impl IntoIterator<Item = Vec<u8>>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        resources: resources.into_iter().map(Into::into).collect(),
        type_url: Kind::Address.url().to_owned(),
        removed_resources: removed.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn mirror() -> (Arc<Store>, Mirror) {
    let store = Arc::new(Store::new(LocalNode::default()));
    (store.clone(), Mirror::new(store))
}

fn told(mirror: &Mirror) -> Status {
    let (status, changed) = (watch::Sender::new(Status::default()), watch::Sender::new(0));
    mirror.publish(false, &status, &changed, SystemTime::now());
    status.borrow().clone()
}

#[test]
fn what_is_good_is_applied_and_what_is_not_is_refused_by_name() {
    let (store, mut mirror) = mirror();
    let refused = mirror.apply(
        Kind::Address,
        &response(
            [
                workload("good", &[10, 0, 0, 1]),
                workload("bad", &[10, 0]),
                b"\xff".to_vec(),
            ],
            &[],
        ),
    );
    let refused = refused.expect("a refusal");
    assert!(refused.contains("c//Pod/bank/bad: "), "{refused}");
    assert!(refused.contains("a resource without a name: "), "{refused}");
    assert_eq!(store.snapshot().workloads().count(), 1);
    assert_eq!(store.snapshot().tombstones().count(), 1);
    let status = told(&mirror);
    assert_eq!(
        (status.workloads, status.services, status.rejected.len()),
        (2, 0, 1)
    );
    // What was refused is asked for again, and one that is gone is told.
    let versions = mirror.versions(Kind::Address);
    assert_eq!(versions["c//Pod/bank/good"], "v1");
    assert_eq!(versions["c//Pod/bank/bad"], "");
    assert_eq!(
        mirror.apply(Kind::Address, &response([], &["c//Pod/bank/bad"])),
        None
    );
    assert_eq!(store.snapshot().tombstones().count(), 0);
    assert_eq!(told(&mirror).rejected.len(), 0);
}

#[test]
fn a_bad_version_leaves_the_good_one() {
    let (store, mut mirror) = mirror();
    assert_eq!(
        mirror.apply(Kind::Address, &response([workload("a", &[10, 0, 0, 1])], &[])),
        None
    );
    let second = response([workload("a", &[1])], &[]);
    assert!(mirror.apply(Kind::Address, &second).is_some());
    assert_eq!(store.snapshot().workloads().count(), 1);
    assert_eq!(mirror.versions(Kind::Address)["c//Pod/bank/a"], "v1");
    assert_eq!(told(&mirror).rejected.len(), 1);
    let third = response([workload("a", &[10, 0, 0, 2])], &[]);
    assert_eq!(mirror.apply(Kind::Address, &third), None);
    assert_eq!(told(&mirror).rejected.len(), 0);
}

#[test]
fn a_resource_of_another_type_is_refused() {
    let (_, mut mirror) = mirror();
    let other = resource("bank/p", "v1", Kind::Authorization.url(), Vec::new());
    assert!(mirror.apply(Kind::Address, &response([other], &[])).is_some());
}

#[test]
fn a_refusal_is_not_longer_than_people_read() {
    let (_, mut mirror) = mirror();
    let bad = (0..500).map(|number| workload(&format!("w{number}"), &[1]));
    let refused = mirror
        .apply(Kind::Address, &response(bad, &[]))
        .expect("a refusal");
    assert!(refused.len() < 4000, "{}", refused.len());
}

#[test]
fn whoever_waits_for_a_complete_mesh_is_woken_when_it_is_one() {
    let (store, mirror) = mirror();
    let (status, changed) = (watch::Sender::new(Status::default()), watch::Sender::new(0));
    let mut waiting = changed.subscribe();
    mirror.publish(false, &status, &changed, SystemTime::now());
    assert!(!waiting.has_changed().expect("open"), "nothing has changed");
    // A mesh of which nothing is there is complete as well.
    mirror.publish(true, &status, &changed, SystemTime::now());
    assert!(waiting.has_changed().expect("open") && store.is_complete());
    waiting.borrow_and_update();
    mirror.publish(true, &status, &changed, SystemTime::now());
    assert!(!waiting.has_changed().expect("open"), "once");
}
