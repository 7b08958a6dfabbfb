//! What we have of a control plane's resources: their versions, what of them was refused, and the store that they are in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use adit_mesh::registry::{Rejection, ResourceName, Update};
use adit_mesh::{Interner, Store, Text};
use adit_proto::discovery::{Any, DeltaDiscoveryResponse, Resource};
use prost::Message;
use tokio::sync::watch;

use crate::xds::Kind;
use crate::{Rejected, Status, wire};

/// The longest text of a refusal: it travels, and is kept by the control plane for each of its clients.
const LONGEST_REFUSAL: usize = 2000;

/// A control plane's resources, as far as they came.
#[derive(Debug)]
pub(super) struct Mirror {
    store: Arc<Store>,
    texts: Interner,
    addresses: Versions,
    authorizations: Versions,
    generation: u64,
}

/// A mesh as it is kept for a successor: encoded resources.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Saved {
    #[prost(bytes = "vec", repeated, tag = "1")]
    addresses: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    authorizations: Vec<Vec<u8>>,
}

/// What we have of a kind, by name.
#[derive(Debug, Default)]
struct Versions {
    /// The version that is applied; "" of what was never good, so that a control plane tells when it is gone.
    held: BTreeMap<Text, Box<str>>,
    refused: BTreeMap<Text, (ResourceName, Text)>,
    /// How many of those that are held are services.
    services: usize,
}

impl Versions {
    fn hold(&mut self, name: Text, version: Box<str>) {
        let service = usize::from(is_service(&name));
        if self.held.insert(name, version).is_none() {
            self.services += service;
        }
    }

    fn forget(&mut self, name: &str) {
        if self.held.remove(name).is_some() {
            self.services -= usize::from(is_service(name));
        }
        self.refused.remove(name);
    }
}

fn is_service(name: &str) -> bool {
    matches!(wire::address_name(name), ResourceName::Service(_))
}

