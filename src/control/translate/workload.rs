//! Workloads: of pods, of WorkloadEntries, of endpoints that ServiceEntries and EndpointSlices list.

use std::net::IpAddr;
use std::num::NonZeroU16;

use adit_mesh::policy::PolicyKey;
use adit_mesh::service::{PortMap, ServiceKey};
use adit_mesh::workload::{
    ApplicationProtocol, ApplicationTunnel, GatewayAddress, Health, Locality, NetworkMode, TunnelProtocol,
};
use adit_mesh::{Text, Workload};

use super::names::{self, ENABLED, INBOUND_BINDING, REDIRECTION, TUNNEL};
use crate::objects::{
    Address, EndpointSlice, Gateway, GatewayClass, Labels, Name, Place, Pod, PortTarget, Service,
};
use crate::settings::Settings;

/// What a workload depends on beside itself.
#[derive(Clone, Default, Debug)]
pub struct Surroundings {
    /// The services that it is an endpoint of.
    pub services: Vec<(ServiceKey, PortMap)>,
    /// The policies that it names.
    pub policies: Vec<PolicyKey>,
    /// The waypoint before it.
    pub waypoint: Option<GatewayAddress>,
    /// How it takes its traffic, if it is a proxy behind its tunnel.
    pub application_tunnel: Option<ApplicationTunnel>,
    /// Where its node is.
    pub locality: Locality,
}

/// Whether a pod is in the mesh: it has ended, or has no address yet.
pub fn is_there(pod: &Pod) -> bool {
    !pod.ended && !pod.addresses.is_empty()
}

/// How a pod is spoken to, and whether it terminates HBONE itself.
pub fn protocol(pod: &Pod) -> (TunnelProtocol, bool) {
    let native = speaks_hbone(&pod.meta.labels);
    let redirected = pod.meta.annotations.get(REDIRECTION);
    if native || redirected.is_some_and(|state| *state == ENABLED) {
        (TunnelProtocol::Hbone, native)
    } else {
        (TunnelProtocol::Tcp, false)
    }
}

fn speaks_hbone(labels: &Labels) -> bool {
    labels
        .get(TUNNEL)
        .is_some_and(|protocols| protocols.split(',').any(|one| one.trim() == "http"))
}

/// The workload of a pod; none, if its names cannot be an identity, which those of Kubernetes always can.
pub fn of_pod(pod: &Pod, around: Surroundings, settings: &Settings) -> Option<Workload> {
    let name = &pod.meta.name;
    let (protocol, native_tunnel) = protocol(pod);
    let mut workload = named(
        names::pod(settings, name),
        name,
        &pod.service_account,
        &pod.meta.labels,
        &pod.workload_name,
        settings,
    )?;
    workload.addresses = pod.addresses.clone();
    workload.protocol = protocol;
    workload.native_tunnel = native_tunnel;
    if pod.host_network {
        workload.network_mode = NetworkMode::HostNetwork;
    }
    if !pod.ready {
        workload.health = Health::Unhealthy;
    }
    workload.node = pod.node.clone();
    workload.application_tunnel = around.application_tunnel;
    workload.locality = around.locality.clone();
    surround(&mut workload, around);
    Some(workload)
}

/// The workload of a place that Kubernetes does not run.
pub fn of_place(
    uid: Text,
    name: &Name,
    place: &Place,
    around: Surroundings,
    settings: &Settings,
) -> Option<Workload> {
    let account = match place.service_account.as_str() {
        "" => &Text::from("default"),
        _ => &place.service_account,
    };
    let mut workload = named(uid, name, account, &place.labels, &name.name, settings)?;
    match &place.address {
        Address::Ip(ip) => workload.addresses = [*ip].into(),
        Address::Name(hostname) => workload.hostname = Some(hostname.clone()),
        Address::None => return None,
    }
    if speaks_hbone(&place.labels) {
        workload.protocol = TunnelProtocol::Hbone;
        workload.native_tunnel = true;
    }
    if !place.network.is_empty() {
        workload.network = place.network.clone();
    }
    workload.capacity = place.weight.max(1);
    workload.locality = place.locality.clone();
    surround(&mut workload, around);
    Some(workload)
}

/// The workload of a host that is resolved where it is called.
pub fn of_host(
    uid: Text,
    name: &Name,
    host: &Text,
    around: Surroundings,
    settings: &Settings,
) -> Option<Workload> {
    let account = Text::from("default");
    let mut workload = named(uid, name, &account, &Labels::default(), &name.name, settings)?;
    workload.hostname = Some(host.clone());
    surround(&mut workload, around);
    Some(workload)
}

