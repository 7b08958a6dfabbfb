//! [`accept`]: what a peer may ask of a pod's tunnel, and how it is delivered.
//!
//! A tunnel is no open relay. What is asked for must be the pod itself; only a pod that the control plane made a
//! waypoint is also asked for others' addresses, by those of which it is the waypoint. A hostname
//! (which is how a gateway of another network asks) must be a service that the pod is an endpoint of. Stock ztunnel
//! accepts any hostname that it knows; but then whoever may call the pod at one service's port may call it under every
//! other service's name, which no rule meant.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::way::target_port;
use super::{Authority, Delivery, Refusal, canonical, waypoint};
use crate::constants::is_own_port;
use crate::outcome::Outcome;
use crate::registry::{Known, Registry};
use crate::service::Service;
use crate::workload::{ApplicationProtocol, Workload};

/// Decides how a CONNECT for `authority` is delivered to `local`, given the pod's own address (`socket`) that
/// it arrived at.
///
/// # Errors
/// The refusal to answer with: [`Outcome::WrongDestination`] if the pod is not what was asked for,
/// [`Outcome::Loop`] for a port of the tunnel itself, and for a hostname [`Outcome::NoEndpoint`],
/// [`Outcome::NoPort`], [`Outcome::NoAddress`] or [`Outcome::InvalidConfiguration`].
pub fn accept(
    registry: &Registry,
    local: &Workload,
    socket: SocketAddr,
    authority: &Authority,
) -> Result<Delivery, Refusal> {
    let socket = canonical(socket);
    let called = match authority {
        Authority::Address(address) => by_address(registry, local, socket.ip(), canonical(*address))?,
        Authority::Host { hostname, port } => {
            by_hostname(registry, local, socket.ip(), hostname, port.get())?
        }
    };
    let tunnel = local.application_tunnel;
    let port = tunnel
        .and_then(|tunnel| tunnel.port)
        .map_or(called.port, |port| port.get());
    if is_own_port(port) {
        let detail = format!("{authority} leads to port {port}, which is the tunnel's own");
        return Err(Refusal::new(Outcome::Loop, detail));
    }
    let proxy_header = tunnel.is_some_and(|tunnel| tunnel.protocol == ApplicationProtocol::Proxy);
    let address = SocketAddr::new(socket.ip(), port);
    let destination = match called.address {
        Some(destination) => destination,
        None if proxy_header => {
            let detail = format!("{authority} has no address that a PROXY header could tell");
            return Err(Refusal::new(Outcome::NoAddress, detail));
        }
        None => address,
    };
    Ok(Delivery {
        address,
        proxy_header,
        destination,
        authorized: address,
        service: called.service,
        loopback: proxy_header,
    })
}

/// Decides how a plaintext connection that was addressed to `destination` is delivered.
///
/// # Errors
/// [`Outcome::Loop`] for a port of the tunnel itself.
pub fn accept_plaintext(
    registry: &Registry,
    local: &Workload,
    destination: SocketAddr,
) -> Result<Delivery, Refusal> {
    let destination = canonical(destination);
    if is_own_port(destination.port()) {
        let detail = format!("{destination} is a port of the tunnel itself");
        return Err(Refusal::new(Outcome::Loop, detail));
    }
    Ok(Delivery {
        address: destination,
        proxy_header: false,
        destination,
        authorized: destination,
        service: attribute(registry, local, destination.port(), None).cloned(),
        loopback: false,
    })
}

/// The service that telemetry counts an inbound connection for: the one that the client names (`Forwarded:
/// host=`) if the workload is an endpoint of it, else the first by name of which a port leads to `port`.
pub fn attribute<'a>(
    registry: &'a Registry,
    local: &Workload,
    port: u16,
    named: Option<&str>,
) -> Option<&'a Arc<Service>> {
    let keys = || local.services.iter().map(|(key, _)| key);
    let by_name = named.and_then(|host| keys().find(|key| key.hostname.eq_ignore_ascii_case(host)));
    if let Some(service) = by_name.and_then(|key| registry.service(key)) {
        return Some(service);
    }
    let leads_here = |service: &&Arc<Service>| {
        let mut ports = service.ports.iter().map(|(port, _)| port.get());
        ports.any(|called| target_port(service, local, called).is_some_and(|target| target.get() == port))
    };
    let services = keys().filter_map(|key| registry.service(key)).filter(leads_here);
    services.min_by_key(|service| &service.key)
}

