use std::sync::Arc;

use adit_mesh::Store;
use adit_mesh::registry::LocalNode;
use serde_json::json;

use super::*;
use crate::LocalSource;

const MESH: &str = r#"
workloads:
- uid: c//Pod/bank/ledger-0
  name: ledger-0
  namespace: bank
  serviceAccount: ledger
  workloadIps: [10.0.1.5, "fd00::5"]
  network: west
  networkGateway: {destination: west/192.0.2.1, hboneMtlsPort: 15009}
  protocol: HBONE
  nativeTunnel: true
  waypoint: {destination: bank/waypoint.bank}
  applicationTunnel: {protocol: PROXY, port: 15088}
  services: {bank/ledger.bank: {80: 8080, 443: 0}}
  authorizationPolicies: [bank/ledger]
  capacity: 3
  node: one
  locality: {region: r, zone: z, subzone: s}
  canonicalName: ledger
  workloadType: deployment
- uid: c//Pod/bank/plain
  name: plain
  namespace: bank
  hostname: example.org
  networkMode: HostNetwork
  status: Unhealthy
services:
- name: ledger
  namespace: bank
  hostname: ledger.bank
  vips: [west/10.96.0.10]
  cidrVips: [{cidr: 240.240.0.0/16, network: west}]
  ports: {80: 8080, 443: 0}
  subjectAltNames: [spiffe://cluster.local/ns/bank/sa/ledger]
  waypoint: {destination: west/10.96.0.11}
  weightedWaypoints: [{destination: {destination: bank/canary}, weight: 10}]
  loadBalancer: {mode: Failover, routingPreferences: [Region], healthPolicy: AllowAll}
  ipFamilies: Dual
  canonical: true
  visibility: Namespace
- {namespace: bank, hostname: small.bank, vips: []}
policies:
- name: ledger
  namespace: bank
  scope: WorkloadSelector
  action: Allow
  dryRun: true
  rules:
  - - - principals: [{Exact: a}, {Prefix: b}, {Suffix: c}, {Presence: []}]
        notServiceAccounts: [{namespace: a, serviceAccount: x}]
        sourceIps: [10.0.0.0/8]
        notDestinationPorts: [9999]
"#;

fn load(text: &str) -> Arc<Registry> {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("mesh.yaml");
    std::fs::write(&path, text).expect("writes");
    let store = Arc::new(Store::new(LocalNode::default()));
    let mut source = LocalSource::new(path, store.clone());
    source.load().expect("loads");
    let status = source.status().borrow().clone();
    assert!(
        status.rejected.is_empty() && status.warnings.is_empty(),
        "{status:?}"
    );
    store.snapshot()
}

#[test]
fn a_dump_reads_back_as_the_same_mesh() {
    let registry = load(MESH);
    let dump = config_dump(&registry);
    let again = load(&dump.to_string());
    assert_eq!(
        registry.workloads().collect::<Vec<_>>(),
        again.workloads().collect::<Vec<_>>()
    );
    assert_eq!(
        registry.services().collect::<Vec<_>>(),
        again.services().collect::<Vec<_>>()
    );
    assert_eq!(
        registry.policies().collect::<Vec<_>>(),
        again.policies().collect::<Vec<_>>()
    );
    assert_eq!(registry.workloads().count(), 2);
    assert_eq!(config_dump(&again), dump);
}

#[test]
fn a_workload_has_the_keys_that_istioctl_reads() {
    let dump = config_dump(&load(MESH));
    assert_eq!(
        dump["workloads"][0],
        json!({
            "uid": "c//Pod/bank/ledger-0",
            "workloadIps": ["10.0.1.5", "fd00::5"],
            "protocol": "HBONE",
            "networkMode": "Standard",
            "name": "ledger-0",
            "namespace": "bank",
            "trustDomain": "cluster.local",
            "serviceAccount": "ledger",
            "workloadType": "deployment",
            "status": "Healthy",
            "clusterId": "Kubernetes",
            "capacity": 3,
            "network": "west",
            "canonicalName": "ledger",
            "node": "one",
            "authorizationPolicies": ["bank/ledger"],
            "locality": {"region": "r", "zone": "z", "subzone": "s"},
            "waypoint": {"destination": "bank/waypoint.bank", "hboneMtlsPort": 15008},
            "networkGateway": {"destination": "west/192.0.2.1", "hboneMtlsPort": 15009},
            "applicationTunnel": {"protocol": "PROXY", "port": 15088},
            "nativeTunnel": true,
            "services": {"bank/ledger.bank": {"80": 8080, "443": 0}},
        })
    );
}

#[test]
fn a_service_has_its_endpoints_and_the_keys_that_istioctl_reads() {
    let dump = config_dump(&load(MESH));
    assert_eq!(
        dump["services"][0],
        json!({
            "name": "ledger",
            "namespace": "bank",
            "hostname": "ledger.bank",
            "vips": ["west/10.96.0.10"],
            "cidrVips": [{"cidr": "240.240.0.0/16", "network": "west"}],
            "ports": {"80": 8080, "443": 0},
            "endpoints": {
                "c//Pod/bank/ledger-0": {
                    "workloadUid": "c//Pod/bank/ledger-0",
                    "service": "bank/ledger.bank",
                    "address": "west/10.0.1.5",
                    "port": {"80": 8080, "443": 0},
                    "status": "Healthy",
                },
            },
            "subjectAltNames": ["spiffe://cluster.local/ns/bank/sa/ledger"],
            "canonical": true,
            "visibility": "Namespace",
            "waypoint": {"destination": "west/10.96.0.11", "hboneMtlsPort": 15008},
            "weightedWaypoints": [
                {"destination": {"destination": "bank/canary", "hboneMtlsPort": 15008}, "weight": 10},
            ],
            "loadBalancer": {"mode": "Failover", "routingPreferences": ["Region"], "healthPolicy": "AllowAll"},
            "ipFamilies": "Dual",
        })
    );
}

#[test]
fn a_policy_has_the_keys_that_istioctl_reads() {
    let dump = config_dump(&load(MESH));
    assert_eq!(
        dump["policies"],
        json!([{
            "name": "ledger",
            "namespace": "bank",
            "scope": "WorkloadSelector",
            "action": "Allow",
            "rules": [[[{
                "principals": [{"Exact": "a"}, {"Prefix": "b"}, {"Suffix": "c"}, {"Presence": []}],
                "notServiceAccounts": [{"namespace": "a", "serviceAccount": "x"}],
                "sourceIps": ["10.0.0.0/8"],
                "notDestinationPorts": [9999],
            }]]],
            "dryRun": true,
        }])
    );
}
