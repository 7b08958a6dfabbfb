//! PeerAuthentications: who must prove who they are, as policies that refuse those who do not.
//!
//! Three levels: the workload's (with a selector, in its own namespace), its namespace's, the mesh's (in the root
//! namespace); on each the oldest counts. UNSET leaves it to the next wider level, and in the end to the mesh's setting.
//! DISABLE is PERMISSIVE, because a tunnel always takes HBONE. A field that is not understood may be what makes it
//! stricter, so it makes it strict.
//!
//! A workload that must see proof on all ports names one policy that all of them share. One with ports that differ names a
//! policy of its own PeerAuthentication, whose shape depends on the mode of the other ports.

use adit_mesh::Policy;
use adit_mesh::policy::{Action, Clause, Group, Match, PolicyKey, PolicyScope, StringMatch};

use super::names;
use crate::kinds::MutualTlsMode;
use crate::objects::{Authentication, Labels, Name};
use crate::settings::{Mode, Settings};

/// The PeerAuthentications that can concern the workloads of a namespace.
#[derive(Clone, Default, Debug)]
pub struct Levels<'a> {
    /// Those with a selector, in the namespace itself.
    pub selecting: Vec<&'a Authentication>,
    /// The namespace's.
    pub namespace: Option<&'a Authentication>,
    /// The mesh's.
    pub mesh: Option<&'a Authentication>,
}

impl<'a> Levels<'a> {
    /// Sorts out those of a namespace and of the root namespace.
    pub fn new(
        own: impl Iterator<Item = &'a Authentication>,
        root: impl Iterator<Item = &'a Authentication>,
        own_is_root: bool,
    ) -> Self {
        let mut levels = Self::default();
        let elder = |known: Option<&'a Authentication>, one: &'a Authentication| match known {
            Some(known) if age(known) <= age(one) => Some(known),
            _ => Some(one),
        };
        for one in own.filter(|_| !own_is_root) {
            if one.selector.is_some() {
                levels.selecting.push(one);
            } else {
                levels.namespace = elder(levels.namespace, one);
            }
        }
        // One that selects in the root namespace has no effect on workloads that tunnels serve.
        for one in root.filter(|one| one.selector.is_none()) {
            levels.mesh = elder(levels.mesh, one);
        }
        levels.selecting.sort_by_key(|one| age(one));
        levels
    }

    /// The mode of workloads that nothing selects.
    pub fn wider(&self, settings: &Settings) -> Mode {
        [self.namespace, self.mesh]
            .into_iter()
            .flatten()
            .find_map(own_mode)
            .unwrap_or(settings.mutual_tls)
    }

    /// The one that selects a workload with these labels.
    pub fn of(&self, labels: &Labels) -> Option<&'a Authentication> {
        let selects = |one: &&&Authentication| one.selector.as_ref().is_some_and(|one| one.selects(labels));
        self.selecting.iter().find(selects).copied()
    }
}

fn age(one: &Authentication) -> (i64, &Name) {
    (one.meta.created, &one.meta.name)
}

fn own_mode(one: &Authentication) -> Option<Mode> {
    if !one.unknown.is_empty() || !one.invalid_ports.is_empty() {
        return Some(Mode::Strict);
    }
    mode(one.mode)
}

fn mode(mode: MutualTlsMode) -> Option<Mode> {
    match mode {
        MutualTlsMode::Unset => None,
        MutualTlsMode::Disable | MutualTlsMode::Permissive => Some(Mode::Permissive),
        MutualTlsMode::Strict => Some(Mode::Strict),
    }
}

/// What a PeerAuthentication with a selector makes of the ports of its workloads.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Ports {
    /// All of them are the same.
    All(Mode),
    /// All must see proof but these.
    StrictBut(Vec<u16>),
    /// These must see proof.
    Strict(Vec<u16>),
}

fn ports(one: &Authentication, wider: Mode) -> Ports {
    let base = own_mode(one).unwrap_or(wider);
    // What is not understood has no exceptions.
    if !one.unknown.is_empty() || !one.invalid_ports.is_empty() {
        return Ports::All(base);
    }
    let differ = one
        .ports
        .iter()
        .filter(|(_, own)| mode(*own).is_some_and(|own| own != base));
    let differ: Vec<u16> = differ.map(|(port, _)| *port).collect();
    match base {
        _ if differ.is_empty() => Ports::All(base),
        Mode::Strict => Ports::StrictBut(differ),
        Mode::Permissive => Ports::Strict(differ),
    }
}

/// The policy that a workload with these labels names, for the proof of its callers.
pub fn policy_of(levels: &Levels<'_>, labels: &Labels, settings: &Settings) -> Option<PolicyKey> {
    let wider = levels.wider(settings);
    let ports = levels.of(labels).map(|one| (one, ports(one, wider)));
    match ports {
        Some((one, Ports::StrictBut(_) | Ports::Strict(_))) => Some(names::authentication(&one.meta.name)),
        Some((_, Ports::All(Mode::Permissive))) => None,
        None if wider == Mode::Permissive => None,
        Some((_, Ports::All(Mode::Strict))) | None => Some(names::strict(settings)),
    }
}

/// The policy that is made of a PeerAuthentication, if its ports differ. `wider` is the mode of its namespace.
pub fn translate(one: &Authentication, wider: Mode, settings: &Settings) -> Option<Policy> {
    if one.selector.is_none() || one.meta.name.namespace == settings.root_namespace {
        return None;
    }
    let groups = match ports(one, wider) {
        Ports::All(_) => return None,
        Ports::StrictBut(but) => {
            let except = but.into_iter().map(|port| {
                clause(Match {
                    not_destination_ports: [port].into(),
                    ..Match::default()
                })
            });
            let clauses = std::iter::once(clause(nobody())).chain(except);
            Box::from([Group {
                clauses: clauses.collect(),
            }])
        }
        // Each port by itself: together they would have to match all at once.
        Ports::Strict(ports) => ports
            .into_iter()
            .map(|port| Group {
                clauses: [clause(Match {
                    destination_ports: [port].into(),
                    ..nobody()
                })]
                .into(),
            })
            .collect(),
    };
    Some(refusing(names::authentication(&one.meta.name), groups))
}

/// The policy that refuses who does not prove who they are, on all ports of whoever names it.
pub fn strict(settings: &Settings) -> Policy {
    let group = Group {
        clauses: [clause(nobody())].into(),
    };
    refusing(names::strict(settings), [group].into())
}

fn refusing(key: PolicyKey, groups: Box<[Group]>) -> Policy {
    Policy {
        key,
        scope: PolicyScope::WorkloadSelector,
        action: Action::Deny,
        groups,
        dry_run: false,
    }
}

/// Who has not proved who they are.
fn nobody() -> Match {
    Match {
        not_principals: [StringMatch::Presence].into(),
        ..Match::default()
    }
}

fn clause(one: Match) -> Clause {
    Clause {
        matches: [one].into(),
    }
}
