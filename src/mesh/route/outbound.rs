//! [`decide`]: where the connections of a pod's applications go.

use std::net::SocketAddr;
use std::sync::Arc;

use super::way::{Unusable, Way, way_to};
use super::{Authority, Choice, Hop, Refusal, Route, Tunnelled, Via, canonical, waypoint};
use crate::balance;
use crate::constants::{HBONE_PORT, is_own_port};
use crate::identity::Identity;
use crate::outcome::Outcome;
use crate::registry::{Owner, Registry};
use crate::service::{BalancingMode, Service};
use crate::workload::Workload;

/// Decides where a connection of `source` to `destination` goes. The rules and their order are those of the
/// [module](super).
///
/// After a dial in vain, the same call with the uid of [`Hop::peer`] among [`Choice::tried`] gives the next
/// candidate, and a refusal when there is none left.
pub fn decide(
    registry: &Registry,
    source: &Workload,
    destination: SocketAddr,
    choice: &mut Choice<'_>,
) -> Route {
    let call = Call {
        registry,
        source,
        destination: canonical(destination),
    };
    call.decide(choice).unwrap_or_else(Route::Refuse)
}

/// What is called, and by whom.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) registry: &'a Registry,
    pub(super) source: &'a Workload,
    pub(super) destination: SocketAddr,
}

