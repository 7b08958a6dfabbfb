//! What several messages have: addresses, ports, gateways.

use std::net::IpAddr;
use std::num::NonZeroU16;

use adit_mesh::service::PortMap;
use adit_mesh::workload::{GatewayAddress, GatewayDestination, NetworkAddress};
use adit_mesh::{Interner, ServiceKey, constants};
use adit_proto::workload::gateway_address::Destination;
use adit_proto::workload::{self as wire, NamespacedHostname, Port};

use super::invalid::{In, Invalid, each};

/// The port of a gateway that names none.
const HBONE_PORT: NonZeroU16 = NonZeroU16::new(constants::HBONE_PORT).expect("not zero");

/// An address in the form in which addresses are compared.
pub(super) fn ip(bytes: &[u8]) -> Result<IpAddr, Invalid> {
    ip_as_sent(bytes).map(|ip| ip.to_canonical())
}

/// An address that may be an IPv4-mapped one: what the length of its prefix means depends on that.
pub(super) fn ip_as_sent(bytes: &[u8]) -> Result<IpAddr, Invalid> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| v6()).map_err(|_| {
        Invalid::new(format_args!(
            "an address of {} bytes, not of 4 or 16",
            bytes.len()
        ))
    })
}

pub(super) fn bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A text that is known already, or the word for its absence.
pub(super) fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

/// A port, or none where it is 0.
pub(super) fn port_or_none(number: u32) -> Result<Option<NonZeroU16>, Invalid> {
    let port = u16::try_from(number).map_err(|_| Invalid::new(format_args!("{number} is no port")))?;
    Ok(NonZeroU16::new(port))
}

/// Service ports and their targets; a target of 0 is a named port.
pub(super) fn port_map(ports: &[Port]) -> Result<PortMap, Invalid> {
    let pairs = each("ports", ports, |port| {
        let service = port_or_none(port.service_port)
            .and_then(|port| port.ok_or_else(|| Invalid::new("it is 0")))
            .within("service_port")?;
        Ok((service, port_or_none(port.target_port).within("target_port")?))
    })?;
    Ok(pairs.into_iter().collect())
}

pub(super) fn ports(map: &PortMap) -> Vec<Port> {
    let port = |(service, target): (NonZeroU16, Option<NonZeroU16>)| Port {
        service_port: service.get().into(),
        target_port: target.map_or(0, |port| port.get().into()),
        app_protocol: 0,
    };
    map.iter().map(port).collect()
}

/// `<namespace>/<hostname>`.
pub(super) fn service_key(name: &str, texts: &mut Interner) -> Result<ServiceKey, Invalid> {
    let (namespace, hostname) = name.split_once('/').unwrap_or_default();
    key(namespace, hostname, texts).map_err(|_| {
        Invalid::new(format_args!(
            "{name:?} is not <namespace>/<hostname> of a service"
        ))
    })
}

fn key(namespace: &str, hostname: &str, texts: &mut Interner) -> Result<ServiceKey, Invalid> {
    if namespace.is_empty() || hostname.is_empty() || namespace.contains('/') || hostname.contains('/') {
        return Err(Invalid::new(format_args!(
            "namespace {namespace:?} and hostname {hostname:?} do not name a service"
        )));
    }
    Ok(ServiceKey {
        namespace: texts.intern(namespace),
        hostname: texts.intern(hostname),
    })
}

/// The key of a service that says itself who it is.
pub(super) fn own_key(service: &wire::Service, texts: &mut Interner) -> Result<ServiceKey, Invalid> {
    key(&service.namespace, &service.hostname, texts)
}

pub(super) fn gateway(sent: &wire::GatewayAddress, texts: &mut Interner) -> Result<GatewayAddress, Invalid> {
    let destination = match &sent.destination {
        Some(Destination::Hostname(NamespacedHostname { namespace, hostname })) => {
            GatewayDestination::Hostname(key(namespace, hostname, texts).within("hostname")?)
        }
        Some(Destination::Address(address)) => {
            GatewayDestination::Address(single(address, texts).within("address")?)
        }
        None => return Err(Invalid::new("a gateway without a destination")),
    };
    let port = port_or_none(sent.hbone_mtls_port).within("hbone_mtls_port")?;
    Ok(GatewayAddress {
        destination,
        hbone_port: port.unwrap_or(HBONE_PORT),
    })
}

fn single(sent: &wire::NetworkAddress, texts: &mut Interner) -> Result<NetworkAddress, Invalid> {
    if sent.length.is_some() {
        return Err(Invalid::new(
            "a range of addresses, where there has to be one address",
        ));
    }
    Ok(NetworkAddress::new(
        texts.intern(&sent.network),
        ip(&sent.address)?,
    ))
}

pub(super) fn write_gateway(gateway: &GatewayAddress) -> wire::GatewayAddress {
    wire::GatewayAddress {
        destination: Some(match &gateway.destination {
            GatewayDestination::Hostname(key) => Destination::Hostname(NamespacedHostname {
                namespace: key.namespace.to_string(),
                hostname: key.hostname.to_string(),
            }),
            GatewayDestination::Address(address) => Destination::Address(write_address(address)),
        }),
        hbone_mtls_port: gateway.hbone_port.get().into(),
    }
}

pub(super) fn write_address(address: &NetworkAddress) -> wire::NetworkAddress {
    wire::NetworkAddress {
        network: address.network.to_string(),
        address: bytes(address.ip),
        length: None,
    }
}
