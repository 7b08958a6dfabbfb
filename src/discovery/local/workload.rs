//! Workloads of a file.

use std::net::IpAddr;
use std::num::NonZeroU16;

use adit_mesh::policy::PolicyKey;
use adit_mesh::registry::{Rejection, ResourceName};
use adit_mesh::service::PortMap;
use adit_mesh::workload::{
    ApplicationProtocol, ApplicationTunnel, GatewayAddress, GatewayDestination, Health, Locality,
    NetworkAddress, NetworkMode, TunnelProtocol, WorkloadType,
};
use adit_mesh::{Interner, ServiceKey, Text, TrustDomain, Workload, constants};

use super::document::{Invalid, Node};
use super::endpoints::Endpoints;

/// What a cluster is called that has no name (Istio's default).
const CLUSTER: &str = "Kubernetes";
/// The service account of a pod that names none (Kubernetes' default).
const SERVICE_ACCOUNT: &str = "default";
/// The port of a gateway that names none.
const HBONE_PORT: NonZeroU16 = NonZeroU16::new(constants::HBONE_PORT).expect("not zero");

/// The keys of a workload.
pub(super) const KEYS: &[&str] = &[
    "applicationTunnel",
    "authorizationPolicies",
    "canonicalName",
    "canonicalRevision",
    "capacity",
    "clusterId",
    "hostname",
    "locality",
    "name",
    "namespace",
    "nativeTunnel",
    "network",
    "networkGateway",
    "networkMode",
    "node",
    "protocol",
    "serviceAccount",
    "services",
    "status",
    "trustDomain",
    "uid",
    "waypoint",
    "workloadIps",
    "workloadName",
    "workloadType",
];

/// The keys of what a workload holds.
pub(super) const NESTED: &[(&str, &[&str])] = &[
    ("applicationTunnel", &["port", "protocol"]),
    ("locality", &["region", "subzone", "zone"]),
    ("networkGateway", GATEWAY_KEYS),
    ("waypoint", GATEWAY_KEYS),
];
/// The keys of a gateway.
pub(super) const GATEWAY_KEYS: &[&str] = &["destination", "hboneMtlsPort"];

/// Reads a workload.
pub(super) fn read(
    node: &Node<'_>,
    endpoints: &Endpoints,
    texts: &mut Interner,
) -> Result<Workload, Invalid> {
    let workload = identified(node, texts)?;
    let hostname = node.text_of("hostname")?;
    let kind = node.field("workloadType").filter(|kind| kind.text() != Ok(""));
    Ok(Workload {
        addresses: node.list("workloadIps", |node| node.address())?,
        hostname: (!hostname.is_empty()).then(|| texts.intern(hostname)),
        network: texts.intern(node.text_of("network")?),
        network_gateway: node.optional("networkGateway", |node| boxed_gateway(node, texts))?,
        protocol: node.word_of("protocol", TunnelProtocol::Tcp)?,
        native_tunnel: node.flag("nativeTunnel")?,
        network_mode: node.word_of("networkMode", NetworkMode::Standard)?,
        waypoint: node.optional("waypoint", |node| boxed_gateway(node, texts))?,
        application_tunnel: node.optional("applicationTunnel", application_tunnel)?,
        services: services(node, &workload.uid, endpoints, texts)?,
        authorization_policies: node.list("authorizationPolicies", |node| policy_key(node, texts))?,
        health: node.word_of("status", Health::Healthy)?,
        capacity: node.optional("capacity", capacity)?.unwrap_or(1),
        node: texts.intern(node.text_of("node")?),
        cluster: texts.intern(or(node.text_of("clusterId")?, CLUSTER)),
        locality: node
            .optional("locality", |place| locality(place, texts))?
            .unwrap_or_default(),
        canonical_name: texts.intern(node.text_of("canonicalName")?),
        canonical_revision: texts.intern(node.text_of("canonicalRevision")?),
        workload_name: texts.intern(node.text_of("workloadName")?),
        workload_type: kind.map_or(Ok(WorkloadType::Pod), |kind| kind.word())?,
        ..workload
    })
}

/// A workload of which only is said who it is.
fn identified(node: &Node<'_>, texts: &mut Interner) -> Result<Workload, Invalid> {
    let trust_domain = or(node.text_of("trustDomain")?, TrustDomain::DEFAULT);
    let trust_domain = TrustDomain::new(texts.intern(trust_domain))
        .map_err(|error| node.invalid(format_args!("trustDomain: {error}")))?;
    // What only this workload has is not looked for among what many share.
    Workload::new(
        Text::from(uid(node)?),
        Text::from(node.text_of("name")?),
        trust_domain,
        texts.intern(node.required("namespace")?.text()?),
        texts.intern(or(node.text_of("serviceAccount")?, SERVICE_ACCOUNT)),
    )
    .map_err(|error| node.invalid(error))
}

/// A workload that could not be read: its name and addresses as far as they can be.
pub(super) fn reject(node: &Node<'_>, error: &Invalid) -> Rejection {
    let network = Text::from(node.text_of("network").unwrap_or_default());
    let addresses = node.field("workloadIps").map(|list| {
        let readable = list
            .items()
            .into_iter()
            .flatten()
            .filter_map(|item| item.address().ok());
        readable
            .map(|address| NetworkAddress::new(network.clone(), address))
            .collect()
    });
    let uid = uid(node).unwrap_or_else(|_| node.to_string());
    Rejection {
        addresses: addresses.unwrap_or_default(),
        ..Rejection::new(ResourceName::Workload(uid.into()), error.to_string().into())
    }
}

