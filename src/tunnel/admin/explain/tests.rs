use std::sync::Arc;

use adit_discovery::LocalSource;
use adit_mesh::Store;
use adit_mesh::registry::LocalNode;

use super::*;

const MESH: &str = r#"
workloads:
- {uid: "c//Pod/bank/web", name: web, namespace: bank, serviceAccount: web, workloadIps: [10.0.0.1, "fd00::1"], protocol: HBONE}
- {uid: "c//Pod/shop/web", name: web, namespace: shop, serviceAccount: web, workloadIps: [10.0.0.2], protocol: HBONE}
- uid: c//Pod/bank/ledger-0
  name: ledger-0
  namespace: bank
  workloadIps: [10.0.1.1, "fd00:1::1"]
  protocol: HBONE
  services: {bank/ledger.bank.svc.cluster.local: {80: 8080}}
- uid: c//Pod/bank/ledger-1
  name: ledger-1
  namespace: bank
  workloadIps: [10.0.1.2]
  protocol: HBONE
  services: {bank/ledger.bank.svc.cluster.local: {80: 8080}}
  authorizationPolicies: [bank/nobody]
- {uid: "c//Pod/bank/old", name: old, namespace: bank, workloadIps: [10.0.1.3], authorizationPolicies: [bank/nobody]}
- {uid: "c//Pod/bank/way", name: way, namespace: bank, workloadIps: [10.0.1.4], protocol: HBONE, services: {bank/way.bank.svc.cluster.local: {15008: 15008}}}
services:
- {name: ledger, namespace: bank, hostname: ledger.bank.svc.cluster.local, vips: ["/10.1.0.1", "/fd01::1"], ports: {80: 8080}}
- {name: ledger, namespace: shop, hostname: ledger.shop.svc.cluster.local, vips: ["/10.1.0.2"], ports: {80: 8080, 81: 8081}}
- {name: headless, namespace: bank, hostname: headless.bank.svc.cluster.local, vips: [], ports: {80: 8080}}
- {name: way, namespace: bank, hostname: way.bank.svc.cluster.local, vips: ["/10.1.0.9"], ports: {15008: 15008}}
- name: guarded
  namespace: bank
  hostname: guarded.bank.svc.cluster.local
  vips: ["/10.1.0.3"]
  ports: {80: 8080}
  waypoint: {destination: bank/way.bank.svc.cluster.local}
policies:
- {name: nobody, namespace: bank, scope: WorkloadSelector, action: Allow, rules: []}
"#;

fn registry() -> Arc<Registry> {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("mesh.yaml");
    std::fs::write(&path, MESH).expect("writes");
    let store = Arc::new(Store::new(LocalNode::default()));
    let mut source = LocalSource::new(path, store.clone());
    source.load().expect("loads");
    let status = source.status().borrow().clone();
    assert!(status.rejected.is_empty(), "{status:?}");
    store.snapshot()
}

fn asked(source: &str, destination: &str) -> Result<Value, String> {
    let question = Question {
        source,
        destination,
        direction: None,
    };
    decide(&registry(), &question).map(Explained::json)
}

fn destination_of(source: &str, destination: &str) -> String {
    let answer = asked(source, destination).expect("an answer");
    answer["destination"].as_str().expect("an address").to_owned()
}

fn problem(source: &str, destination: &str) -> String {
    asked(source, destination).expect_err("a problem")
}

#[test]
fn a_destination_is_named_in_every_usual_way() {
    for called in [
        "10.1.0.1:80",
        "ledger",
        "ledger:80",
        "bank/ledger",
        "ledger.bank",
        "ledger.bank.svc",
        "ledger.bank.svc.cluster.local:80",
        "bank/ledger.bank.svc.cluster.local:80",
        "10.1.0.1",
    ] {
        assert_eq!(destination_of("bank/web", called), "10.1.0.1:80", "{called}");
    }
    assert_eq!(destination_of("shop/web", "ledger:81"), "10.1.0.2:81");
    assert_eq!(destination_of("web.bank", "ledger-0:9"), "10.0.1.1:9");
    assert_eq!(destination_of("c//Pod/bank/web", "[fd01::1]:80"), "[fd01::1]:80");
    assert_eq!(destination_of("fd00::1", "old.bank:9"), "10.0.1.3:9");
}

#[test]
fn what_cannot_be_understood_is_said_with_what_would_be() {
    for (source, destination, expected) in [
        (
            "web",
            "ledger",
            "several workloads are called that; give one of bank/web, shop/web",
        ),
        (
            "bank/wep",
            "ledger",
            "no workload is called that; did you mean bank/web",
        ),
        (
            "bank/web",
            "ledgr",
            "no service or workload is called that; did you mean ledger?",
        ),
        ("bank/web", "headless", "ask about one of its pods: none"),
        ("shop/web", "ledger", "which port? It has 80, 81"),
        ("bank/web", "ledger-0", "a port is missing, as in ledger-0:8080"),
        ("bank/web", "10.0.1.1", "a port is missing"),
        ("bank/web", "ledger:http", "\"http\" is no port"),
        ("192.0.2.1", "10.1.0.1:80", "ask about one of its pods"),
        ("192.0.2.1", "192.0.2.2:80", "no workload has this address"),
    ] {
        let found = problem(source, destination);
        assert!(found.contains(expected), "{source} {destination}: {found}");
    }
}

#[test]
fn of_endpoints_that_are_equally_likely_the_one_that_refuses_is_told() {
    let answer = asked("bank/web", "ledger").expect("an answer");
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["route"]["workload"], "bank/ledger-1");
    assert_eq!(answer["verdict"]["policy"], "bank/nobody");
    let endpoints: Vec<_> = [0, 1].map(|index| &answer["endpoints"][index]).to_vec();
    assert_eq!(endpoints[0]["workload"], "bank/ledger-0");
    assert_eq!(endpoints[0]["allowed"], true);
    assert_eq!(endpoints[1]["allowed"], false);
    let text = answer["text"].as_str().expect("text");
    assert!(text.ends_with("\nanswer       refused\n"), "{text}");
    assert!(text.contains("endpoint     bank/ledger-0: allowed"), "{text}");
}

#[test]
fn where_no_tunnel_stands_before_the_destination_no_policy_is_enforced() {
    let answer = asked("bank/web", "old:80").expect("an answer");
    assert_eq!(
        (&answer["allowed"], &answer["verdict"]),
        (&json!(true), &Value::Null)
    );
    let answer = asked("bank/web", "192.0.2.7:443").expect("an answer");
    assert_eq!(answer["allowed"], true);
    assert_eq!(answer["route"]["kind"], "passthrough");
}

#[test]
fn what_a_waypoint_decides_is_left_open() {
    let answer = asked("bank/web", "guarded").expect("an answer");
    assert_eq!(answer["allowed"], Value::Null);
    assert_eq!(answer["route"]["via"], "waypoint");
}

#[test]
fn a_client_outside_of_the_mesh_only_meets_the_destination() {
    let answer = asked("192.0.2.1", "ledger-1:8080").expect("an answer");
    assert_eq!(
        (&answer["direction"], &answer["allowed"]),
        (&json!("inbound"), &json!(false))
    );
    let answer = asked("old", "ledger-0:8080").expect("an answer");
    assert_eq!(
        (&answer["direction"], &answer["allowed"]),
        (&json!("inbound"), &json!(true))
    );
    let answer = asked("192.0.2.1", "ledger-0:15008").expect("an answer");
    assert_eq!(
        (&answer["verdict"]["outcome"], &answer["allowed"]),
        (&json!("loop"), &json!(false))
    );
}
