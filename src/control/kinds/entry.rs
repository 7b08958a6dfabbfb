//! `ServiceEntry` and `WorkloadEntry` (`networking.istio.io`): what Kubernetes does not know.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service that Kubernetes does not know (Istio API, "ServiceEntry").
#[derive(CustomResource, Clone, PartialEq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.istio.io",
    version = "v1",
    kind = "ServiceEntry",
    plural = "serviceentries",
    shortname = "se",
    category = "istio-io",
    category = "networking-istio-io",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    status = "EntryStatus",
    printcolumn = r#"{"name":"Hosts","type":"string","jsonPath":".spec.hosts"}"#,
    printcolumn = r#"{"name":"Location","type":"string","jsonPath":".spec.location"}"#,
    printcolumn = r#"{"name":"Resolution","type":"string","jsonPath":".spec.resolution"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntrySpec {
    /// Its names.
    #[schemars(length(min = 1, max = 256))]
    pub hosts: Vec<String>,
    /// Its virtual addresses, or ranges of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub addresses: Vec<String>,
    /// Its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub ports: Vec<EntryPort>,
    /// Whether it is part of the mesh.
    #[serde(default)]
    pub location: Location,
    /// How its endpoints are found.
    #[serde(default)]
    pub resolution: Resolution,
    /// Its endpoints; not together with a selector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// The pods and WorkloadEntries of its namespace that are its endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<EntrySelector>,
    /// The namespaces that may use it: `.`, `*`, or names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_to: Vec<String>,
    /// Identities that its endpoints may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
}

/// The endpoints of a ServiceEntry.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EntrySelector {
    /// The labels that they have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A port of a ServiceEntry.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryPort {
    /// Its number.
    #[schemars(range(min = 1, max = 65535))]
    pub number: u32,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: String,
    /// Its name.
    pub name: String,
    /// The port of the endpoints.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 65535))]
    pub target_port: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whether a ServiceEntry is part of the mesh.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize, JsonSchema,
)]
pub enum Location {
    /// No.
    #[default]
    #[serde(rename = "MESH_EXTERNAL")]
    External,
    /// Yes.
    #[serde(rename = "MESH_INTERNAL")]
    Internal,
}

/// How the endpoints of a ServiceEntry are found.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// Not at all: whatever address was called.
    #[default]
    None,
    /// They are given as addresses.
    Static,
    /// By DNS, all addresses.
    Dns,
    /// By DNS, one address at a time.
    DnsRoundRobin,
    /// By DNS, of the name that was called.
    DynamicDns,
}

/// What controllers say about a ServiceEntry.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EntryStatus {
    /// Its conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<serde_json::Value>,
    /// The addresses that were given to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<EntryAddress>,
}

/// An address that was given to a ServiceEntry.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EntryAddress {
    /// The address.
    #[serde(default)]
    pub value: String,
    /// The host that it is for; "" is for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
}

/// A workload that Kubernetes does not run (Istio API, "WorkloadEntry").
#[derive(CustomResource, Clone, PartialEq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.istio.io",
    version = "v1",
    kind = "WorkloadEntry",
    plural = "workloadentries",
    shortname = "we",
    category = "istio-io",
    category = "networking-istio-io",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    status = "EntryStatus",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".spec.address"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadEntrySpec {
    /// Its address, or a DNS name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub address: String,
    /// Its ports, by the name that services have for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u32>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The network of its address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Where it runs, `region/zone/subzone`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locality: String,
    /// Its share of connections.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight: u32,
    /// Its service account.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_account: String,
}
