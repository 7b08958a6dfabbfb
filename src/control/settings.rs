//! What holds for the whole mesh.

use std::fmt;

use adit_mesh::{Text, TrustDomain};

/// What holds for the whole mesh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The cluster's name; Istio's default is `Kubernetes`.
    pub cluster: Text,
    /// The network of the cluster's addresses; "" where there is only one.
    pub network: Text,
    /// The trust domain of all identities.
    pub trust_domain: TrustDomain,
    /// What the names of services end with, such as `cluster.local`.
    pub domain: Text,
    /// The namespace whose policies hold for all namespaces.
    pub root_namespace: Text,
    /// Which revision of the control plane this is; objects of another are not looked at.
    pub revision: Text,
    /// Whether callers must prove who they are where no PeerAuthentication says.
    pub mutual_tls: Mode,
    /// What becomes of what only a waypoint can enforce, where there is none.
    pub without_waypoint: WithoutWaypoint,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: "Kubernetes".into(),
            network: Text::empty(),
            trust_domain: TrustDomain::default(),
            domain: "cluster.local".into(),
            root_namespace: "adit-system".into(),
            revision: "default".into(),
            mutual_tls: Mode::Strict,
            without_waypoint: WithoutWaypoint::Deny,
        }
    }
}

/// Whether callers must prove who they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Mode {
    /// They may: as Istio's default, for a mesh that others migrate into.
    Permissive,
    /// They must.
    Strict,
}

/// What becomes of what only a waypoint can enforce, where there is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum WithoutWaypoint {
    /// What it is about is refused, with a message that says what to do.
    Deny,
    /// As in Istio: it has no effect.
    Istio,
}

impl Settings {
    /// The hostname of a Kubernetes service.
    pub fn hostname(&self, name: &str, namespace: &str) -> Text {
        format!("{name}.{namespace}.svc.{}", self.domain).into()
    }

    /// Name and namespace of the Kubernetes service that a hostname is of.
    pub fn service_of<'a>(&self, hostname: &'a str) -> Option<(&'a str, &'a str)> {
        let name = hostname
            .strip_suffix(self.domain.as_str())?
            .strip_suffix(".svc.")?;
        name.split_once('.')
            .filter(|(_, namespace)| !namespace.contains('.'))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Permissive => "permissive",
            Self::Strict => "strict",
        })
    }
}
