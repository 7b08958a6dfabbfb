//! What all objects have.

use adit_mesh::Interner;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Labels, Name};

/// Annotations that no part of the mesh reads are not kept: those of people and tools are long.
const READ: &str = "istio.io/";

/// What all objects have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Its name and namespace.
    pub name: Name,
    /// When it was made, in seconds since 1970; 0 if nobody says. The older of two objects in conflict wins.
    pub created: i64,
    /// Its labels.
    pub labels: Labels,
    /// Those of its annotations that the mesh may read.
    pub annotations: Labels,
}

impl Meta {
    /// Reads it; in a namespaced kind no namespace means `default`, as everywhere.
    pub(super) fn read(meta: &ObjectMeta, namespaced: bool, texts: &mut Interner) -> Self {
        let namespace = match meta.namespace.as_deref() {
            _ if !namespaced => "",
            None | Some("") => "default",
            Some(namespace) => namespace,
        };
        let annotations = meta.annotations.iter().flatten();
        Self {
            name: Name {
                namespace: texts.intern(namespace),
                name: meta.name.as_deref().unwrap_or_default().into(),
            },
            created: meta
                .creation_timestamp
                .as_ref()
                .map_or(0, |time| time.0.as_second()),
            labels: Labels::new(meta.labels.iter().flatten(), texts),
            annotations: Labels::new(annotations.filter(|(name, _)| name.contains(READ)), texts),
        }
    }
}
