//! Nodes: where pods run.

use adit_mesh::Interner;
use adit_mesh::workload::Locality;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::Meta;

/// Kubernetes, "Well-Known Labels".
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Istio's addition to them.
const SUBZONE: &str = "topology.istio.io/subzone";

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its metadata, without labels and annotations.
    pub meta: Meta,
    /// Where it is.
    pub locality: Locality,
}

/// As the API has it.
#[derive(Deserialize, Debug)]
pub struct Wire {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl Node {
    /// Keeps what matters.
    pub fn read(wire: &Wire, texts: &mut Interner) -> Self {
        let mut meta = Meta::read(&wire.metadata, false, texts);
        let label = |name| meta.labels.get(name).cloned().unwrap_or_default();
        let locality = Locality {
            region: label(REGION),
            zone: label(ZONE),
            subzone: label(SUBZONE),
        };
        // Kubelets write dozens of them.
        (meta.labels, meta.annotations) = Default::default();
        Self { meta, locality }
    }
}
