//! What the tests of several modules build their meshes from: a bank on node `node-1`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::balance::Load;
use crate::identity::{Identity, TrustDomain};
use crate::policy::{Action, Policy, PolicyKey, PolicyScope};
use crate::registry::{LocalNode, Registry, Update};
use crate::service::{PortMap, Service, ServiceKey};
use crate::text::Text;
use crate::workload::{GatewayAddress, GatewayDestination, NetworkAddress, TunnelProtocol, Workload};

pub(crate) fn ip(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

pub(crate) fn socket(address: &str) -> SocketAddr {
    address.parse().expect("an address and port")
}

pub(crate) fn at(address: &str) -> NetworkAddress {
    NetworkAddress::new(Text::empty(), ip(address))
}

/// `<namespace>/<hostname>`.
pub(crate) fn key(name: &str) -> ServiceKey {
    let (namespace, hostname) = name.split_once('/').expect("namespace/hostname");
    ServiceKey {
        namespace: namespace.into(),
        hostname: hostname.into(),
    }
}

pub(crate) fn policy_key(name: &str) -> PolicyKey {
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    PolicyKey {
        namespace: namespace.into(),
        name: name.into(),
    }
}

pub(crate) fn ports(pairs: &[(u16, u16)]) -> PortMap {
    let pairs = pairs.iter();
    pairs
        .map(|&(port, target)| (NonZeroU16::new(port).expect("not 0"), NonZeroU16::new(target)))
        .collect()
}

pub(crate) fn identity(namespace: &str, account: &str) -> Identity {
    Identity::new(TrustDomain::default(), namespace.into(), account.into()).expect("valid names")
}

/// A healthy pod of namespace `bank` that speaks HBONE, on this node.
pub(crate) fn pod(name: &str, address: &str, change: impl FnOnce(&mut Workload)) -> Workload {
    let mut pod = Workload::new(
        format!("Kubernetes//Pod/bank/{name}").into(),
        name.into(),
        TrustDomain::default(),
        "bank".into(),
        name.into(),
    )
    .expect("valid names");
    pod.addresses = Box::new([ip(address)]);
    pod.protocol = TunnelProtocol::Hbone;
    pod.node = "node-1".into();
    pod.cluster = "Kubernetes".into();
    change(&mut pod);
    pod
}

/// A service of namespace `bank` with port 80, which leads to 8080.
pub(crate) fn service(hostname: &str, address: &str, change: impl FnOnce(&mut Service)) -> Service {
    let mut service = Service::new(key(&format!("bank/{hostname}")), hostname.into());
    service.addresses = Box::new([at(address)]);
    service.ports = ports(&[(80, 8080)]);
    service.canonical = true;
    change(&mut service);
    service
}

/// Makes `pod` an endpoint of a service of namespace `bank`.
pub(crate) fn joins(pod: &mut Workload, hostname: &str) {
    let mut services = pod.services.to_vec();
    services.push((key(&format!("bank/{hostname}")), ports(&[(80, 8080)])));
    pod.services = services.into();
}

pub(crate) fn waypoint_at(address: &str) -> GatewayAddress {
    GatewayAddress {
        destination: GatewayDestination::Address(at(address)),
        hbone_port: NonZeroU16::new(15008).expect("not 0"),
    }
}

pub(crate) fn waypoint_named(name: &str) -> GatewayAddress {
    GatewayAddress {
        destination: GatewayDestination::Hostname(key(name)),
        hbone_port: NonZeroU16::new(15008).expect("not 0"),
    }
}

pub(crate) fn policy(name: &str, scope: PolicyScope) -> Policy {
    Policy {
        key: policy_key(name),
        scope,
        action: Action::Allow,
        groups: Box::default(),
        dry_run: false,
    }
}

pub(crate) fn node() -> LocalNode {
    LocalNode {
        name: "node-1".into(),
        network: Text::empty(),
        cluster: "Kubernetes".into(),
    }
}

pub(crate) fn mesh(updates: impl IntoIterator<Item = Update>) -> Registry {
    let mut registry = Registry::new(node());
    registry.apply(updates);
    registry
}

impl From<Workload> for Update {
    fn from(workload: Workload) -> Self {
        Self::Workload(Arc::new(workload))
    }
}

impl From<Service> for Update {
    fn from(service: Service) -> Self {
        Self::Service(Arc::new(service))
    }
}

impl From<Policy> for Update {
    fn from(policy: Policy) -> Self {
        Self::Policy(Arc::new(policy))
    }
}

/// What a worker knows, given by pod name.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) active: Vec<(&'static str, u32)>,
    pub(crate) ejected: Vec<&'static str>,
}

fn is(uid: &str, name: &str) -> bool {
    uid.rsplit('/').next() == Some(name)
}

impl Load for Known {
    fn active(&self, uid: &str) -> u32 {
        self.active
            .iter()
            .find(|(name, _)| is(uid, name))
            .map_or(0, |&(_, active)| active)
    }

    fn ejected(&self, uid: &str) -> bool {
        self.ejected.iter().any(|name| is(uid, name))
    }
}
