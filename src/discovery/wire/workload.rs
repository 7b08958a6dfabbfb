//! Workloads as messages.

use adit_mesh::policy::PolicyKey;
use adit_mesh::service::PortMap;
use adit_mesh::workload::{ApplicationTunnel, Locality, NetworkAddress, WorkloadType};
use adit_mesh::{Interner, ServiceKey, Text, TrustDomain, Workload};
use adit_proto::workload as wire;

use super::invalid::{In, Invalid, each};
use super::numbers::Numbered;
use super::parts::{bytes, gateway, ip, or, port_map, port_or_none, ports, service_key, write_gateway};

/// What a cluster is called that has no name (Istio's default).
const CLUSTER: &str = "Kubernetes";
/// The service account of a pod that names none (Kubernetes' default).
const SERVICE_ACCOUNT: &str = "default";

pub(super) fn read(sent: &wire::Workload, texts: &mut Interner) -> Result<Workload, Invalid> {
    let workload = identified(sent, texts)?;
    let mut gateway = |field, sent: &Option<wire::GatewayAddress>| {
        let read = sent.as_ref().map(|sent| gateway(sent, texts).map(Box::new));
        read.transpose().within(field)
    };
    let network_gateway = gateway("network_gateway", &sent.network_gateway)?;
    let waypoint = gateway("waypoint", &sent.waypoint)?;
    Ok(Workload {
        addresses: each("addresses", &sent.addresses, |address| ip(address))?,
        hostname: (!sent.hostname.is_empty()).then(|| texts.intern(&sent.hostname)),
        network: texts.intern(&sent.network),
        network_gateway,
        protocol: Numbered::of(sent.tunnel_protocol).within("tunnel_protocol")?,
        native_tunnel: sent.native_tunnel,
        network_mode: Numbered::of(sent.network_mode).within("network_mode")?,
        waypoint,
        application_tunnel: sent
            .application_tunnel
            .as_ref()
            .map(application_tunnel)
            .transpose()
            .within("application_tunnel")?,
        services: services(sent, texts).within("services")?,
        authorization_policies: each("authorization_policies", &sent.authorization_policies, |name| {
            policy_key(name, texts)
        })?,
        health: Numbered::of(sent.status).within("status")?,
        capacity: match sent.capacity {
            None => 1,
            Some(0) => return Err(Invalid::new("it is 0").within("capacity")),
            Some(capacity) => capacity,
        },
        node: texts.intern(&sent.node),
        cluster: texts.intern(or(&sent.cluster_id, CLUSTER)),
        locality: sent
            .locality
            .as_ref()
            .map_or_else(Locality::default, |place| Locality {
                region: texts.intern(&place.region),
                zone: texts.intern(&place.zone),
                subzone: texts.intern(&place.subzone),
            }),
        canonical_name: texts.intern(&sent.canonical_name),
        canonical_revision: texts.intern(&sent.canonical_revision),
        workload_name: texts.intern(&sent.workload_name),
        // Only telemetry shows it, which a kind that is not known yet must not end.
        workload_type: Numbered::of(sent.workload_type).unwrap_or(WorkloadType::Pod),
        ..workload
    })
}

/// A workload of which only is said who it is.
fn identified(sent: &wire::Workload, texts: &mut Interner) -> Result<Workload, Invalid> {
    if sent.uid.is_empty() {
        return Err(Invalid::new("it is empty").within("uid"));
    }
    let trust_domain = or(&sent.trust_domain, TrustDomain::DEFAULT);
    let trust_domain = TrustDomain::new(texts.intern(trust_domain))
        .map_err(|error| Invalid::new(error).within("trust_domain"))?;
    Workload::new(
        // What only this workload has is not looked for among what many share.
        Text::from(sent.uid.as_str()),
        Text::from(sent.name.as_str()),
        trust_domain,
        texts.intern(&sent.namespace),
        texts.intern(or(&sent.service_account, SERVICE_ACCOUNT)),
    )
    .map_err(Invalid::new)
}

