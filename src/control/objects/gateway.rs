//! Gateways (Gateway API), as far as waypoints are concerned.

use std::collections::BTreeMap;

use adit_mesh::{Interner, Text};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelectorRequirement, ObjectMeta};
use serde::Deserialize;

use super::{Labels, Meta, Selector};

/// A gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gateway {
    /// Its metadata.
    pub meta: Meta,
    /// The name of its class.
    pub class: Text,
    /// Its listeners.
    pub listeners: Box<[Listener]>,
    /// Where it is reached, hostnames before addresses.
    pub addresses: Box<[GatewayAddress]>,
}

/// Where a gateway is reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum GatewayAddress {
    /// By the name of a service.
    Hostname(Text),
    /// By address.
    Ip(std::net::IpAddr),
}

/// A listener of a gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Its port.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Text,
    /// The namespaces whose objects may be bound to it.
    pub allowed: AllowedRoutes,
}

/// The namespaces whose objects may be bound to a listener.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum AllowedRoutes {
    /// That of the gateway.
    #[default]
    Same,
    /// All.
    All,
    /// Those with labels.
    Selected {
        /// All of these,
        labels: Selector,
        /// and all of these.
        expressions: Box<[Expression]>,
    },
    /// None: a value that is not known.
    None,
}

/// A condition on a label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expression {
    key: Text,
    operator: Text,
    values: Box<[Text]>,
}

impl AllowedRoutes {
    /// Whether objects of a namespace may be bound, whose labels are these.
    pub fn allow(&self, own: bool, labels: &Labels) -> bool {
        match self {
            Self::Same => own,
            Self::All => true,
            Self::Selected {
                labels: wanted,
                expressions,
            } => wanted.selects(labels) && expressions.iter().all(|one| one.holds(labels)),
            Self::None => false,
        }
    }
}

impl Expression {
    /// Kubernetes, "Set-based requirement"; an operator that is not known never holds.
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let among = value.is_some_and(|value| self.values.contains(value));
        match self.operator.as_str() {
            "In" => among,
            "NotIn" => !among,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// A class of gateways.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayClass {
    /// Its metadata.
    pub meta: Meta,
    /// Who makes gateways of it.
    pub controller: Text,
}

/// As the API has it.
#[derive(Deserialize, Debug)]
pub struct Wire {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    gateway_class_name: String,
    listeners: Vec<WireListener>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireListener {
    port: u16,
    protocol: String,
    allowed_routes: Allowed,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Allowed {
    namespaces: Option<Namespaces>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Namespaces {
    from: Option<String>,
    selector: Option<WireSelector>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireSelector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<LabelSelectorRequirement>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Status {
    addresses: Vec<WireAddress>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct WireAddress {
    r#type: Option<String>,
    value: String,
}

impl Gateway {
    /// Keeps what matters.
    pub fn read(wire: &Wire, texts: &mut Interner) -> Self {
        let listeners = wire.spec.listeners.iter().map(|one| Listener {
            port: one.port,
            protocol: texts.intern(&one.protocol),
            allowed: allowed(&one.allowed_routes, texts),
        });
        let listeners = listeners.collect();
        let mut addresses: Vec<_> = wire.status.addresses.iter().filter_map(address).collect();
        // A hostname is preferred, and otherwise their order kept.
        addresses.sort_by_key(|one| matches!(one, GatewayAddress::Ip(_)));
        Self {
            meta: Meta::read(&wire.metadata, true, texts),
            class: texts.intern(&wire.spec.gateway_class_name),
            listeners,
            addresses: addresses.into(),
        }
    }
}

fn allowed(wire: &Allowed, texts: &mut Interner) -> AllowedRoutes {
    let Some(namespaces) = &wire.namespaces else {
        return AllowedRoutes::Same;
    };
    match (namespaces.from.as_deref(), &namespaces.selector) {
        (None | Some("Same"), _) => AllowedRoutes::Same,
        (Some("All"), _) => AllowedRoutes::All,
        (Some("Selector"), Some(selector)) => AllowedRoutes::Selected {
            labels: Selector::new(&selector.match_labels, texts),
            expressions: selector
                .match_expressions
                .iter()
                .map(|one| Expression {
                    key: texts.intern(&one.key),
                    operator: texts.intern(&one.operator),
                    values: one
                        .values
                        .iter()
                        .flatten()
                        .map(|value| texts.intern(value))
                        .collect(),
                })
                .collect(),
        },
        _ => AllowedRoutes::None,
    }
}

fn address(wire: &WireAddress) -> Option<GatewayAddress> {
    match wire.r#type.as_deref() {
        Some("Hostname") => Some(GatewayAddress::Hostname(wire.value.as_str().into())),
        None | Some("IPAddress") => wire.value.parse().ok().map(GatewayAddress::Ip),
        Some(_) => None,
    }
}

/// A class as the API has it.
#[derive(Deserialize, Debug)]
pub struct ClassWire {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ClassSpec,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClassSpec {
    controller_name: String,
}

impl GatewayClass {
    /// Keeps what matters.
    pub fn read(wire: &ClassWire, texts: &mut Interner) -> Self {
        Self {
            meta: Meta::read(&wire.metadata, false, texts),
            controller: texts.intern(&wire.spec.controller_name),
        }
    }
}