/// What was asked for, once it is clear that it may be asked of this pod.
struct Called {
    /// What the client called, if that is an address or has one.
    address: Option<SocketAddr>,
    /// The port of the pod that it leads to.
    port: u16,
    service: Option<Arc<Service>>,
}

fn by_address(
    registry: &Registry,
    local: &Workload,
    own: IpAddr,
    called: SocketAddr,
) -> Result<Called, Refusal> {
    let ip = called.ip();
    let behind_us = || {
        registry
            .services_claiming(&local.network, ip)
            .find(|service| waypoint::serves_service(registry, service, local))
    };
    let service = if ip == own { None } else { behind_us() };
    let workload_behind_us = || {
        let workload = registry.workload_at(&local.network, ip);
        let gateway = workload.and_then(|workload| workload.waypoint.as_deref());
        gateway.is_some_and(|gateway| waypoint::is(registry, gateway, local))
    };
    let ours = ip == own || local.application_tunnel.is_some() || service.is_some() || workload_behind_us();
    if !ours {
        let detail = format!(
            "{ip} is neither {own}, the address of {}, nor behind it",
            local.uid
        );
        return Err(Refusal::new(Outcome::WrongDestination, detail));
    }
    Ok(Called {
        address: Some(called),
        port: called.port(),
        service: service.cloned(),
    })
}

fn by_hostname(
    registry: &Registry,
    local: &Workload,
    own: IpAddr,
    hostname: &str,
    port: u16,
) -> Result<Called, Refusal> {
    let service = match registry.service_by_hostname(hostname, local.namespace()) {
        Some(Known::Good(service)) => service,
        Some(Known::Rejected(stone)) => {
            let detail = format!(
                "the configuration of {} was rejected: {}",
                stone.name, stone.reason
            );
            return Err(Refusal::new(Outcome::InvalidConfiguration, detail));
        }
        None => {
            let detail = format!("no service {hostname} that {} may see", local.namespace());
            return Err(Refusal::new(Outcome::NoEndpoint, detail));
        }
    };
    let refuse = |outcome, detail| Err(Refusal::new(outcome, detail).of_service(service));
    let endpoint = local.services.iter().any(|(key, _)| *key == service.key);
    let in_front = local.application_tunnel.is_some() || waypoint::serves_service(registry, service, local);
    if !endpoint && !in_front {
        let detail = format!(
            "{} is neither an endpoint nor the waypoint of {}",
            local.uid, service.key
        );
        return refuse(Outcome::WrongDestination, detail);
    }
    let Some(target) = target_port(service, local, port) else {
        let detail = format!("{} has no target for port {port} of {}", local.uid, service.key);
        return refuse(Outcome::NoPort, detail);
    };
    Ok(Called {
        address: virtual_address(service, local, own).map(|ip| SocketAddr::new(ip, port)),
        port: target.get(),
        service: Some(Arc::clone(service)),
    })
}

/// The virtual address that a PROXY header tells for a hostname: of the pod's own network if there is one, IPv4
/// before IPv6.
fn virtual_address(service: &Service, local: &Workload, own: IpAddr) -> Option<IpAddr> {
    // A header cannot hold addresses of two families.
    let fits = service
        .addresses
        .iter()
        .filter(|address| address.ip.is_ipv4() == own.is_ipv4());
    let all = || service.addresses.iter();
    let best = fits.min_by_key(|address| address.network != local.network);
    let best = best.or_else(|| all().min_by_key(|a| (a.network != local.network, a.ip.is_ipv6())));
    best.map(|address| address.ip)
}
