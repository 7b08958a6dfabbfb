//! Services as messages.

use adit_mesh::service::{Balancing, NetworkRange};
use adit_mesh::workload::NetworkAddress;
use adit_mesh::{Identity, Interner, Service, policy};
use adit_proto::workload as wire;

use super::invalid::{In, Invalid, each};
use super::numbers::Numbered;
use super::parts::{bytes, gateway, ip_as_sent, own_key, port_map, ports, write_address, write_gateway};

/// What a service's address stands for.
enum Claim {
    Address(NetworkAddress),
    Range(NetworkRange),
}

pub(super) fn read(sent: &wire::Service, texts: &mut Interner) -> Result<Service, Invalid> {
    let key = own_key(sent, texts)?;
    let name = match sent.name.as_str() {
        "" => key.hostname.split('.').next().unwrap_or_default(),
        name => name,
    };
    let (addresses, ranges) = split(each("addresses", &sent.addresses, |sent| claim(sent, texts))?);
    let name = texts.intern(name);
    Ok(Service {
        addresses,
        ranges,
        ports: port_map(&sent.ports)?,
        subject_alt_names: each("subject_alt_names", &sent.subject_alt_names, |name| {
            identity(name)
        })?,
        waypoint: sent
            .waypoint
            .as_ref()
            .map(|sent| gateway(sent, texts))
            .transpose()
            .within("waypoint")?,
        weighted_waypoints: each("weighted_waypoints", &sent.weighted_waypoints, |sent| {
            let destination = sent.destination.as_ref();
            let destination =
                destination.ok_or_else(|| Invalid::new("there is none").within("destination"))?;
            Ok((gateway(destination, texts).within("destination")?, sent.weight))
        })?,
        balancing: sent
            .load_balancing
            .as_ref()
            .map(balancing)
            .transpose()
            .within("load_balancing")?
            .unwrap_or_default(),
        ip_families: Numbered::of(sent.ip_families).within("ip_families")?,
        canonical: sent.canonical,
        visibility: Numbered::of(sent.visibility).within("visibility")?,
        ..Service::new(key, name)
    })
}

fn claim(sent: &wire::NetworkAddress, texts: &mut Interner) -> Result<Claim, Invalid> {
    let (network, ip) = (texts.intern(&sent.network), ip_as_sent(&sent.address)?);
    let Some(length) = sent.length else {
        return Ok(Claim::Address(NetworkAddress::new(network, ip)));
    };
    let range = policy::range(ip, length).map_err(Invalid::new)?;
    Ok(if range.prefix_len() == range.max_prefix_len() {
        Claim::Address(NetworkAddress::new(network, range.addr()))
    } else {
        Claim::Range(NetworkRange { network, range })
    })
}

fn split(claims: impl IntoIterator<Item = Claim>) -> (Box<[NetworkAddress]>, Box<[NetworkRange]>) {
    let (mut addresses, mut ranges) = (Vec::new(), Vec::new());
    for claim in claims {
        match claim {
            Claim::Address(address) => addresses.push(address),
            Claim::Range(range) => ranges.push(range),
        }
    }
    (addresses.into(), ranges.into())
}

fn identity(name: &str) -> Result<Identity, Invalid> {
    name.parse()
        .map_err(|error| Invalid::new(format_args!("{name:?}: {error}")))
}

fn balancing(sent: &wire::LoadBalancing) -> Result<Balancing, Invalid> {
    Ok(Balancing {
        mode: Numbered::of(sent.mode).within("mode")?,
        preferences: each("routing_preference", &sent.routing_preference, |scope| {
            Numbered::of(*scope)
        })?,
        health_policy: Numbered::of(sent.health_policy).within("health_policy")?,
    })
}

/// The addresses of a service that could not be read, as far as they can be.
pub(super) fn claims(sent: &wire::Service) -> (Box<[NetworkAddress]>, Box<[NetworkRange]>) {
    let mut texts = Interner::default();
    split(
        sent.addresses
            .iter()
            .filter_map(|sent| claim(sent, &mut texts).ok()),
    )
}

pub(super) fn write(service: &Service) -> wire::Service {
    let range = |found: &NetworkRange| wire::NetworkAddress {
        network: found.network.to_string(),
        address: bytes(found.range.addr()),
        length: Some(found.range.prefix_len().into()),
    };
    let addresses = service.addresses.iter().map(write_address);
    let Balancing {
        mode,
        preferences,
        health_policy,
    } = &service.balancing;
    let chosen = wire::LoadBalancing {
        routing_preference: preferences.iter().map(|scope| scope.number()).collect(),
        mode: mode.number(),
        health_policy: health_policy.number(),
    };
    let weighted = service.weighted_waypoints.iter();
    wire::Service {
        name: service.name.to_string(),
        namespace: service.key.namespace.to_string(),
        hostname: service.key.hostname.to_string(),
        addresses: addresses.chain(service.ranges.iter().map(range)).collect(),
        ports: ports(&service.ports),
        subject_alt_names: service
            .subject_alt_names
            .iter()
            .map(Identity::to_string)
            .collect(),
        waypoint: service.waypoint.as_ref().map(write_gateway),
        load_balancing: (chosen != wire::LoadBalancing::default()).then_some(chosen),
        ip_families: service.ip_families.number(),
        canonical: service.canonical,
        ingress_use_waypoint: false,
        weighted_waypoints: weighted
            .map(|(destination, weight)| wire::WeightedWaypoint {
                destination: Some(write_gateway(destination)),
                weight: *weight,
            })
            .collect(),
        visibility: service.visibility.number(),
    }
}