/// The workload of an endpoint of a slice that is no pod: somebody else's address, of whom nothing is known.
pub fn of_endpoint(
    slice: &EndpointSlice,
    address: IpAddr,
    ready: bool,
    service: (ServiceKey, PortMap),
    settings: &Settings,
) -> Option<Workload> {
    let name = &slice.meta.name;
    let account = Text::from("default");
    let uid = names::slice_endpoint(settings, name, &address.to_string());
    let mut workload = named(uid, name, &account, &Labels::default(), &name.name, settings)?;
    workload.addresses = [address].into();
    workload.network_mode = NetworkMode::HostNetwork;
    if !ready {
        workload.health = Health::Unhealthy;
    }
    workload.services = [service].into();
    Some(workload)
}

fn named(
    uid: Text,
    name: &Name,
    account: &Text,
    labels: &Labels,
    owner: &Text,
    settings: &Settings,
) -> Option<Workload> {
    let made = Workload::new(
        uid,
        name.name.clone(),
        settings.trust_domain.clone(),
        name.namespace.clone(),
        account.clone(),
    );
    let mut workload = made.ok()?;
    let first = |names: [&str; 3]| names.into_iter().find_map(|name| labels.get(name)).cloned();
    workload.canonical_name = first(["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
        .unwrap_or_else(|| owner.clone());
    workload.canonical_revision = first([
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ])
    .unwrap_or_else(|| "latest".into());
    let told = labels.get("service.istio.io/workload-name");
    workload.workload_name = told.unwrap_or(owner).clone();
    workload.cluster = settings.cluster.clone();
    workload.network = settings.network.clone();
    Some(workload)
}

fn surround(workload: &mut Workload, mut around: Surroundings) {
    // In one order, so that equal workloads are equal.
    around.services.sort_by(|a, b| a.0.cmp(&b.0));
    around.services.dedup_by(|later, first| later.0 == first.0);
    around.policies.sort();
    around.policies.dedup();
    workload.services = around.services.into();
    workload.authorization_policies = around.policies.into();
    workload.waypoint = around.waypoint.map(Box::new);
}

/// The ports of a pod for a service; those are left out whose name it does not have.
pub fn ports_of_pod(service: &Service, pod: &Pod) -> PortMap {
    let ports = service.ports.iter().filter_map(|port| {
        let target = match &port.target {
            PortTarget::Number(number) => *number,
            PortTarget::Named(name) => pod.port(name)?,
        };
        Some((port.number, Some(target)))
    });
    ports.collect()
}

/// The ports of a WorkloadEntry for a service: what it calls as the service calls the port, else the service's target.
pub fn ports_of_place(service: &Service, place: &Place) -> PortMap {
    let own = |name: &str| {
        let found = place.ports.iter().find(|(own, _)| *own == name);
        found.and_then(|(_, number)| NonZeroU16::new(*number))
    };
    let ports = service.ports.iter().filter_map(|port| {
        let target = own(&port.name).or_else(|| match &port.target {
            PortTarget::Number(number) => Some(*number),
            PortTarget::Named(name) => own(name),
        });
        Some((port.number, Some(target?)))
    });
    ports.collect()
}

/// The ports of a slice's endpoints for its service, matched by name.
pub fn ports_of_slice(service: &Service, slice: &EndpointSlice) -> PortMap {
    let ports = service.ports.iter().filter_map(|port| {
        let found = slice.ports.iter().find(|one| one.name == port.name)?;
        Some((port.number, Some(found.number)))
    });
    ports.collect()
}

/// How the pods of a gateway take their traffic: `<NONE|PROXY>[/<port>]` on the gateway, else on its class.
pub fn application_tunnel(
    gateway: Option<&Gateway>,
    class: Option<&GatewayClass>,
) -> Option<ApplicationTunnel> {
    let of_class = || class?.meta.annotations.get(INBOUND_BINDING);
    let text = gateway?.meta.annotations.get(INBOUND_BINDING).or_else(of_class)?;
    let (protocol, port) = match text.split_once('/') {
        Some((protocol, port)) => (protocol, Some(port)),
        None => (text.as_str(), None),
    };
    let protocol = match protocol {
        "PROXY" => ApplicationProtocol::Proxy,
        "NONE" => ApplicationProtocol::None,
        _ => return None,
    };
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    Some(ApplicationTunnel { protocol, port })
}
