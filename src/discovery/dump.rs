//! The registry in the shape of ztunnel's `config_dump`, as `istioctl ztunnel-config` and Kiali read it.
//!
//! The keys are those of the local file. Three things differ from stock ztunnel's dump, each so that a dump can be read
//! back as a file without loss: a workload has the ports of its services with their names, an endpoint of a service
//! also says its address, and weighted waypoints are shown.

use adit_mesh::policy::{Clause, Group, Match, ServiceAccount, StringMatch};
use adit_mesh::service::{Balancing, IpFamilies, PortMap};
use adit_mesh::workload::{ApplicationTunnel, GatewayAddress, GatewayDestination, Locality};
use adit_mesh::{Policy, Registry, Service, Workload};
use serde_json::{Map, Value, json};

use crate::spelling::Spelled;

/// The parts `workloads`, `services` and `policies` of a `config_dump`, each in the order of names.
pub fn config_dump(registry: &Registry) -> Value {
    let mut workloads: Vec<_> = registry.workloads().collect();
    workloads.sort_by(|one, other| one.uid.cmp(&other.uid));
    let mut services: Vec<_> = registry.services().collect();
    services.sort_by(|one, other| one.key.cmp(&other.key));
    let mut policies: Vec<_> = registry.policies().collect();
    policies.sort_by(|one, other| one.key.cmp(&other.key));
    json!({
        "workloads": workloads.into_iter().map(|found| workload(found)).collect::<Vec<_>>(),
        "services": services.into_iter().map(|found| service(found, registry)).collect::<Vec<_>>(),
        "policies": policies.into_iter().map(|found| policy(found)).collect::<Vec<_>>(),
    })
}

fn workload(workload: &Workload) -> Value {
    let mut shown = Shown::default();
    shown.always("uid", &*workload.uid);
    shown.always("workloadIps", strings(&workload.addresses));
    shown.always("protocol", workload.protocol.spelling());
    shown.always("networkMode", workload.network_mode.spelling());
    shown.always("name", &*workload.name);
    shown.always("namespace", &**workload.namespace());
    shown.always("trustDomain", workload.identity.trust_domain().as_str());
    shown.always("serviceAccount", &**workload.identity.service_account());
    shown.always("workloadType", workload.workload_type.spelling());
    shown.always("status", workload.health.spelling());
    shown.always("clusterId", &*workload.cluster);
    shown.always("capacity", workload.capacity);
    shown.filled("network", &*workload.network);
    shown.filled("workloadName", &*workload.workload_name);
    shown.filled("canonicalName", &*workload.canonical_name);
    shown.filled("canonicalRevision", &*workload.canonical_revision);
    shown.filled("hostname", workload.hostname.as_deref().unwrap_or_default());
    shown.filled("node", &*workload.node);
    shown.filled("authorizationPolicies", strings(&workload.authorization_policies));
    shown.filled("locality", locality(&workload.locality));
    shown.filled("waypoint", workload.waypoint.as_deref().map(gateway));
    shown.filled("networkGateway", workload.network_gateway.as_deref().map(gateway));
    shown.filled(
        "applicationTunnel",
        workload.application_tunnel.map(application_tunnel),
    );
    shown.filled("nativeTunnel", workload.native_tunnel.then_some(true));
    let services = workload.services.iter();
    let services: Map<_, _> = services.map(|(key, map)| (key.to_string(), ports(map))).collect();
    shown.filled("services", services);
    shown.into()
}

fn service(service: &Service, registry: &Registry) -> Value {
    let mut shown = Shown::default();
    shown.always("name", &*service.name);
    shown.always("namespace", &*service.key.namespace);
    shown.always("hostname", &*service.key.hostname);
    shown.always("vips", strings(&service.addresses));
    shown.always("ports", ports(&service.ports));
    shown.always("endpoints", endpoints(service, registry));
    shown.always("subjectAltNames", strings(&service.subject_alt_names));
    shown.always("canonical", service.canonical);
    shown.always("visibility", service.visibility.spelling());
    let ranges = service.ranges.iter();
    let ranges: Vec<_> = ranges
        .map(|range| {
            let mut shown = Shown::default();
            shown.always("cidr", range.range.to_string());
            shown.filled("network", &*range.network);
            Value::from(shown)
        })
        .collect();
    shown.filled("cidrVips", ranges);
    shown.filled("waypoint", service.waypoint.as_ref().map(gateway));
    let weighted = service.weighted_waypoints.iter();
    let weighted: Vec<_> = weighted
        .map(|(waypoint, weight)| json!({ "destination": gateway(waypoint), "weight": weight }))
        .collect();
    shown.filled("weightedWaypoints", weighted);
    let balanced = service.balancing != Balancing::default();
    shown.filled("loadBalancer", balanced.then(|| balancing(&service.balancing)));
    let families = Some(service.ip_families).filter(|families| *families != IpFamilies::Automatic);
    shown.filled("ipFamilies", families.map(IpFamilies::spelling));
    shown.into()
}