fn application_tunnel(sent: &wire::ApplicationTunnel) -> Result<ApplicationTunnel, Invalid> {
    Ok(ApplicationTunnel {
        protocol: Numbered::of(sent.protocol).within("protocol")?,
        port: port_or_none(sent.port).within("port")?,
    })
}

fn services(sent: &wire::Workload, texts: &mut Interner) -> Result<Box<[(ServiceKey, PortMap)]>, Invalid> {
    let service = |(name, list): (&String, &wire::PortList)| {
        let key = service_key(name, texts)?;
        let ports = port_map(&list.ports).within(name)?;
        Ok((key, ports))
    };
    sent.services.iter().map(service).collect()
}

/// `<namespace>/<name>`.
fn policy_key(name: &str, texts: &mut Interner) -> Result<PolicyKey, Invalid> {
    match name.split_once('/') {
        Some((namespace, name)) if !name.is_empty() => Ok(PolicyKey {
            namespace: texts.intern(namespace),
            name: texts.intern(name),
        }),
        _ => Err(Invalid::new(format_args!(
            "{name:?} is not <namespace>/<name> of a policy"
        ))),
    }
}

/// The addresses of a workload that could not be read, as far as they can be.
pub(super) fn claims(sent: &wire::Workload) -> Box<[NetworkAddress]> {
    let network = Text::from(sent.network.as_str());
    let readable = sent.addresses.iter().filter_map(|address| ip(address).ok());
    readable
        .map(|address| NetworkAddress::new(network.clone(), address))
        .collect()
}

pub(super) fn write(workload: &Workload) -> wire::Workload {
    let service =
        |(key, map): &(ServiceKey, PortMap)| (key.to_string(), wire::PortList { ports: ports(map) });
    let gateway = |gateway: &Option<Box<_>>| gateway.as_deref().map(write_gateway);
    let policies = workload.authorization_policies.iter();
    let Locality {
        region,
        zone,
        subzone,
    } = &workload.locality;
    let place = wire::Locality {
        region: region.to_string(),
        zone: zone.to_string(),
        subzone: subzone.to_string(),
    };
    wire::Workload {
        name: workload.name.to_string(),
        namespace: workload.namespace().to_string(),
        addresses: workload.addresses.iter().map(|ip| bytes(*ip)).collect(),
        network: workload.network.to_string(),
        tunnel_protocol: workload.protocol.number(),
        trust_domain: elided(workload.identity.trust_domain().as_str(), TrustDomain::DEFAULT),
        service_account: elided(workload.identity.service_account(), SERVICE_ACCOUNT),
        waypoint: gateway(&workload.waypoint),
        node: workload.node.to_string(),
        canonical_name: workload.canonical_name.to_string(),
        canonical_revision: workload.canonical_revision.to_string(),
        workload_type: workload.workload_type.number(),
        workload_name: workload.workload_name.to_string(),
        native_tunnel: workload.native_tunnel,
        authorization_policies: policies.map(ToString::to_string).collect(),
        status: workload.health.number(),
        cluster_id: elided(&workload.cluster, CLUSTER),
        network_gateway: gateway(&workload.network_gateway),
        uid: workload.uid.to_string(),
        hostname: workload
            .hostname
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        services: workload.services.iter().map(service).collect(),
        application_tunnel: workload.application_tunnel.map(|tunnel| wire::ApplicationTunnel {
            protocol: tunnel.protocol.number(),
            port: tunnel.port.map_or(0, |port| port.get().into()),
        }),
        locality: (place != wire::Locality::default()).then_some(place),
        network_mode: workload.network_mode.number(),
        capacity: (workload.capacity != 1).then_some(workload.capacity),
    }
}

/// Nothing, where that means the same.
fn elided(text: &str, default: &str) -> String {
    if text == default {
        String::new()
    } else {
        text.to_owned()
    }
}
