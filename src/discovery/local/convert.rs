//! A document as changes of the mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

use adit_mesh::Interner;
use adit_mesh::policy::PolicyScope;
use adit_mesh::registry::{Rejection, ResourceName, Update};
use adit_mesh::workload::NetworkAddress;
use serde_json::Value;

use super::document::{Invalid, Node};
use super::endpoints::Endpoints;
use super::status::Rejected;
use super::{policy, service, workload};

/// The parts of the document that are the mesh.
const PARTS: &[&str] = &["workloads", "services", "policies"];
/// What a dump has beside them, and a file need not have.
const PARTS_OF_DUMPS: &[&str] = &[
    "certificates",
    "config",
    "stagedServices",
    "version",
    "workloadState",
];

/// What a document says.
#[derive(Debug, Default)]
pub struct Mesh {
    /// Every resource by name, as it is or as a rejection.
    pub resources: BTreeMap<ResourceName, Update>,
    /// What was rejected, in the order of the document.
    pub rejected: Vec<Rejected>,
    /// What looks like a mistake and is none.
    pub warnings: Vec<String>,
    /// How many workloads, services and policies there are.
    pub counts: [usize; 3],
    /// The file.
    origin: String,
}

/// Reads a document that came from `origin`. A resource that cannot be understood rejects itself; only a wrong top
/// level rejects all.
pub(super) fn read(document: &Value, origin: &str, texts: &mut Interner) -> Result<Mesh, Invalid> {
    let root = Node::root(document);
    check_top_level(&root)?;
    let [workloads, services, policies] = [PARTS[0], PARTS[1], PARTS[2]].map(|part| root.field(part));
    let endpoints = Endpoints::of(services.as_ref());
    let [workloads, services, policies] = [&workloads, &services, &policies].map(items);
    let (workloads, services, policies) = (workloads?, services?, policies?);
    let mut mesh = Mesh {
        counts: [workloads.len(), services.len(), policies.len()],
        origin: origin.to_owned(),
        ..Mesh::default()
    };
    for node in workloads {
        mesh.warn_of_unknown_keys(&node, workload::KEYS, workload::NESTED);
        mesh.add(workload::read(&node, &endpoints, texts).map_or_else(
            |error| Update::Reject(workload::reject(&node, &error.of(origin))),
            |workload| Update::Workload(Arc::new(workload)),
        ));
    }
    for node in services {
        mesh.warn_of_unknown_keys(&node, service::KEYS, service::NESTED);
        mesh.add(service::read(&node, texts).map_or_else(
            |error| Update::Reject(service::reject(&node, &error.of(origin))),
            |service| Update::Service(Arc::new(service)),
        ));
    }
    for node in policies {
        mesh.add(policy::read(&node, texts).map_or_else(
            |error| Update::Reject(policy::reject(&node, &error.of(origin))),
            |policy| Update::Policy(Arc::new(policy)),
        ));
    }
    Ok(mesh)
}

/// A wrong top level must not be passed over: a misspelled `policies` would open what it was to close, and a file that
/// is only half written yet would end every connection.
fn check_top_level(root: &Node<'_>) -> Result<(), Invalid> {
    if root.is_empty() {
        return Err(root.invalid("it is empty; a mesh without anything is written as \"workloads: []\""));
    }
    if !root.is_mapping() {
        return Err(root.expected("a mapping with the keys workloads, services and policies"));
    }
    let unknown = root.unknown_keys(PARTS);
    match unknown.iter().find(|key| !PARTS_OF_DUMPS.contains(key)) {
        Some(key) => Err(root.invalid(format_args!(
            "unknown key {key:?} (allowed: {})",
            PARTS.join(", ")
        ))),
        None => Ok(()),
    }
}

fn items<'a>(part: &'a Option<Node<'a>>) -> Result<Vec<Node<'a>>, Invalid> {
    match part {
        Some(list) => Ok(list.items()?.collect()),
        None => Ok(Vec::new()),
    }
}

impl Mesh {
    fn warn_of_unknown_keys(&mut self, node: &Node<'_>, known: &[&str], nested: &[(&str, &[&str])]) {
        for key in node.unknown_keys(known) {
            self.warnings
                .push(format!("{node}: unknown key {key:?} is passed over"));
        }
        for (key, known) in nested {
            if let Some(child) = node.field(key) {
                self.warn_of_unknown_keys(&child, known, &[]);
            }
        }
    }

    /// Adds a resource. Two of one name reject each other: whichever counted, the other would be lost in silence.
    fn add(&mut self, update: Update) {
        let name = name_of(&update);
        let update = match self.resources.remove(&name) {
            None => update,
            Some(earlier) => Update::Reject(clash(name.clone(), &self.origin, earlier, update)),
        };
        if let Update::Reject(rejection) = &update {
            self.rejected.push(Rejected {
                name: name.clone(),
                reason: rejection.reason.to_string(),
            });
        }
        self.resources.insert(name, update);
    }
}

/// The name of what an update is about.
fn name_of(update: &Update) -> ResourceName {
    match update {
        Update::Workload(workload) => ResourceName::Workload(workload.uid.clone()),
        Update::Service(service) => ResourceName::Service(service.key.clone()),
        Update::Policy(policy) => ResourceName::Policy(policy.key.clone()),
        Update::Remove(name) => name.clone(),
        Update::Reject(rejection) => rejection.name.clone(),
    }
}

/// The rejection of two resources of one name: it claims what either claims.
fn clash(name: ResourceName, origin: &str, one: Update, other: Update) -> Rejection {
    let reason = format!("{origin}: {name} stands twice; keep one, or give the other a name of its own");
    let (one, other) = (claims_of(one), claims_of(other));
    Rejection {
        addresses: one.addresses.iter().chain(&other.addresses).cloned().collect(),
        ranges: one.ranges.iter().chain(&other.ranges).cloned().collect(),
        scope: widest(one.scope, other.scope),
        ..Rejection::new(name, reason.into())
    }
}

/// The wider of two scopes; one that could not be read counts as a namespace.
fn widest(one: Option<PolicyScope>, other: Option<PolicyScope>) -> Option<PolicyScope> {
    let reach = |scope: &Option<PolicyScope>| match scope {
        Some(PolicyScope::Global) => 2,
        Some(PolicyScope::Namespace) | None => 1,
        Some(PolicyScope::WorkloadSelector) => 0,
    };
    [one, other].into_iter().max_by_key(reach).flatten()
}

/// What a resource claims, as a rejection of it would.
fn claims_of(update: Update) -> Rejection {
    let empty = Rejection::new(name_of(&update), Default::default());
    match update {
        Update::Workload(workload) => {
            let network = &workload.network;
            let of = |ip: &_| NetworkAddress::new(network.clone(), *ip);
            Rejection {
                addresses: workload.addresses.iter().map(of).collect(),
                ..empty
            }
        }
        Update::Service(service) => Rejection {
            addresses: service.addresses.clone(),
            ranges: service.ranges.clone(),
            ..empty
        },
        Update::Policy(policy) => Rejection {
            scope: Some(policy.scope),
            ..empty
        },
        Update::Reject(rejection) => rejection,
        Update::Remove(_) => empty,
    }
}
