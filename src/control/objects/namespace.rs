//! Namespaces: all that matters is on their labels and annotations.

use adit_mesh::Interner;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::Meta;

/// A namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Its metadata.
    pub meta: Meta,
}

/// As the API has it.
#[derive(Deserialize, Debug)]
pub struct Wire {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl Namespace {
    /// Keeps what matters.
    pub fn read(wire: &Wire, texts: &mut Interner) -> Self {
        Self {
            meta: Meta::read(&wire.metadata, false, texts),
        }
    }
}
