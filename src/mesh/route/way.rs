//! How one workload is reached: its port, one of its addresses, and whether through a tunnel.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::Refusal;
use super::outbound::Call;
use crate::outcome::Outcome;
use crate::service::{IpFamilies, Service};
use crate::workload::{TunnelProtocol, Workload};

/// How a workload is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    /// Its address and port.
    pub(super) target: SocketAddr,
    /// Whether it speaks HBONE.
    pub(super) tunnel: bool,
}

/// Why a workload cannot be reached, in the order in which it is found out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Unusable {
    Port,
    Network,
    Address,
    Protocol,
}

impl Unusable {
    pub(super) fn refusal(self, call: Call<'_>, workload: &Arc<Workload>) -> Refusal {
        let uid = &workload.uid;
        let (outcome, detail) = match self {
            Self::Port => {
                let port = call.destination.port();
                (Outcome::NoPort, format!("{uid} has no target for port {port}"))
            }
            Self::Network => {
                let (theirs, ours) = (&workload.network, &call.source.network);
                let detail = format!("{uid} is in network {theirs:?}, which {ours:?} has no way to");
                (Outcome::NetworkUnreachable, detail)
            }
            Self::Address => {
                let detail = match &workload.hostname {
                    Some(hostname) if workload.addresses.is_empty() => {
                        format!("{uid} has no address, only the hostname {hostname}")
                    }
                    _ => format!("{uid} has no address of a family that may be used"),
                };
                (Outcome::NoAddress, detail)
            }
            Self::Protocol => {
                let detail = format!("{uid} speaks only the mutual TLS of Istio's sidecars");
                (Outcome::UnsupportedProtocol, detail)
            }
        };
        Refusal::new(outcome, detail).of_workload(workload)
    }
}

/// The way to `port` of a workload that was called through `service`, or by its own address.
pub(super) fn way_to(
    call: Call<'_>,
    workload: &Workload,
    service: Option<&Service>,
    port: u16,
) -> Result<Way, Unusable> {
    if workload.network != call.source.network {
        return Err(Unusable::Network);
    }
    let families = service.map_or(IpFamilies::Automatic, |service| service.ip_families);
    let ip = choose_address(workload, families, call.destination.ip()).ok_or(Unusable::Address)?;
    let target = SocketAddr::new(ip, port);
    match workload.protocol {
        TunnelProtocol::Hbone => Ok(Way { target, tunnel: true }),
        TunnelProtocol::Tcp => Ok(Way {
            target,
            tunnel: false,
        }),
        TunnelProtocol::LegacyIstioMtls => Err(Unusable::Protocol),
    }
}

/// The port of an endpoint that a service's port leads to: as the endpoint says, else as the service says. A
/// waypoint that takes whatever comes on one port of its own needs no mapping.
pub(super) fn target_port(service: &Service, endpoint: &Workload, port: u16) -> Option<NonZeroU16> {
    let own = endpoint.services.iter().find(|(key, _)| *key == service.key);
    if let Some(target) = own.and_then(|(_, ports)| ports.target(port)).flatten() {
        return Some(target);
    }
    match service.ports.target(port) {
        Some(target) => target,
        None => {
            let takes_all = endpoint
                .application_tunnel
                .is_some_and(|tunnel| tunnel.port.is_some());
            NonZeroU16::new(port).filter(|_| takes_all)
        }
    }
}

/// The address of a workload to dial: the one that was called if it is its own, else, among the families that the
/// service allows, one of the family that was called, else the first.
pub(super) fn choose_address(workload: &Workload, families: IpFamilies, called: IpAddr) -> Option<IpAddr> {
    let own = || workload.addresses.iter().map(IpAddr::to_canonical);
    if own().any(|ip| ip == called) {
        return Some(called);
    }
    let allowed = |ip: &IpAddr| match families {
        IpFamilies::Automatic | IpFamilies::Dual => true,
        IpFamilies::V4Only => ip.is_ipv4(),
        IpFamilies::V6Only => ip.is_ipv6(),
    };
    let preferred = |ip: &IpAddr| ip.is_ipv4() == called.is_ipv4();
    own()
        .filter(allowed)
        .find(preferred)
        .or_else(|| own().find(allowed))
}
