//! EndpointSlices: needed for the endpoints of services that select no pods.

use std::net::IpAddr;
use std::num::NonZeroU16;

use adit_mesh::{Interner, Text};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::Meta;

/// The label that names the service.
const SERVICE: &str = "kubernetes.io/service-name";

/// Endpoints of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSlice {
    /// Its metadata.
    pub meta: Meta,
    /// The name of the service, in its own namespace; "" of one that belongs to none.
    pub service: Text,
    /// The ports of TCP, by the name that the service has for them.
    pub ports: Box<[SlicePort]>,
    /// The endpoints.
    pub endpoints: Box<[Endpoint]>,
}

/// A port of the endpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlicePort {
    /// Its name; "" if it has none.
    pub name: Text,
    /// Its number.
    pub number: NonZeroU16,
}

/// An endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Its addresses.
    pub addresses: Box<[IpAddr]>,
    /// It can be called; so can one that does not say.
    pub ready: bool,
    /// The pod that it is, in the slice's namespace: its name and uid.
    pub pod: Option<(Text, Text)>,
}

/// As the API has it.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Wire {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<WireEndpoint>>,
    #[serde(default)]
    ports: Option<Vec<WirePort>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireEndpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    target_ref: Option<Target>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Target {
    kind: String,
    name: String,
    namespace: String,
    uid: String,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct WirePort {
    name: String,
    port: u16,
    protocol: String,
}

impl EndpointSlice {
    /// Keeps what matters.
    pub fn read(wire: &Wire, texts: &mut Interner) -> Self {
        let mut meta = Meta::read(&wire.metadata, true, texts);
        let service = meta.labels.get(SERVICE).cloned().unwrap_or_default();
        (meta.labels, meta.annotations) = Default::default();
        let ports = wire.ports.iter().flatten();
        let ports = ports.filter(|port| matches!(&*port.protocol, "" | "TCP"));
        let ports = ports.filter_map(|port| {
            Some(SlicePort {
                number: NonZeroU16::new(port.port)?,
                name: texts.intern(&port.name),
            })
        });
        let ports = ports.collect();
        // Names are resolved by whoever asks the DNS.
        let named = wire.address_type == "FQDN";
        let endpoints = wire.endpoints.iter().flatten().filter(|_| !named);
        let endpoints = endpoints.map(|one| {
            let target = one.target_ref.as_ref().filter(|target| {
                target.kind == "Pod"
                    && (target.namespace.is_empty() || target.namespace == *meta.name.namespace.as_str())
            });
            Endpoint {
                addresses: one.addresses.iter().filter_map(|ip| ip.parse().ok()).collect(),
                ready: one.conditions.ready.unwrap_or(true),
                pod: target.map(|target| (target.name.as_str().into(), target.uid.as_str().into())),
            }
        });
        Self {
            endpoints: endpoints.collect(),
            meta,
            service,
            ports,
        }
    }
}
