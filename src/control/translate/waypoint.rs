//! Which waypoint an object's traffic goes through.
//!
//! The label of the object is asked first, then that of its namespace; `none` on the object ends it there. A waypoint that
//! was asked for and cannot be used is not replaced by another, and not by none either: traffic that somebody wants to be
//! looked at is refused until it can be, by sending it to a host that cannot exist (RFC 2606, section 2) and whose name
//! says why.

use std::num::NonZeroU16;

use adit_mesh::service::ServiceKey;
use adit_mesh::workload::{GatewayAddress, GatewayDestination, NetworkAddress};

use super::condition::{Condition, Reason, WAYPOINT_BOUND};
use super::names::{
    CANARY, CANARY_NAMESPACE, CANARY_WEIGHT, USE_WAYPOINT, USE_WAYPOINT_NAMESPACE, WAYPOINT_FOR,
};
use crate::objects::{self, AllowedRoutes, Gateway, GatewayClass, Labels, Meta, Name, Namespace};
use crate::settings::{Settings, WithoutWaypoint};

/// Where waypoints are called, whatever their gateway says.
const HBONE: NonZeroU16 = NonZeroU16::new(adit_mesh::constants::HBONE_PORT).expect("not 0");
/// What stands for no waypoint.
const NONE: &str = "none";

/// What the traffic is addressed to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Traffic {
    /// A service.
    Service,
    /// A workload itself.
    Workload,
}

/// What is asked for: which gateway, and who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The gateway.
    pub gateway: Name,
    /// The object itself asks, not its namespace.
    pub direct: bool,
}

/// The waypoint that an object wants.
pub fn wanted(meta: &Meta, namespace: Option<&Namespace>) -> Option<Wanted> {
    let own = asked(
        &meta.labels,
        &meta.name.namespace,
        [USE_WAYPOINT, USE_WAYPOINT_NAMESPACE],
    );
    let wider = || {
        let labels = &namespace?.meta.labels;
        asked(
            labels,
            &meta.name.namespace,
            [USE_WAYPOINT, USE_WAYPOINT_NAMESPACE],
        )
    };
    let (name, direct) = own
        .map(|name| (name, true))
        .or_else(|| wider().map(|name| (name, false)))?;
    name.map(|gateway| Wanted { gateway, direct })
}

/// The second waypoint that an object wants, and its share in percent. That of the namespace counts only for an object
/// that asks for no waypoint itself.
pub fn canary(meta: &Meta, namespace: Option<&Namespace>) -> Option<(Name, Result<u8, String>)> {
    let source = if meta.labels.get(USE_WAYPOINT).is_some() || meta.labels.get(CANARY).is_some() {
        meta
    } else {
        &namespace?.meta
    };
    let gateway = asked(&source.labels, &meta.name.namespace, [CANARY, CANARY_NAMESPACE])??;
    let weight = match source.annotations.get(CANARY_WEIGHT) {
        None => Ok(0),
        Some(text) => text
            .parse()
            .ok()
            .filter(|share| *share <= 100)
            .ok_or(text.to_string()),
    };
    Some((gateway, weight))
}

/// `Some(None)` is an explicit none.
fn asked(labels: &Labels, own: &str, [name, namespace]: [&str; 2]) -> Option<Option<Name>> {
    let name = labels.get(name).filter(|name| !name.is_empty())?;
    if *name == NONE {
        return Some(None);
    }
    let namespace = labels.get(namespace).filter(|namespace| !namespace.is_empty());
    let namespace = namespace.map_or(own, |namespace| namespace.as_str());
    Some(Some(Name::new(namespace, name.clone())))
}

/// What became of a wish for a waypoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Traffic goes through it.
    To(GatewayAddress),
    /// It is not for such traffic, and the object did not ask for it itself.
    NotMeant,
    /// It cannot be used.
    Failed(Reason),
}

