//! Services of a file.

use std::net::IpAddr;

use adit_mesh::registry::{Rejection, ResourceName};
use adit_mesh::service::{
    Balancing, BalancingMode, HealthPolicy, IpFamilies, NetworkRange, Scope, Visibility,
};
use adit_mesh::workload::{GatewayAddress, NetworkAddress};
use adit_mesh::{Identity, Interner, Service, ServiceKey, Text, policy};
use ipnet::IpNet;

use super::document::{Invalid, Node};
use super::workload::{GATEWAY_KEYS, gateway, port_map};

/// The keys of a service. `endpoints` is what dumps compute from the workloads, and is not read.
pub(super) const KEYS: &[&str] = &[
    "canonical",
    "cidrVips",
    "endpoints",
    "hostname",
    "ipFamilies",
    "loadBalancer",
    "name",
    "namespace",
    "ports",
    "subjectAltNames",
    "vips",
    "visibility",
    "waypoint",
    "weightedWaypoints",
];

/// The keys of what a service holds.
pub(super) const NESTED: &[(&str, &[&str])] = &[
    ("loadBalancer", &["healthPolicy", "mode", "routingPreferences"]),
    ("waypoint", GATEWAY_KEYS),
];

/// Reads a service.
pub(super) fn read(node: &Node<'_>, texts: &mut Interner) -> Result<Service, Invalid> {
    let key = ServiceKey {
        namespace: texts.intern(filled(&node.required("namespace")?)?),
        hostname: texts.intern(filled(&node.required("hostname")?)?),
    };
    let name = match node.text_of("name")? {
        "" => key.hostname.split('.').next().unwrap_or_default(),
        name => name,
    };
    let service = Service::new(key.clone(), texts.intern(name));
    let (addresses, ranges) = addresses(node)?;
    Ok(Service {
        addresses: addresses.into(),
        ranges: ranges.into(),
        ports: node.optional("ports", port_map)?.unwrap_or_default(),
        subject_alt_names: node.list("subjectAltNames", identity)?,
        waypoint: node.optional("waypoint", |node| gateway(node, texts))?,
        weighted_waypoints: node.list("weightedWaypoints", |node| weighted(node, texts))?,
        balancing: node.optional("loadBalancer", balancing)?.unwrap_or_default(),
        ip_families: node.word_of("ipFamilies", IpFamilies::Automatic)?,
        canonical: node.flag("canonical")?,
        visibility: node.word_of("visibility", Visibility::Public)?,
        ..service
    })
}

/// A service that could not be read: its name and addresses as far as they can be.
pub(super) fn reject(node: &Node<'_>, error: &Invalid) -> Rejection {
    let part = |key| match node.text_of(key) {
        Ok(text) if !text.is_empty() => Text::from(text),
        _ => Text::from(node.to_string()),
    };
    let key = ServiceKey {
        namespace: part("namespace"),
        hostname: part("hostname"),
    };
    let vips = node.field("vips").map(|list| {
        let readable = list
            .items()
            .into_iter()
            .flatten()
            .filter_map(|item| vip(&item).ok());
        readable.collect()
    });
    let ranges = node.field("cidrVips").map(|list| {
        let readable = list
            .items()
            .into_iter()
            .flatten()
            .filter_map(|item| network_range(&item).ok());
        readable.collect()
    });
    Rejection {
        addresses: vips.unwrap_or_default(),
        ranges: ranges.unwrap_or_default(),
        ..Rejection::new(ResourceName::Service(key), error.to_string().into())
    }
}

/// The virtual addresses and ranges. A range of one address is an address.
fn addresses(node: &Node<'_>) -> Result<(Vec<NetworkAddress>, Vec<NetworkRange>), Invalid> {
    let mut addresses = node.list("vips", vip)?.into_vec();
    let mut ranges = Vec::new();
    for found in node.list("cidrVips", network_range)? {
        if found.range.prefix_len() == found.range.max_prefix_len() {
            addresses.push(NetworkAddress::new(found.network, found.range.addr()));
        } else {
            ranges.push(found);
        }
    }
    Ok((addresses, ranges))
}

/// `<network>/<address>`.
fn vip(node: &Node<'_>) -> Result<NetworkAddress, Invalid> {
    let parts = node.text()?.split_once('/');
    let read = parts.and_then(|(network, address)| Some((network, address.parse::<IpAddr>().ok()?)));
    match read {
        Some((network, address)) => Ok(NetworkAddress::new(network.into(), address)),
        None => {
            Err(node.expected("<network>/<address>, with nothing before the / where there is one network"))
        }
    }
}

/// `{cidr: 10.0.0.0/8, network: ...}`.
fn network_range(node: &Node<'_>) -> Result<NetworkRange, Invalid> {
    let cidr = node.required("cidr")?;
    Ok(NetworkRange {
        network: node.text_of("network")?.into(),
        range: range(&cidr)?,
    })
}

/// A range of addresses such as `10.0.0.0/8`, its host bits cleared.
pub(super) fn range(node: &Node<'_>) -> Result<IpNet, Invalid> {
    let range: Option<IpNet> = node.text()?.parse().ok();
    let range = range.ok_or_else(|| node.expected("a range of addresses such as 10.0.0.0/8"))?;
    policy::range(range.addr(), range.prefix_len().into()).map_err(|error| node.invalid(error))
}

fn filled<'a>(node: &Node<'a>) -> Result<&'a str, Invalid> {
    match node.text()? {
        "" => Err(node.invalid("it is empty")),
        text => Ok(text),
    }
}

fn identity(node: &Node<'_>) -> Result<Identity, Invalid> {
    let id = node.text()?;
    id.parse()
        .map_err(|error| node.invalid(format_args!("{id:?}: {error}")))
}

/// `{destination: {destination: ..., hboneMtlsPort: ...}, weight: ...}`.
fn weighted(node: &Node<'_>, texts: &mut Interner) -> Result<(GatewayAddress, u32), Invalid> {
    let weight = node.required("weight")?;
    let number = u32::try_from(weight.number()?).map_err(|_| weight.expected("a weight, 0 to 4294967295"))?;
    Ok((gateway(&node.required("destination")?, texts)?, number))
}

fn balancing(node: &Node<'_>) -> Result<Balancing, Invalid> {
    Ok(Balancing {
        mode: node.word_of("mode", BalancingMode::Standard)?,
        preferences: node.list("routingPreferences", |node| node.word::<Scope>())?,
        health_policy: node.word_of("healthPolicy", HealthPolicy::OnlyHealthy)?,
    })
}