/// The uid; where there is none that of a pod of this name. Stock ztunnel takes "" for the uid of all of them, and
/// so knows only the last.
fn uid(node: &Node<'_>) -> Result<String, Invalid> {
    match node.text_of("uid")? {
        "" => {}
        uid => return Ok(uid.to_owned()),
    }
    let (namespace, name) = (node.text_of("namespace")?, node.text_of("name")?);
    if namespace.is_empty() || name.is_empty() {
        return Err(
            node.invalid("it has neither a \"uid\" nor a \"namespace\" and a \"name\" to make one of")
        );
    }
    let cluster = or(node.text_of("clusterId")?, CLUSTER);
    Ok(format!("{cluster}//Pod/{namespace}/{name}"))
}

fn services(
    node: &Node<'_>,
    uid: &str,
    endpoints: &Endpoints,
    texts: &mut Interner,
) -> Result<Box<[(ServiceKey, PortMap)]>, Invalid> {
    let Some(services) = node.field("services") else {
        return Ok(Box::default());
    };
    if services.is_list() {
        let keys = services
            .items()?
            .map(|item| service_key(&item, item.text()?, texts));
        return keys
            .map(|key| Ok((key.clone()?, endpoints.ports(uid, &key?))))
            .collect();
    }
    services
        .entries()?
        .map(|(name, ports)| {
            let key = service_key(&ports, name, texts)?;
            Ok((
                key,
                if ports.is_empty() {
                    PortMap::default()
                } else {
                    port_map(&ports)?
                },
            ))
        })
        .collect()
}

/// `<namespace>/<hostname>`.
pub(super) fn service_key(node: &Node<'_>, name: &str, texts: &mut Interner) -> Result<ServiceKey, Invalid> {
    match name.split_once('/') {
        Some((namespace, hostname)) if !namespace.is_empty() && !hostname.is_empty() => Ok(ServiceKey {
            namespace: texts.intern(namespace),
            hostname: texts.intern(hostname),
        }),
        _ => Err(node.invalid(format_args!(
            "{name:?} is not <namespace>/<hostname> of a service"
        ))),
    }
}

/// Service ports and their target ports; a target of 0 is a named port.
pub(super) fn port_map(node: &Node<'_>) -> Result<PortMap, Invalid> {
    node.entries()?
        .map(|(port, target)| {
            let port = port
                .parse()
                .map_err(|_| target.invalid(format_args!("the key {port:?} is not a port, 1 to 65535")))?;
            Ok((port, target.port_or_none()?))
        })
        .collect()
}

fn boxed_gateway(node: &Node<'_>, texts: &mut Interner) -> Result<Box<GatewayAddress>, Invalid> {
    gateway(node, texts).map(Box::new)
}

/// `destination` is `<network>/<address>` or `<namespace>/<hostname>`.
pub(super) fn gateway(node: &Node<'_>, texts: &mut Interner) -> Result<GatewayAddress, Invalid> {
    let destination = node.required("destination")?;
    let text = destination.text()?;
    let parts = text.split_once('/').filter(|(_, last)| !last.is_empty());
    let Some((first, last)) = parts else {
        return Err(destination.expected("<network>/<address> or <namespace>/<hostname> of a gateway"));
    };
    let destination = match last.parse::<IpAddr>() {
        Ok(address) => GatewayDestination::Address(NetworkAddress::new(texts.intern(first), address)),
        Err(_) if first.is_empty() => {
            return Err(destination.invalid(format_args!(
                "{last:?} is not an address, and there is no namespace"
            )));
        }
        Err(_) => GatewayDestination::Hostname(ServiceKey {
            namespace: texts.intern(first),
            hostname: texts.intern(last),
        }),
    };
    Ok(GatewayAddress {
        destination,
        hbone_port: node
            .optional("hboneMtlsPort", |port| port.port())?
            .unwrap_or(HBONE_PORT),
    })
}

fn application_tunnel(node: &Node<'_>) -> Result<ApplicationTunnel, Invalid> {
    Ok(ApplicationTunnel {
        protocol: node.word_of("protocol", ApplicationProtocol::None)?,
        port: node.optional("port", |port| port.port_or_none())?.flatten(),
    })
}

fn policy_key(node: &Node<'_>, texts: &mut Interner) -> Result<PolicyKey, Invalid> {
    match node.text()?.split_once('/') {
        Some((namespace, name)) if !name.is_empty() => Ok(PolicyKey {
            namespace: texts.intern(namespace),
            name: texts.intern(name),
        }),
        _ => Err(node.expected("<namespace>/<name> of a policy")),
    }
}

fn capacity(node: &Node<'_>) -> Result<u32, Invalid> {
    match u32::try_from(node.number()?) {
        Ok(capacity @ 1..) => Ok(capacity),
        _ => Err(node.expected("a capacity, 1 to 4294967295")),
    }
}

fn locality(node: &Node<'_>, texts: &mut Interner) -> Result<Locality, Invalid> {
    Ok(Locality {
        region: texts.intern(node.text_of("region")?),
        zone: texts.intern(node.text_of("zone")?),
        subzone: texts.intern(node.text_of("subzone")?),
    })
}

fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}
