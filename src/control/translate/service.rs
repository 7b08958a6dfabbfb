//! Services of Kubernetes.

use adit_mesh::service::{Balancing, BalancingMode, HealthPolicy, PortMap, Scope, Visibility};
use adit_mesh::workload::{GatewayAddress, NetworkAddress};
use adit_mesh::{ServiceKey, service as mesh};

use super::names::{DISTRIBUTION, MANAGED, WAYPOINT_CONTROLLERS};
use crate::objects::{Distribution, Meta, Namespace, PortTarget, Service};
use crate::settings::Settings;

/// Where "nearby" ends.
const CLOSE: [Scope; 3] = [Scope::Network, Scope::Region, Scope::Zone];
const NODE: [Scope; 5] = [
    Scope::Network,
    Scope::Region,
    Scope::Zone,
    Scope::Subzone,
    Scope::Node,
];

/// The waypoints of a service: one, or two with their shares.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Waypoints {
    /// The one.
    pub primary: Option<GatewayAddress>,
    /// Both with their shares.
    pub weighted: Box<[(GatewayAddress, u32)]>,
}

/// The key of a service.
pub fn key(service: &Service, settings: &Settings) -> ServiceKey {
    let name = &service.meta.name;
    ServiceKey {
        namespace: name.namespace.clone(),
        hostname: settings.hostname(&name.name, &name.namespace),
    }
}

/// Whether the service is that of a waypoint or of a gateway between networks, which no waypoint stands before.
pub fn is_waypoint(meta: &Meta) -> bool {
    let managed = meta.labels.get(MANAGED);
    managed.is_some_and(|value| WAYPOINT_CONTROLLERS.contains(&value.as_str()))
}

/// A service; none, if it only stands for a name elsewhere.
pub fn translate(
    service: &Service,
    namespace: Option<&Namespace>,
    waypoints: Waypoints,
    settings: &Settings,
) -> Option<mesh::Service> {
    if service.external_name {
        return None;
    }
    let network = |ip: &std::net::IpAddr| NetworkAddress::new(settings.network.clone(), *ip);
    let ports = service.ports.iter().map(|port| {
        let target = match port.target {
            PortTarget::Number(number) => Some(number),
            PortTarget::Named(_) => None,
        };
        (port.number, target)
    });
    Some(mesh::Service {
        addresses: service.addresses.iter().map(network).collect(),
        ports: ports.collect::<PortMap>(),
        waypoint: waypoints.primary,
        weighted_waypoints: waypoints.weighted,
        balancing: balancing(service, namespace),
        ip_families: service.families,
        canonical: true,
        visibility: Visibility::Public,
        ..mesh::Service::new(key(service, settings), service.meta.name.name.clone())
    })
}

/// The internal traffic policy goes before all preferences.
fn balancing(service: &Service, namespace: Option<&Namespace>) -> Balancing {
    let health_policy = if service.publish_not_ready {
        HealthPolicy::AllowAll
    } else {
        HealthPolicy::OnlyHealthy
    };
    if service.local_only {
        return Balancing {
            mode: BalancingMode::Strict,
            preferences: [Scope::Node].into(),
            health_policy,
        };
    }
    Balancing {
        health_policy,
        ..preferring(distribution(service.distribution, &service.meta, namespace))
    }
}

/// The field, else the annotation of the object, else that of its namespace.
pub fn distribution(field: Option<Distribution>, meta: &Meta, namespace: Option<&Namespace>) -> Distribution {
    let annotated = |meta: &Meta| {
        meta.annotations
            .get(DISTRIBUTION)
            .map(|text| Distribution::read(text))
    };
    field
        .or_else(|| annotated(meta))
        .or_else(|| annotated(&namespace?.meta))
        .unwrap_or(Distribution::Any)
}

/// How endpoints are chosen then.
pub fn preferring(distribution: Distribution) -> Balancing {
    let failover = |preferences: &[Scope]| Balancing {
        mode: BalancingMode::Failover,
        preferences: preferences.into(),
        ..Balancing::default()
    };
    match distribution {
        Distribution::Close => failover(&CLOSE),
        Distribution::Node => failover(&NODE),
        Distribution::Any => Balancing::default(),
    }
}
