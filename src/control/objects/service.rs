//! Services.

use std::net::IpAddr;
use std::num::NonZeroU16;

use std::collections::BTreeMap;

use adit_mesh::service::IpFamilies;
use adit_mesh::{Interner, Text};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use super::{Meta, Selector};

/// A service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its metadata.
    pub meta: Meta,
    /// It only stands for a name elsewhere.
    pub external_name: bool,
    /// The pods that are its endpoints; none without a selector.
    pub selector: Option<Selector>,
    /// Its virtual addresses; none if it is headless.
    pub addresses: Box<[IpAddr]>,
    /// Its ports of TCP.
    pub ports: Box<[ServicePort]>,
    /// The families that it is reached by.
    pub families: IpFamilies,
    /// Endpoints that are not ready take part.
    pub publish_not_ready: bool,
    /// Only endpoints on the caller's node take part.
    pub local_only: bool,
    /// Which endpoints are preferred.
    pub distribution: Option<Distribution>,
}

/// Which endpoints of a service are preferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distribution {
    /// Those nearby: of the same network, region and zone.
    Close,
    /// Those of the same node, then those nearby.
    Node,
    /// None.
    Any,
}

impl Distribution {
    /// As the field and the annotation spell it, in either case. What is not known prefers nothing.
    pub fn read(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "preferclose" | "prefersamezone" => Self::Close,
            "prefersamenode" => Self::Node,
            _ => Self::Any,
        }
    }
}

/// A port of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Its name; "" if it has none.
    pub name: Text,
    /// Its number.
    pub number: NonZeroU16,
    /// The port of its endpoints.
    pub target: PortTarget,
}

/// The port of endpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortTarget {
    /// The same for all of them.
    Number(NonZeroU16),
    /// What each of them calls so.
    Named(Text),
}

/// As the API has it.
#[derive(Deserialize, Debug)]
pub struct Wire {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    r#type: String,
    selector: BTreeMap<String, String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ip_families: Vec<String>,
    ports: Vec<WirePort>,
    publish_not_ready_addresses: bool,
    internal_traffic_policy: String,
    traffic_distribution: Option<String>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct WirePort {
    name: String,
    protocol: String,
    port: u16,
    target_port: Option<IntOrString>,
}

impl Service {
    /// Keeps what matters.
    pub fn read(wire: &Wire, texts: &mut Interner) -> Self {
        let spec = &wire.spec;
        let one = Some(&spec.cluster_ip).filter(|_| spec.cluster_ips.is_empty());
        let addresses = spec.cluster_ips.iter().chain(one);
        let ports = spec
            .ports
            .iter()
            .filter(|port| matches!(&*port.protocol, "" | "TCP"));
        let ports = ports.filter_map(|port| {
            let number = NonZeroU16::new(port.port)?;
            Some(ServicePort {
                name: texts.intern(&port.name),
                number,
                target: target(port.target_port.as_ref(), number, texts),
            })
        });
        let ports = ports.collect();
        Self {
            meta: Meta::read(&wire.metadata, true, texts),
            external_name: spec.r#type == "ExternalName",
            selector: (!spec.selector.is_empty()).then(|| Selector::new(&spec.selector, texts)),
            // "None" of a headless service is no address.
            addresses: addresses.filter_map(|ip| ip.parse().ok()).collect(),
            ports,
            families: families(&spec.ip_families),
            publish_not_ready: spec.publish_not_ready_addresses,
            local_only: spec.internal_traffic_policy == "Local",
            distribution: spec.traffic_distribution.as_deref().map(Distribution::read),
        }
    }
}

fn target(target: Option<&IntOrString>, own: NonZeroU16, texts: &mut Interner) -> PortTarget {
    let number = |number: i64| u16::try_from(number).ok().and_then(NonZeroU16::new);
    match target {
        Some(IntOrString::Int(target)) => PortTarget::Number(number(i64::from(*target)).unwrap_or(own)),
        Some(IntOrString::String(name)) => match name.parse().ok().and_then(number) {
            Some(target) => PortTarget::Number(target),
            None => PortTarget::Named(texts.intern(name)),
        },
        None => PortTarget::Number(own),
    }
}

fn families(names: &[String]) -> IpFamilies {
    let has = |family: &str| names.iter().any(|name| name == family);
    match (has("IPv4"), has("IPv6")) {
        (true, true) => IpFamilies::Dual,
        (true, false) => IpFamilies::V4Only,
        (false, true) => IpFamilies::V6Only,
        (false, false) => IpFamilies::Automatic,
    }
}
