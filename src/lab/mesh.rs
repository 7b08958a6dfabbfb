//! The configuration of the lab's tunnels: the mesh, in the file format that a tunnel reads without a control plane.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::world::Pod;

/// The whole file.
#[derive(Clone, PartialEq, Eq, Serialize, Default, Debug)]
pub struct Mesh {
    /// Who may do what.
    pub policies: Vec<Policy>,
    /// What pods are called together.
    pub services: Vec<Service>,
    /// The pods.
    pub workloads: Vec<Workload>,
}

/// A workload of the file.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    uid: String,
    name: String,
    namespace: String,
    service_account: String,
    canonical_name: String,
    workload_name: String,
    workload_ips: Vec<IpAddr>,
    protocol: &'static str,
    node: String,
    cluster_id: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    services: BTreeMap<String, BTreeMap<u16, u16>>,
    /// The policies that select it, as `namespace/name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization_policies: Vec<String>,
}

impl Workload {
    /// An enrolled pod on a node.
    pub fn new(pod: &Pod, node: &str) -> Self {
        let spec = &pod.spec;
        let v6 = pod.attachment.addresses.v6.map(IpAddr::from);
        Self {
            uid: format!("lab//Pod/{}/{}", spec.namespace, spec.name),
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            service_account: spec.service_account.clone(),
            canonical_name: spec.service_account.clone(),
            workload_name: spec.service_account.clone(),
            workload_ips: [pod.address()].into_iter().chain(v6).collect(),
            protocol: "HBONE",
            node: node.to_owned(),
            cluster_id: "lab",
            services: BTreeMap::new(),
            authorization_policies: Vec::new(),
        }
    }

    /// The name of the pod.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes it an endpoint of a service.
    pub fn serves(&mut self, service: &Service) {
        let key = format!("{}/{}", service.namespace, service.hostname);
        self.services.insert(key, service.ports.clone());
    }
}

/// A service of the file.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Service {
    name: String,
    namespace: String,
    hostname: String,
    /// Each as `network/address`; the lab's network has no name.
    vips: Vec<String>,
    ports: BTreeMap<u16, u16>,
}

impl Service {
    /// A service with the same port numbers as its pods.
    pub fn new(name: &str, namespace: &str, address: IpAddr, ports: &[u16]) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            hostname: format!("{name}.{namespace}.svc.cluster.local"),
            vips: vec![format!("/{address}")],
            ports: ports.iter().map(|port| (*port, *port)).collect(),
        }
    }
}

/// A policy of the file.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Policy {
    name: String,
    namespace: String,
    scope: &'static str,
    action: &'static str,
    /// Any of the rules; of a rule all clauses; of a clause any condition.
    rules: Vec<Vec<Vec<Condition>>>,
}

/// What a connection is compared with. All fields that are given have to agree.
#[derive(Clone, PartialEq, Eq, Serialize, Default, Debug)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    principals: Vec<StringMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_principals: Vec<StringMatch>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Default, Debug)]
struct StringMatch {
    #[serde(rename = "Exact", skip_serializing_if = "Option::is_none")]
    exact: Option<String>,
    #[serde(rename = "Presence", skip_serializing_if = "Option::is_none")]
    presence: Option<[(); 0]>,
}

impl Policy {
    /// Lets only these service accounts of a namespace call the workloads that name the policy.
    pub fn allow_only(name: &str, namespace: &str, service_accounts: &[&str]) -> Self {
        let principal = |account: &&str| StringMatch {
            exact: Some(format!("cluster.local/ns/{namespace}/sa/{account}")),
            presence: None,
        };
        let condition = Condition {
            principals: service_accounts.iter().map(principal).collect(),
            ..Condition::default()
        };
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            scope: "WorkloadSelector",
            action: "Allow",
            rules: vec![vec![vec![condition]]],
        }
    }

    /// Refuses everybody without an identity in a namespace: what a strict PeerAuthentication becomes.
    pub fn strict(name: &str, namespace: &str) -> Self {
        let anybody = StringMatch {
            exact: None,
            presence: Some([]),
        };
        let condition = Condition {
            not_principals: vec![anybody],
            ..Condition::default()
        };
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            scope: "Namespace",
            action: "Deny",
            rules: vec![vec![vec![condition]]],
        }
    }

    /// As workloads name it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl Mesh {
    /// Replaces the file. A reader sees the old one or the new one.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_saphyr::to_string(self).context("the mesh cannot be written as YAML")?;
        let unready = path.with_extension("new");
        fs::write(&unready, text)
            .and_then(|()| fs::rename(&unready, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
