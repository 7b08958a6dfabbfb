//! Pods.

use std::net::IpAddr;
use std::num::NonZeroU16;

use adit_mesh::{Interner, Text};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;

use super::Meta;

/// The label by which a ReplicaSet tells its pods from those of another revision.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// A CronJob names its Jobs after the minute that they are for; since 1.21 those are minutes since 1970.
const SHORTEST_TIME: usize = 8;
const LONGEST_TIME: usize = 10;

/// A pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// Its metadata.
    pub meta: Meta,
    /// Tells it from others that had its name.
    pub uid: Text,
    /// The node that it runs on; "" as long as none is chosen.
    pub node: Text,
    /// Its service account.
    pub service_account: Text,
    /// Its addresses are its node's.
    pub host_network: bool,
    /// Its addresses.
    pub addresses: Box<[IpAddr]>,
    /// It has ended, with success or without.
    pub ended: bool,
    /// It can be called.
    pub ready: bool,
    /// The name of what owns it in the end, such as its Deployment.
    pub workload_name: Text,
    /// Its ports that have a name, of TCP.
    pub ports: Box<[ContainerPort]>,
}

/// A port of a pod that has a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContainerPort {
    /// Its name.
    pub name: Text,
    /// Its number.
    pub number: NonZeroU16,
}

/// As the API has it.
#[derive(Deserialize, Debug)]
pub struct Wire {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    service_account_name: String,
    host_network: bool,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_policy: String,
    ports: Vec<WirePort>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct WirePort {
    name: String,
    container_port: u16,
    protocol: String,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct PodIp {
    ip: String,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

impl Pod {
    /// Keeps what matters.
    pub fn read(wire: &Wire, texts: &mut Interner) -> Self {
        let meta = Meta::read(&wire.metadata, true, texts);
        let (spec, status) = (&wire.spec, &wire.status);
        let many = status.pod_ips.iter().map(|one| one.ip.as_str());
        let one = Some(status.pod_ip.as_str()).filter(|_| status.pod_ips.is_empty());
        // Sidecars that Kubernetes knows as such are init containers that go on running.
        let sidecars = spec.init_containers.iter();
        let sidecars = sidecars.filter(|container| container.restart_policy == "Always");
        let ports = spec.containers.iter().chain(sidecars).flat_map(|one| &one.ports);
        let ports = ports.filter(|port| !port.name.is_empty() && matches!(&*port.protocol, "" | "TCP"));
        let mut named: Vec<ContainerPort> = Vec::new();
        for port in ports {
            let Some(number) = NonZeroU16::new(port.container_port) else {
                continue;
            };
            // Of two with one name the first counts, as in Kubernetes.
            if !named.iter().any(|known| known.name == port.name.as_str()) {
                named.push(ContainerPort {
                    name: texts.intern(&port.name),
                    number,
                });
            }
        }
        let ready = status
            .conditions
            .iter()
            .any(|condition| condition.r#type == "Ready" && condition.status == "True");
        Self {
            uid: wire.metadata.uid.as_deref().unwrap_or_default().into(),
            node: texts.intern(&spec.node_name),
            service_account: texts.intern(match &*spec.service_account_name {
                "" => "default",
                name => name,
            }),
            host_network: spec.host_network,
            addresses: many.chain(one).filter_map(|ip| ip.parse().ok()).collect(),
            ended: matches!(&*status.phase, "Succeeded" | "Failed"),
            ready: ready && wire.metadata.deletion_timestamp.is_none(),
            workload_name: texts.intern(&workload_name(&wire.metadata)),
            ports: named.into(),
            meta,
        }
    }

    /// The number of a port that has this name.
    pub fn port(&self, name: &str) -> Option<NonZeroU16> {
        let found = self.ports.iter().find(|port| port.name == *name);
        found.map(|port| port.number)
    }
}

/// The owner's owner, as far as names tell it: a ReplicaSet's is named by it without the hash, a CronJob's Job by it
/// without the time.
fn workload_name(meta: &ObjectMeta) -> String {
    let own = meta.name.clone().unwrap_or_default();
    let owners = meta.owner_references.iter().flatten();
    let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) else {
        return own;
    };
    let OwnerReference { kind, name, .. } = owner;
    let hash = meta
        .labels
        .iter()
        .flatten()
        .find(|(label, _)| *label == TEMPLATE_HASH);
    let stem = match (kind.as_str(), hash) {
        ("ReplicaSet", Some((_, hash))) => name
            .strip_suffix(hash.as_str())
            .and_then(|stem| stem.strip_suffix('-')),
        ("Job", _) => name.rsplit_once('-').and_then(|(stem, time)| {
            let is_time = (SHORTEST_TIME..=LONGEST_TIME).contains(&time.len())
                && time.bytes().all(|byte| byte.is_ascii_digit());
            is_time.then_some(stem)
        }),
        _ => None,
    };
    stem.unwrap_or(name).to_owned()
}
