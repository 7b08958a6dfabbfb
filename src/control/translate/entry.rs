//! ServiceEntries: a service for each host, and the endpoints that they list.

use std::net::IpAddr;
use std::num::NonZeroU16;

use adit_mesh::service::{BalancingMode, HealthPolicy, NetworkRange, PortMap};
use adit_mesh::workload::NetworkAddress;
use adit_mesh::{Identity, ServiceKey, Text, service as mesh};
use ipnet::IpNet;

use super::service::{Waypoints, distribution, preferring};
use crate::kinds::{EntryPort, Resolution};
use crate::objects::{Entry, Namespace, Place, Pod};
use crate::settings::Settings;

/// The hosts of an entry that can be services: wildcards only where the name that is called is looked up.
pub fn hosts(entry: &Entry) -> impl Iterator<Item = &str> {
    let dynamic = entry.spec.resolution == Resolution::DynamicDns;
    entry
        .spec
        .hosts
        .iter()
        .map(String::as_str)
        .filter(move |host| !host.is_empty() && (dynamic || !host.starts_with('*')))
}

/// The service of one host of an entry.
pub fn service(
    entry: &Entry,
    host: &str,
    canonical: bool,
    namespace: Option<&Namespace>,
    waypoints: Waypoints,
    settings: &Settings,
) -> mesh::Service {
    let name = &entry.meta.name;
    let key = ServiceKey {
        namespace: name.namespace.clone(),
        hostname: host.into(),
    };
    let (addresses, ranges) = addresses(entry, host, settings);
    let ports = entry
        .spec
        .ports
        .iter()
        .filter_map(|port| Some((number(port)?, target(port))));
    let mut balancing = preferring(distribution(None, &entry.meta, namespace));
    if entry.spec.resolution == Resolution::None {
        // Whatever address was called is called.
        balancing.mode = BalancingMode::Passthrough;
        balancing.preferences = Box::default();
        balancing.health_policy = HealthPolicy::AllowAll;
    }
    let names = entry.spec.subject_alt_names.iter();
    mesh::Service {
        addresses,
        ranges,
        ports: ports.collect::<PortMap>(),
        subject_alt_names: names.filter_map(|name| name.parse::<Identity>().ok()).collect(),
        waypoint: waypoints.primary,
        weighted_waypoints: waypoints.weighted,
        balancing,
        canonical,
        ..mesh::Service::new(key, name.name.clone())
    }
}

type Addresses = (Box<[NetworkAddress]>, Box<[NetworkRange]>);

/// Those that it names; where it names none, those that were given to it.
fn addresses(entry: &Entry, host: &str, settings: &Settings) -> Addresses {
    let (mut addresses, mut ranges) = (Vec::new(), Vec::new());
    let given = entry
        .allocated
        .iter()
        .filter(|one| entry.spec.addresses.is_empty() && (one.host.is_empty() || one.host == host))
        .map(|one| &one.value);
    for text in entry.spec.addresses.iter().chain(given) {
        let network = settings.network.clone();
        let net = text.parse::<IpNet>().ok();
        match (text.parse::<IpAddr>(), net) {
            (Ok(ip), _) => addresses.push(NetworkAddress::new(network, ip)),
            (_, Some(net)) if net.prefix_len() == net.max_prefix_len() => {
                addresses.push(NetworkAddress::new(network, net.addr()));
            }
            (_, Some(net)) => ranges.push(NetworkRange {
                network,
                range: net.trunc(),
            }),
            _ => {}
        }
    }
    (addresses.into(), ranges.into())
}

fn number(port: &EntryPort) -> Option<NonZeroU16> {
    u16::try_from(port.number).ok().and_then(NonZeroU16::new)
}

fn target(port: &EntryPort) -> Option<NonZeroU16> {
    let given = u16::try_from(port.target_port).ok().and_then(NonZeroU16::new);
    given.or_else(|| number(port))
}

/// The ports of a pod that is an endpoint: the target that the entry names, else the pod's port of the same name, else the
/// same number.
pub fn ports_of_pod(entry: &Entry, pod: &Pod) -> PortMap {
    let ports = entry.spec.ports.iter().filter_map(|port| {
        let named = || pod.port(&port.name);
        let target = match port.target_port {
            0 => named().or_else(|| number(port)),
            _ => target(port),
        };
        Some((number(port)?, target))
    });
    ports.collect()
}

/// The ports of another endpoint: what it calls so, else the target that the entry names, else the same number.
pub fn ports_of_place(entry: &Entry, place: &Place) -> PortMap {
    let ports = entry.spec.ports.iter().filter_map(|port| {
        let own = place.ports.iter().find(|(name, _)| *name == port.name.as_str());
        let own = own.and_then(|(_, number)| NonZeroU16::new(*number));
        Some((number(port)?, own.or_else(|| target(port))))
    });
    ports.collect()
}

/// The hosts that are resolved where they are called, because the entry lists no endpoints: each is an endpoint itself.
pub fn implicit_endpoints(entry: &Entry) -> Vec<Text> {
    let by_name = matches!(
        entry.spec.resolution,
        Resolution::Dns | Resolution::DnsRoundRobin | Resolution::DynamicDns
    );
    if !by_name || !entry.endpoints.is_empty() || entry.selector.is_some() {
        return Vec::new();
    }
    hosts(entry).map(Text::from).collect()
}