/// The endpoints of a service by uid.
fn endpoints(service: &Service, registry: &Registry) -> Map<String, Value> {
    registry
        .endpoints(&service.key)
        .map(|workload| {
            let ports_here = workload.services.iter().find(|(key, _)| *key == service.key);
            let mut shown = Shown::default();
            shown.always("workloadUid", &*workload.uid);
            shown.always("service", service.key.to_string());
            let address = workload.addresses.first();
            shown.filled(
                "address",
                address.map(|address| format!("{}/{address}", workload.network)),
            );
            shown.always(
                "port",
                ports_here.map_or_else(Value::default, |(_, map)| ports(map)),
            );
            shown.always("status", workload.health.spelling());
            (workload.uid.to_string(), shown.into())
        })
        .collect()
}

fn policy(policy: &Policy) -> Value {
    let clause = |clause: &Clause| clause.matches.iter().map(conditions).collect::<Vec<_>>();
    let group = |group: &Group| group.clauses.iter().map(clause).collect::<Vec<_>>();
    json!({
        "name": &*policy.key.name,
        "namespace": &*policy.key.namespace,
        "scope": policy.scope.spelling(),
        "action": policy.action.spelling(),
        "rules": policy.groups.iter().map(group).collect::<Vec<_>>(),
        "dryRun": policy.dry_run,
    })
}

fn conditions(conditions: &Match) -> Value {
    let texts = |values: &[StringMatch]| values.iter().map(string_match).collect::<Vec<_>>();
    let accounts = |values: &[ServiceAccount]| {
        let shown = |account: &ServiceAccount| {
            let ServiceAccount { namespace, name } = account;
            json!({ "namespace": &**namespace, "serviceAccount": &**name })
        };
        values.iter().map(shown).collect::<Vec<_>>()
    };
    let mut shown = Shown::default();
    shown.filled("namespaces", texts(&conditions.namespaces));
    shown.filled("notNamespaces", texts(&conditions.not_namespaces));
    shown.filled("serviceAccounts", accounts(&conditions.service_accounts));
    shown.filled("notServiceAccounts", accounts(&conditions.not_service_accounts));
    shown.filled("principals", texts(&conditions.principals));
    shown.filled("notPrincipals", texts(&conditions.not_principals));
    shown.filled("sourceIps", strings(&conditions.source_ips));
    shown.filled("notSourceIps", strings(&conditions.not_source_ips));
    shown.filled("destinationIps", strings(&conditions.destination_ips));
    shown.filled("notDestinationIps", strings(&conditions.not_destination_ips));
    shown.filled("destinationPorts", conditions.destination_ports.to_vec());
    shown.filled("notDestinationPorts", conditions.not_destination_ports.to_vec());
    shown.into()
}

fn string_match(value: &StringMatch) -> Value {
    match value {
        StringMatch::Exact(text) => json!({ "Exact": &**text }),
        StringMatch::Prefix(text) => json!({ "Prefix": &**text }),
        StringMatch::Suffix(text) => json!({ "Suffix": &**text }),
        StringMatch::Presence => json!({ "Presence": [] }),
    }
}

fn gateway(gateway: &GatewayAddress) -> Value {
    let destination = match &gateway.destination {
        GatewayDestination::Hostname(key) => key.to_string(),
        GatewayDestination::Address(address) => address.to_string(),
    };
    json!({ "destination": destination, "hboneMtlsPort": gateway.hbone_port })
}

fn application_tunnel(tunnel: ApplicationTunnel) -> Value {
    json!({ "protocol": tunnel.protocol.spelling(), "port": tunnel.port })
}

fn locality(locality: &Locality) -> Option<Value> {
    let Locality {
        region,
        zone,
        subzone,
    } = locality;
    (*locality != Locality::default())
        .then(|| json!({ "region": &**region, "zone": &**zone, "subzone": &**subzone }))
}

fn balancing(balancing: &Balancing) -> Value {
    let preferences = balancing.preferences.iter();
    json!({
        "mode": balancing.mode.spelling(),
        "routingPreferences": preferences.map(|scope| scope.spelling()).collect::<Vec<_>>(),
        "healthPolicy": balancing.health_policy.spelling(),
    })
}

/// Service ports and their targets; a named port has the target 0.
fn ports(map: &PortMap) -> Value {
    let ports = map.iter().map(|(port, target)| {
        let target = target.map_or(0, std::num::NonZeroU16::get);
        (port.to_string(), Value::from(target))
    });
    Value::Object(ports.collect())
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

/// A mapping in the making.
#[derive(Default)]
struct Shown(Map<String, Value>);

impl Shown {
    fn always(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Adds a value unless there is nothing in it.
    fn filled(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if !empty {
            self.always(key, value);
        }
    }
}

impl From<Shown> for Value {
    fn from(shown: Shown) -> Self {
        Self::Object(shown.0)
    }
}

#[cfg(test)]
mod tests;
