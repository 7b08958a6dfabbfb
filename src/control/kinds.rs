//! Istio's kinds, as Kubernetes stores them: complete fields, and nothing decided.
//!
//! Reading is tolerant, because a newer Istio may have written the object: what is not known is passed over and noted
//! ([`Noted`]), and whoever gives the object a meaning decides what that is worth. In a policy it may be the condition
//! that made it narrow.

mod authentication;
mod authorization;
mod entry;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

pub use authentication::{MutualTls, MutualTlsMode, PeerAuthentication, PeerAuthenticationSpec};
pub use authorization::{
    AuthorizationAction, AuthorizationPolicy, AuthorizationPolicySpec, Condition, From, Operation, Provider,
    Rule, Source, TargetRef, To,
};
pub use entry::{
    EntryAddress, EntryPort, EntryStatus, Location, Resolution, ServiceEntry, ServiceEntrySpec,
    WorkloadEntry, WorkloadEntrySpec,
};

/// Which workloads of a namespace (of all namespaces, in the root namespace) an object is about.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// The labels that they have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// An object, and the paths of its fields that are not known.
#[derive(Clone, PartialEq, Debug)]
pub struct Noted<T> {
    /// The object.
    pub object: T,
    /// Such as `spec.rules.0.from`, in the order of the text.
    pub unknown: Vec<String>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Noted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut unknown = Vec::new();
        let object = serde_ignored::deserialize(deserializer, |path| {
            // Optional fields are a step of their own in the path.
            let path = path.to_string().replace(".?", "");
            // What the type itself stands for is not among its fields.
            if !matches!(&*path, "apiVersion" | "kind") {
                unknown.push(path);
            }
        })?;
        Ok(Self { object, unknown })
    }
}