impl Mirror {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            texts: Interner::default(),
            addresses: Versions::default(),
            authorizations: Versions::default(),
            generation: 0,
        }
    }

    /// What we say that we have, to a control plane that has not seen us before.
    pub(super) fn versions(&self, kind: Kind) -> BTreeMap<String, String> {
        let held = &self.of(kind).held;
        held.iter()
            .map(|(name, version)| (name.to_string(), version.to_string()))
            .collect()
    }

    /// Applies a response as one batch; what of it was refused, for the control plane's people.
    pub(super) fn apply(&mut self, kind: Kind, response: &DeltaDiscoveryResponse) -> Option<String> {
        let mut batch = Vec::with_capacity(response.resources.len() + response.removed_resources.len());
        let mut refusal = String::new();
        for bytes in &response.resources {
            let resource = match Resource::decode(bytes.clone()) {
                Ok(resource) => resource,
                Err(error) => {
                    note(&mut refusal, "a resource without a name", &error.to_string());
                    continue;
                }
            };
            let name = self.texts.intern(&resource.name);
            let read = self.read(kind, &resource);
            let versions = self.of_mut(kind);
            match read {
                Ok(update) => {
                    versions.refused.remove(&name);
                    versions.hold(name, resource.version.into());
                    batch.push(update);
                }
                Err(rejection) => {
                    note(&mut refusal, &resource.name, &rejection.reason);
                    tracing::error!("{} rejected: {}", rejection.name, rejection.reason);
                    if !versions.held.contains_key(&name) {
                        versions.hold(name.clone(), Box::default());
                    }
                    let known = (rejection.name.clone(), rejection.reason.clone());
                    versions.refused.insert(name, known);
                    batch.push(Update::Reject(rejection));
                }
            }
        }
        for name in &response.removed_resources {
            let versions = self.of_mut(kind);
            versions.forget(name);
            batch.push(Update::Remove(name_of(kind, name)));
        }
        self.generation = self.store.update(batch);
        (!refusal.is_empty()).then_some(refusal)
    }

    /// Whether nothing has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.held.is_empty() && self.authorizations.held.is_empty()
    }

    /// Everything that is good, as a control plane would send it.
    pub(super) fn saved(&self) -> Saved {
        let snapshot = self.store.snapshot();
        let resource = |versions: &Versions, kind: Kind, name: &str, content: Vec<u8>| {
            let version = versions.held.get(name)?;
            let resource = Resource {
                version: version.to_string(),
                resource: Some(Any {
                    type_url: kind.url().to_owned(),
                    value: content.into(),
                }),
                name: name.to_owned(),
                aliases: Vec::new(),
            };
            Some(resource.encode_to_vec())
        };
        let address = |name: &str, content| resource(&self.addresses, Kind::Address, name, content);
        let workloads = snapshot
            .workloads()
            .filter_map(|one| address(&one.uid, wire::write_workload(one)));
        let services = snapshot
            .services()
            .filter_map(|one| address(&one.key.to_string(), wire::write_service(one)));
        let policies = snapshot.policies().filter_map(|one| {
            let name = one.key.to_string();
            resource(
                &self.authorizations,
                Kind::Authorization,
                &name,
                wire::write_policy(one),
            )
        });
        Saved {
            addresses: workloads.chain(services).collect(),
            authorizations: policies.collect(),
        }
    }

    /// Takes what a predecessor saved for what a control plane has sent.
    pub(super) fn restore(&mut self, saved: Saved) {
        let response = |resources: Vec<Vec<u8>>| DeltaDiscoveryResponse {
            resources: resources.into_iter().map(Into::into).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        self.apply(Kind::Authorization, &response(saved.authorizations));
        self.apply(Kind::Address, &response(saved.addresses));
    }

    /// Tells how the source fares after a response; `complete` if everything that was asked for has come once. Whoever
    /// waits for that is woken after it can be seen, also when nothing else has changed.
    pub(super) fn publish(
        &self,
        complete: bool,
        status: &watch::Sender<Status>,
        changed: &watch::Sender<u64>,
        now: SystemTime,
    ) {
        let completed = complete && !self.store.is_complete();
        if completed {
            self.store.mark_complete();
        }
        let all = [&self.addresses, &self.authorizations];
        let refused = all.iter().flat_map(|versions| versions.refused.values());
        let rejected = refused.map(|(name, reason)| Rejected {
            name: name.clone(),
            reason: reason.to_string(),
        });
        let services = self.addresses.services;
        status.send_replace(Status {
            applied_at: Some(now),
            error: None,
            rejected: rejected.collect(),
            warnings: Arc::default(),
            workloads: self.addresses.held.len() - services,
            services,
            policies: self.authorizations.held.len(),
        });
        changed.send_if_modified(|seen| {
            let newer = *seen != self.generation;
            *seen = self.generation;
            newer || completed
        });
    }

    fn read(&mut self, kind: Kind, resource: &Resource) -> Result<Update, Rejection> {
        let name = &resource.name;
        let content = resource.resource.as_ref();
        let content = content.filter(|content| content.type_url == kind.url());
        let Some(content) = content else {
            let reason = "its content is missing, or of another type than was asked for";
            return Err(Rejection::new(name_of(kind, name), reason.into()));
        };
        match kind {
            Kind::Address | Kind::Workload => wire::read_address(name, &content.value, &mut self.texts),
            Kind::Authorization => wire::read_authorization(name, &content.value, &mut self.texts),
        }
    }

    fn of(&self, kind: Kind) -> &Versions {
        match kind {
            Kind::Address | Kind::Workload => &self.addresses,
            Kind::Authorization => &self.authorizations,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Versions {
        match kind {
            Kind::Address | Kind::Workload => &mut self.addresses,
            Kind::Authorization => &mut self.authorizations,
        }
    }
}

fn name_of(kind: Kind, name: &str) -> ResourceName {
    match kind {
        Kind::Address | Kind::Workload => wire::address_name(name),
        Kind::Authorization => ResourceName::Policy(wire::policy_name(name)),
    }
}

/// Adds a line to a refusal, as long as it is short.
fn note(refusal: &mut String, name: &str, reason: &str) {
    if refusal.len() > LONGEST_REFUSAL {
        return;
    }
    if !refusal.is_empty() {
        refusal.push_str("; ");
    }
    refusal.push_str(name);
    refusal.push_str(": ");
    refusal.push_str(reason);
}