impl Call<'_> {
    fn decide(self, choice: &mut Choice<'_>) -> Result<Route, Refusal> {
        if self.leads_back() {
            let detail = format!("{} is a port of the tunnel itself", self.destination);
            return Err(Refusal::new(Outcome::Loop, detail));
        }
        let (ip, namespace) = (self.destination.ip(), self.source.namespace());
        let rejected = |name: &dyn std::fmt::Display, reason: &str| {
            let detail = format!("{ip} belongs to {name}, whose configuration was rejected: {reason}");
            Err(Refusal::new(Outcome::InvalidConfiguration, detail))
        };
        match self.registry.owner(&self.source.network, ip, namespace) {
            Owner::Service(service) => self.to_service(service, choice),
            Owner::Workload(workload) => self.to_workload(workload, choice),
            Owner::RejectedService(stone) => rejected(&stone.name, &stone.reason),
            Owner::RejectedWorkload(stone) => rejected(&stone.name, &stone.reason),
            Owner::Hidden(service) => {
                let key = &service.key;
                let detail = format!("{key} is visible in its own namespace only, not in {namespace}");
                Err(Refusal::new(Outcome::NotVisible, detail).of_service(service))
            }
            Owner::Nobody => Ok(Route::Passthrough {
                address: self.destination,
                service: None,
            }),
        }
    }

    /// Whether the connection would come back to the tunnel in the pod's own namespace.
    fn leads_back(self) -> bool {
        let ip = self.destination.ip();
        let own = || {
            self.source
                .addresses
                .iter()
                .any(|address| address.to_canonical() == ip)
        };
        // The kernel takes the unspecified address for loopback.
        is_own_port(self.destination.port()) && (ip.is_loopback() || ip.is_unspecified() || own())
    }

    fn to_service(self, service: &Arc<Service>, choice: &mut Choice<'_>) -> Result<Route, Refusal> {
        if !waypoint::serves_service(self.registry, service, self.source)
            && let Some(gateway) = waypoint::of_service(service, choice.random)
        {
            return waypoint::through(self, gateway, waypoint::For::Service(service), choice);
        }
        if service.balancing.mode == BalancingMode::Passthrough {
            return self.pass_through(service, choice);
        }
        let usable = |endpoint: &Workload| self.way_to_endpoint(service, endpoint);
        let ranks = self.registry.ranks(&service.key);
        let chosen = ranks.and_then(|ranks| balance::choose(ranks, choice, |e| usable(e).is_ok()));
        match chosen.map(|endpoint| (endpoint, usable(endpoint))) {
            Some((endpoint, Ok(way))) => Ok(self.dial(endpoint, way, Some(service))),
            Some((endpoint, Err(unusable))) => Err(unusable.refusal(self, endpoint).of_service(service)),
            None => Err(self.nothing_usable(service, choice).of_service(service)),
        }
    }

    fn way_to_endpoint(self, service: &Service, endpoint: &Workload) -> Result<Way, Unusable> {
        let port = super::way::target_port(service, endpoint, self.destination.port());
        way_to(self, endpoint, Some(service), port.ok_or(Unusable::Port)?.get())
    }

    /// Why no endpoint could be chosen. Of several reasons the one counts that was met last: an endpoint in an
    /// unreachable network that has the port says more than one without it.
    fn nothing_usable(self, service: &Arc<Service>, choice: &Choice<'_>) -> Refusal {
        let ranks = self.registry.ranks(&service.key);
        let used = ranks
            .into_iter()
            .flat_map(|ranks| ranks.iter().flat_map(|rank| rank.endpoints()));
        let reasons = used.map(|e| (self.way_to_endpoint(service, e).err(), e));
        let key = &service.key;
        // `None` sorts before every reason; it is an endpoint that was tried, and the others do not matter then.
        let mut worst: Option<(Unusable, &Arc<Workload>)> = None;
        for (reason, endpoint) in reasons {
            match (reason, worst) {
                (None, _) => {
                    let tried = choice.tried.len();
                    let detail =
                        format!("every usable endpoint of {key} was dialled in vain ({tried} in all)");
                    return Refusal::new(Outcome::NoEndpoint, detail);
                }
                (Some(reason), Some((other, _))) if reason <= other => {}
                (Some(reason), _) => worst = Some((reason, endpoint)),
            }
        }
        let unused = ranks.map_or(0, |ranks| ranks.unused().count());
        match worst {
            Some((unusable, endpoint)) => unusable.refusal(self, endpoint),
            None if unused == 0 => Refusal::new(Outcome::NoEndpoint, format!("{key} has no endpoint")),
            None => {
                let detail = format!("none of the {unused} endpoints of {key} is healthy and in scope");
                Refusal::new(Outcome::NoEndpoint, detail)
            }
        }
    }

    /// What a passthrough service stands for is dialled where it was addressed; but a workload that is known there
    /// is still spoken to as it is known to speak.
    fn pass_through(self, service: &Arc<Service>, choice: &Choice<'_>) -> Result<Route, Refusal> {
        match self
            .registry
            .owner_of_its_own(&self.source.network, self.destination.ip())
        {
            Owner::Workload(workload) => {
                let route = self.to_only(workload, Some(service), choice);
                route.map_err(|refusal| refusal.of_service(service))
            }
            Owner::RejectedWorkload(stone) => {
                let detail = format!(
                    "{}, whose configuration was rejected: {}",
                    stone.name, stone.reason
                );
                Err(Refusal::new(Outcome::InvalidConfiguration, detail).of_service(service))
            }
            _ => Ok(Route::Passthrough {
                address: self.destination,
                service: Some(Arc::clone(service)),
            }),
        }
    }

    fn to_workload(self, workload: &Arc<Workload>, choice: &mut Choice<'_>) -> Result<Route, Refusal> {
        match &workload.waypoint {
            Some(gateway) if !waypoint::is(self.registry, gateway, self.source) => {
                waypoint::through(self, gateway, waypoint::For::Workload(workload), choice)
            }
            _ => self.to_only(workload, None, choice),
        }
    }

    /// To the one workload that the address leaves no choice but.
    fn to_only(
        self,
        workload: &Arc<Workload>,
        service: Option<&Arc<Service>>,
        choice: &Choice<'_>,
    ) -> Result<Route, Refusal> {
        if choice.tried.contains(&workload.uid) {
            let detail = format!(
                "{} was dialled in vain; the address leaves no other",
                workload.uid
            );
            return Err(Refusal::new(Outcome::NoEndpoint, detail).of_workload(workload));
        }
        match way_to(self, workload, service.map(Arc::as_ref), self.destination.port()) {
            Ok(way) => Ok(self.dial(workload, way, service)),
            Err(unusable) => Err(unusable.refusal(self, workload)),
        }
    }

    fn dial(self, workload: &Arc<Workload>, way: Way, service: Option<&Arc<Service>>) -> Route {
        let hop = |address| Hop {
            address,
            peer: Arc::clone(workload),
            destination: Some(Arc::clone(workload)),
            target: way.target,
            service: service.cloned(),
        };
        if !way.tunnel {
            return Route::Direct(hop(way.target));
        }
        Route::Hbone(Tunnelled {
            hop: hop(SocketAddr::new(way.target.ip(), HBONE_PORT)),
            authority: Authority::Address(way.target),
            expected: expected(workload, service.map(Arc::as_ref)),
            via: Via::Direct,
        })
    }
}

/// The identities that the peer may prove: its own, and those that the service adds.
pub(super) fn expected(peer: &Workload, service: Option<&Service>) -> Arc<[Identity]> {
    let added = service.map_or(&[][..], |service| &service.subject_alt_names);
    let own = std::iter::once(&peer.identity);
    own.chain(added.iter().filter(|&san| *san != peer.identity))
        .cloned()
        .collect()
}
