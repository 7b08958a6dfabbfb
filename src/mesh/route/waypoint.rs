//! The way through a waypoint, and who is one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::outbound::{Call, expected};
use super::way::{Unusable, choose_address, target_port};
use super::{Authority, Choice, Hop, Refusal, Route, Tunnelled, Via};
use crate::balance;
use crate::outcome::Outcome;
use crate::registry::{Gateway, Registry};
use crate::service::{IpFamilies, Service};
use crate::workload::{GatewayAddress, GatewayDestination, Health, Workload};

/// What a waypoint stands in front of.
#[derive(Clone, Copy)]
pub(super) enum For<'a> {
    Service(&'a Arc<Service>),
    Workload(&'a Arc<Workload>),
}

/// The waypoint that this connection to a service goes through. Weighted ones are drawn by their shares; where all
/// shares are zero, they do not count.
pub(super) fn of_service<'a>(service: &'a Service, random: &mut fastrand::Rng) -> Option<&'a GatewayAddress> {
    let total: u64 = service
        .weighted_waypoints
        .iter()
        .map(|&(_, weight)| u64::from(weight))
        .sum();
    if total == 0 {
        return service.waypoint.as_ref();
    }
    let mut point = random.u64(..total);
    for (gateway, weight) in &service.weighted_waypoints {
        if point < u64::from(*weight) {
            return Some(gateway);
        }
        point -= u64::from(*weight);
    }
    service.waypoint.as_ref()
}

/// Whether `workload` is one of the waypoints of `service`, any of them: the canary's own traffic must not go
/// through the primary one, nor the other way round.
pub(super) fn serves_service(registry: &Registry, service: &Service, workload: &Workload) -> bool {
    let weighted = service.weighted_waypoints.iter().map(|(gateway, _)| gateway);
    let mut all = weighted.chain(&service.waypoint);
    all.any(|gateway| is(registry, gateway, workload))
}

/// Whether `workload` is what `gateway` names: an endpoint of that service, or that workload itself. (Both follow
/// from the control plane's own description of the workload; nothing that a peer says enters.)
pub(super) fn is(registry: &Registry, gateway: &GatewayAddress, workload: &Workload) -> bool {
    match registry.gateway(&gateway.destination) {
        Gateway::Service(service) => workload.services.iter().any(|(key, _)| *key == service.key),
        Gateway::Workload(named) => named.uid == workload.uid,
        Gateway::Rejected(_) | Gateway::Unknown => false,
    }
}

/// The route through a waypoint. Never around it: one that cannot be reached is a refusal, because the rules that
/// it enforces would not be.
pub(super) fn through(
    call: Call<'_>,
    gateway: &GatewayAddress,
    target: For<'_>,
    choice: &mut Choice<'_>,
) -> Result<Route, Refusal> {
    let found = match call.registry.gateway(&gateway.destination) {
        Gateway::Service(service) => an_endpoint(call, gateway, service, choice),
        Gateway::Workload(workload) => this_one(call, gateway, workload, choice),
        Gateway::Rejected(reason) => Err(missing(
            gateway,
            &format!("its configuration was rejected: {reason}"),
        )),
        Gateway::Unknown => Err(missing(gateway, "nothing is known by that name or address")),
    };
    let Found {
        peer,
        address,
        service,
    } = found.map_err(|refusal| match target {
        For::Service(service) => refusal.of_service(service),
        For::Workload(workload) => refusal.of_workload(workload),
    })?;
    let (service_called, workload_called) = match target {
        For::Service(service) => (Some(Arc::clone(service)), None),
        For::Workload(workload) => (None, Some(Arc::clone(workload))),
    };
    Ok(Route::Hbone(Tunnelled {
        hop: Hop {
            address,
            peer: Arc::clone(peer),
            destination: workload_called,
            target: call.destination,
            service: service_called,
        },
        authority: Authority::Address(call.destination),
        expected: expected(peer, service.map(Arc::as_ref)),
        via: Via::Waypoint,
    }))
}

/// A pod of a waypoint.
struct Found<'a> {
    peer: &'a Arc<Workload>,
    address: SocketAddr,
    service: Option<&'a Arc<Service>>,
}

fn an_endpoint<'a>(
    call: Call<'a>,
    gateway: &GatewayAddress,
    service: &'a Arc<Service>,
    choice: &mut Choice<'_>,
) -> Result<Found<'a>, Refusal> {
    let near = |endpoint: &Workload| endpoint.network == call.source.network;
    let ip_of = |endpoint: &Workload| choose_address(endpoint, service.ip_families, call.destination.ip());
    let usable = |endpoint: &Workload| near(endpoint) && ip_of(endpoint).is_some();
    let ranks = call.registry.ranks(&service.key);
    let chosen = ranks.and_then(|ranks| balance::choose(ranks, choice, usable));
    if let Some((peer, ip)) = chosen.and_then(|peer| Some((peer, ip_of(peer)?))) {
        // A service of waypoints that does not list the port is spoken to on it all the same.
        let port = gateway.hbone_port;
        let port = target_port(service, peer, port.get()).unwrap_or(port);
        return Ok(Found {
            peer,
            address: SocketAddr::new(ip, port.get()),
            service: Some(service),
        });
    }
    let mut used = ranks
        .into_iter()
        .flat_map(|ranks| ranks.iter().flat_map(|rank| rank.endpoints()));
    match used.next() {
        Some(endpoint) if !near(endpoint) && !used.any(|endpoint| near(endpoint)) => {
            Err(Unusable::Network.refusal(call, endpoint))
        }
        Some(_) => Err(missing(
            gateway,
            "every endpoint was dialled in vain, or has no usable address",
        )),
        None => Err(missing(gateway, "it has no healthy endpoint")),
    }
}

fn this_one<'a>(
    call: Call<'a>,
    gateway: &GatewayAddress,
    workload: &'a Arc<Workload>,
    choice: &Choice<'_>,
) -> Result<Found<'a>, Refusal> {
    if workload.health == Health::Unhealthy {
        return Err(missing(gateway, "it is not healthy"));
    }
    if choice.tried.contains(&workload.uid) {
        return Err(missing(gateway, "it was dialled in vain, and there is no other"));
    }
    if workload.network != call.source.network {
        return Err(Unusable::Network.refusal(call, workload));
    }
    let named: IpAddr = match &gateway.destination {
        GatewayDestination::Address(address) => address.ip,
        GatewayDestination::Hostname(_) => call.destination.ip(),
    };
    match choose_address(workload, IpFamilies::Automatic, named) {
        Some(ip) => Ok(Found {
            peer: workload,
            address: SocketAddr::new(ip, gateway.hbone_port.get()),
            service: None,
        }),
        None => Err(missing(gateway, "it has no address")),
    }
}

fn missing(gateway: &GatewayAddress, why: &str) -> Refusal {
    let detail = match &gateway.destination {
        GatewayDestination::Hostname(key) => format!("waypoint {key}: {why}"),
        GatewayDestination::Address(address) => format!("waypoint {address}: {why}"),
    };
    Refusal::new(Outcome::NoWaypoint, detail)
}
