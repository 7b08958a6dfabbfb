mod format;
mod mistakes;
mod random;
mod source;

use adit_mesh::registry::{LocalNode, Rejection, ResourceName, Update};
use adit_mesh::{Interner, Policy, PolicyKey, Registry, Service, ServiceKey, Workload};
use serde::Deserializer;

use super::convert::{self, Mesh};
use super::document::{Invalid, NotYaml};

/// A document with one resource of each kind and little in them.
const SMALL: &str = r#"
workloads:
- uid: cluster1//Pod/bank/payments-1
  name: payments-1
  namespace: bank
  serviceAccount: payments
  workloadIps: ["10.0.1.5"]
  protocol: HBONE
  node: one
  services:
    bank/ledger.bank.svc.cluster.local:
      80: 8080
services:
- name: ledger
  namespace: bank
  hostname: ledger.bank.svc.cluster.local
  vips: [/10.96.0.10]
  ports: {80: 8080}
policies:
- name: ledger
  namespace: bank
  scope: Namespace
  action: Allow
  rules:
  - - - principals:
        - Exact: cluster.local/ns/bank/sa/payments
"#;

fn mesh(yaml: &str) -> Mesh {
    parsed(yaml).expect("is YAML").expect("has the right top level")
}

fn parsed(yaml: &str) -> Result<Result<Mesh, Invalid>, NotYaml> {
    let nothing = Registry::new(LocalNode::default());
    convert::parse(yaml, "mesh.yaml", &mut Interner::default(), &nothing)
}

fn converted<'de, D: Deserializer<'de>>(document: D) -> Result<Result<Mesh, Invalid>, D::Error> {
    let nothing = Registry::new(LocalNode::default());
    convert::read(document, "mesh.yaml", &mut Interner::default(), &nothing)
}

fn only(yaml: &str) -> Update {
    let mesh = mesh(yaml);
    assert_eq!(mesh.resources.len(), 1, "{mesh:?}");
    mesh.resources.into_values().next().expect("there is one")
}

fn workload(yaml: &str) -> Workload {
    match only(yaml) {
        Update::Workload(workload) => Workload::clone(&workload),
        other => panic!("{other:?}"),
    }
}

fn service(yaml: &str) -> Service {
    match only(yaml) {
        Update::Service(service) => Service::clone(&service),
        other => panic!("{other:?}"),
    }
}

fn policy(yaml: &str) -> Policy {
    match only(yaml) {
        Update::Policy(policy) => Policy::clone(&policy),
        other => panic!("{other:?}"),
    }
}

fn rejection(yaml: &str) -> Rejection {
    match only(yaml) {
        Update::Reject(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

fn service_key(namespace: &str, hostname: &str) -> ServiceKey {
    ServiceKey {
        namespace: namespace.into(),
        hostname: hostname.into(),
    }
}

fn policy_key(namespace: &str, name: &str) -> PolicyKey {
    PolicyKey {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn uid(uid: &str) -> ResourceName {
    ResourceName::Workload(uid.into())
}