/// Whether traffic to an object of a namespace with these labels can go through a gateway, which may not exist.
pub fn bind(
    wanted: &Wanted,
    gateway: Option<&Gateway>,
    class: Option<&GatewayClass>,
    traffic: Traffic,
    own: &str,
    labels: &Labels,
    settings: &Settings,
) -> Bound {
    let Some(gateway) = gateway else {
        return Bound::Failed(Reason::WaypointIsNotReady);
    };
    if !is_for(gateway, class, traffic) {
        return if wanted.direct {
            Bound::Failed(Reason::UnsupportedTrafficType)
        } else {
            Bound::NotMeant
        };
    }
    let Some(address) = gateway.addresses.first() else {
        return Bound::Failed(Reason::WaypointIsNotReady);
    };
    // The listener that takes HBONE says who may use it; without one, only its own namespace may.
    let listener = gateway
        .listeners
        .iter()
        .find(|listener| listener.protocol == "HBONE" && listener.port == adit_mesh::constants::HBONE_PORT);
    let same = AllowedRoutes::Same;
    let allowed = listener.map_or(&same, |listener| &listener.allowed);
    if !allowed.allow(gateway.meta.name.namespace == own, labels) {
        return Bound::Failed(Reason::AttachmentDenied);
    }
    let destination = match address {
        objects::GatewayAddress::Hostname(hostname) => GatewayDestination::Hostname(ServiceKey {
            namespace: gateway.meta.name.namespace.clone(),
            hostname: hostname.clone(),
        }),
        objects::GatewayAddress::Ip(ip) => {
            GatewayDestination::Address(NetworkAddress::new(settings.network.clone(), *ip))
        }
    };
    Bound::To(GatewayAddress {
        destination,
        hbone_port: HBONE,
    })
}

/// The gateway's own label, else that of its class; services, if neither says.
fn is_for(gateway: &Gateway, class: Option<&GatewayClass>, traffic: Traffic) -> bool {
    let of_class = class.and_then(|class| class.meta.labels.get(WAYPOINT_FOR));
    let meant = gateway.meta.labels.get(WAYPOINT_FOR).or(of_class);
    match meant.map_or("service", |meant| meant.as_str()) {
        "all" => true,
        "service" => traffic == Traffic::Service,
        "workload" => traffic == Traffic::Workload,
        _ => false,
    }
}

/// Where traffic goes that a waypoint should look at and cannot.
pub fn refused(wanted: &Wanted, reason: Reason, settings: &Settings) -> Option<GatewayAddress> {
    if settings.without_waypoint == WithoutWaypoint::Istio {
        return None;
    }
    let why = match reason {
        Reason::AttachmentDenied => "attachment-denied",
        Reason::UnsupportedTrafficType => "unsupported-traffic-type",
        _ => "not-ready",
    };
    let Name { namespace, name } = &wanted.gateway;
    Some(GatewayAddress {
        destination: GatewayDestination::Hostname(ServiceKey {
            namespace: namespace.clone(),
            hostname: format!("{why}.{name}.{namespace}.waypoint.invalid").into(),
        }),
        hbone_port: HBONE,
    })
}

/// The condition of an object that wants a waypoint.
pub fn condition(wanted: &Wanted, bound: &Bound, settings: &Settings) -> Option<Condition> {
    let gateway = &wanted.gateway;
    let (holds, reason, message) = match bound {
        Bound::NotMeant => return None,
        Bound::To(_) => (
            true,
            Reason::WaypointAccepted,
            format!("Successfully attached to waypoint {gateway}"),
        ),
        Bound::Failed(reason) => {
            let why = match reason {
                Reason::AttachmentDenied => format!(
                    "waypoint {gateway} does not take objects of this namespace; allow it in allowedRoutes of its \
                     HBONE listener"
                ),
                Reason::UnsupportedTrafficType => format!(
                    "waypoint {gateway} is not for this kind of traffic; see its label {WAYPOINT_FOR}"
                ),
                _ => format!("waypoint {gateway} does not exist or has no address yet"),
            };
            let effect = match settings.without_waypoint {
                WithoutWaypoint::Deny => "until it can be used, traffic to this object is refused",
                WithoutWaypoint::Istio => "traffic passes it by",
            };
            (false, *reason, format!("{why}: {effect}"))
        }
    };
    Some(Condition {
        kind: WAYPOINT_BOUND,
        holds,
        reason,
        message,
    })
}
