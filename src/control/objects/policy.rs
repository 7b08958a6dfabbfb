//! Istio's policies. They are few, and every field of them matters, so they are kept as they are.

use adit_mesh::Interner;

use super::{Meta, Selector};
use crate::kinds::{
    AuthorizationPolicy, AuthorizationPolicySpec, MutualTlsMode, Noted, PeerAuthentication, TargetRef,
};

/// An AuthorizationPolicy.
#[derive(Clone, PartialEq, Debug)]
pub struct Authorization {
    /// Its metadata.
    pub meta: Meta,
    /// The workloads that it selects; `None` selects by namespace.
    pub selector: Option<Selector>,
    /// The objects that it is about instead.
    pub targets: Box<[TargetRef]>,
    /// What it says.
    pub spec: AuthorizationPolicySpec,
    /// Fields of what it says that are not known.
    pub unknown: Box<[String]>,
}

impl Authorization {
    /// Keeps it.
    pub fn read(read: Noted<AuthorizationPolicy>, texts: &mut Interner) -> Self {
        let Noted { object, unknown } = read;
        let spec = object.spec;
        let targets = spec.target_refs.iter().chain(&spec.target_ref);
        Self {
            meta: Meta::read(&object.metadata, true, texts),
            selector: spec
                .selector
                .as_ref()
                .map(|selector| Selector::new(&selector.match_labels, texts)),
            targets: targets.cloned().collect(),
            unknown: of_spec(unknown),
            spec,
        }
    }
}

/// A PeerAuthentication.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authentication {
    /// Its metadata.
    pub meta: Meta,
    /// The workloads that it selects; `None` selects by namespace.
    pub selector: Option<Selector>,
    /// For all ports.
    pub mode: MutualTlsMode,
    /// For single ports, in the order of their numbers.
    pub ports: Box<[(u16, MutualTlsMode)]>,
    /// Ports that are none.
    pub invalid_ports: Box<[String]>,
    /// Fields of what it says that are not known.
    pub unknown: Box<[String]>,
}

impl Authentication {
    /// Keeps it.
    pub fn read(read: Noted<PeerAuthentication>, texts: &mut Interner) -> Self {
        let Noted { object, unknown } = read;
        let spec = object.spec;
        let number = |port: &str| port.parse().ok().filter(|port| *port != 0);
        let ports = spec.port_level_mtls.iter();
        let mut numbered: Vec<_> = ports
            .clone()
            .filter_map(|(port, setting)| Some((number(port)?, setting.mode)))
            .collect();
        numbered.sort_unstable();
        Self {
            meta: Meta::read(&object.metadata, true, texts),
            selector: spec
                .selector
                .as_ref()
                .map(|selector| Selector::new(&selector.match_labels, texts)),
            mode: spec.mtls.unwrap_or_default().mode,
            ports: numbered.into(),
            invalid_ports: ports
                .filter(|(port, _)| number(port).is_none())
                .map(|(port, _)| port.clone())
                .collect(),
            unknown: of_spec(unknown),
        }
    }
}

/// What is not known beside the spec has no meaning.
fn of_spec(unknown: Vec<String>) -> Box<[String]> {
    let of_spec = |path: &String| path.starts_with("spec");
    unknown.into_iter().filter(of_spec).collect()
}
