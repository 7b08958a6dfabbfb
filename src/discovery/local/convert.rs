//! A document as changes of the mesh.

use std::collections::HashMap;
use std::sync::Arc;

use adit_mesh::policy::PolicyScope;
use adit_mesh::registry::{Rejection, ResourceName, Update};
use adit_mesh::workload::NetworkAddress;
use adit_mesh::{Interner, Registry};
use serde::Deserializer;
use serde_json::Value;

use super::document::{self, Invalid, Node, NotYaml};
use super::endpoints::Endpoints;
use super::parts::{Part, Parts};
use super::{events, policy, service, workload};
use crate::Rejected;

/// What a document says.
#[derive(Debug, Default)]
pub struct Mesh {
    /// Every resource by name, as it is or as a rejection. In no order: a registry that is filled in the order of its
    /// keys has nodes that are half empty.
    pub resources: HashMap<ResourceName, Update>,
    /// What was rejected, in the order of the document.
    pub rejected: Vec<Rejected>,
    /// What looks like a mistake and is none.
    pub warnings: Vec<String>,
    /// How many workloads, services and policies there are.
    pub counts: [usize; 3],
    /// The file.
    origin: String,
}

/// Reads the text of a document, as [`read`] does.
///
/// # Errors
/// It is not YAML; or it is, and its top level is wrong.
pub(super) fn parse(
    text: &str,
    origin: &str,
    texts: &mut Interner,
    known: &Registry,
) -> Result<Result<Mesh, Invalid>, NotYaml> {
    if let Some(mesh) = events::parse(text, |document| read(document, origin, texts, known)) {
        return Ok(mesh);
    }
    document::parse(text, |document| read(document, origin, texts, known))
}

/// Reads a document that came from `origin`, resource by resource. What is in `known` already is taken from there
/// instead of being made a second time. A resource that cannot be understood rejects itself; only a wrong top level
/// rejects all.
///
/// # Errors
/// Those of the document's own format, and within them what is wrong with its top level.
pub(super) fn read<'de, D: Deserializer<'de>>(
    document: D,
    origin: &str,
    texts: &mut Interner,
    known: &Registry,
) -> Result<Result<Mesh, Invalid>, D::Error> {
    let mut conversion = Conversion {
        mesh: Mesh {
            origin: origin.to_owned(),
            ..Mesh::default()
        },
        texts,
        known,
        endpoints: Endpoints::default(),
        services_follow: true,
        waiting: Vec::new(),
    };
    let top_level = document.deserialize_any(Parts(&mut conversion))?;
    Ok(top_level.map(|()| conversion.finish()))
}

/// Makes a mesh of the resources of a document.
pub(super) struct Conversion<'a> {
    mesh: Mesh,
    texts: &'a mut Interner,
    known: &'a Registry,
    endpoints: Endpoints,
    /// The document's services have not been seen yet.
    services_follow: bool,
    /// Workloads whose ports stand with services that have not been seen yet, as in dumps of stock ztunnel.
    waiting: Vec<(usize, Value)>,
}

impl Conversion<'_> {
    /// Takes the next item of a part.
    pub(super) fn take(&mut self, part: Part, value: Value) {
        let count = &mut self.mesh.counts[part as usize];
        let index = std::mem::replace(count, *count + 1);
        match part {
            Part::Workloads => {
                let waits = self.services_follow && value.get("services").is_some_and(Value::is_array);
                if waits {
                    self.waiting.push((index, value));
                } else {
                    self.workload(index, &value);
                }
            }
            Part::Services => self.service(index, &value),
            Part::Policies => self.policy(index, &value),
        }
    }

    /// All items of the part have been taken.
    pub(super) fn end_of(&mut self, part: Part) {
        if part == Part::Services {
            self.services_follow = false;
        }
    }

    fn finish(mut self) -> Mesh {
        for (index, value) in std::mem::take(&mut self.waiting) {
            self.workload(index, &value);
        }
        self.mesh
    }

    fn workload(&mut self, index: usize, value: &Value) {
        let list = Node::ROOT.part(Part::Workloads.key(), &Value::Null);
        let node = list.item(index, value);
        self.mesh
            .warn_of_unknown_keys(&node, workload::KEYS, workload::NESTED);
        let update = match workload::read(&node, &self.endpoints, self.texts) {
            Ok(workload) => Update::Workload(match self.known.workload(&workload.uid) {
                Some(known) if **known == workload => Arc::clone(known),
                _ => Arc::new(workload),
            }),
            Err(error) => Update::Reject(workload::reject(&node, &error.of(&self.mesh.origin))),
        };
        self.mesh.add(update);
    }

    fn service(&mut self, index: usize, value: &Value) {
        let list = Node::ROOT.part(Part::Services.key(), &Value::Null);
        let node = list.item(index, value);
        self.endpoints.add(&node);
        self.mesh
            .warn_of_unknown_keys(&node, service::KEYS, service::NESTED);
        let update = match service::read(&node, self.texts) {
            Ok(service) => Update::Service(match self.known.service(&service.key) {
                Some(known) if **known == service => Arc::clone(known),
                _ => Arc::new(service),
            }),
            Err(error) => Update::Reject(service::reject(&node, &error.of(&self.mesh.origin))),
        };
        self.mesh.add(update);
    }

    fn policy(&mut self, index: usize, value: &Value) {
        let list = Node::ROOT.part(Part::Policies.key(), &Value::Null);
        let node = list.item(index, value);
        let update = match policy::read(&node, self.texts) {
            Ok(policy) => Update::Policy(Arc::new(policy)),
            Err(error) => Update::Reject(policy::reject(&node, &error.of(&self.mesh.origin))),
        };
        self.mesh.add(update);
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
