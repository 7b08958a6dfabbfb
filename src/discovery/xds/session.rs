//! What one client has of one kind, and what it must be told next: a pure state machine.
//!
//! Either the client wants everything; then its state is the snapshot that it has, and the next response is the
//! difference to the present one. Or it asks for what it needs, by key; then its state is the keys, and the version of
//! every resource that was sent for them.
//!
//! One response is out at a time. What changes meanwhile is in the next one, merged, so that a client that is slow or
//! does not answer costs what it costs and no more. A response that was refused is not sent again: the client has said
//! that it keeps what it had before, and the next change brings the next chance.
//!
//! The rules are those of Envoy's "xDS protocol", section "Incremental xDS", and of Istio's server for what it leaves
//! open: the first request of a kind that names nothing, or `*`, wants everything; one that takes `*` back in the same
//! breath wants nothing yet. The first request is always answered, also by nothing, because the answer says that the
//! client is up to date.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use adit_mesh::Text;
use adit_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::catalog::{Catalog, Resource};
use super::{Kind, catalog};

/// The name that stands for everything.
const EVERYTHING: &str = "*";

/// What one client has of one kind.
#[derive(Debug)]
pub struct Session {
    kind: Kind,
    /// The node whose workloads a client that asks by key is sent unasked.
    node: Text,
    wants: Wants,
    nonces: u64,
    outstanding: Option<Outstanding>,
    /// The first request is still to be answered.
    fresh: bool,
    /// What is gone and was not told yet.
    gone: BTreeSet<Text>,
    status: Progress,
}

/// Whether a response may say what is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removals {
    /// It says so.
    Told,
    /// A later one does.
    Kept,
}

#[derive(Debug)]
enum Wants {
    Everything(Has),
    Keys(Keys),
}

/// What a client that wants everything has.
#[derive(Debug)]
enum Has {
    /// What it said that it has from a former stream: names, and versions as they were sent.
    Told(BTreeMap<String, String>),
    /// Everything of this snapshot.
    Snapshot(Catalog),
}

/// What a client that asks by key wants and has.
#[derive(Debug, Default)]
struct Keys {
    wanted: BTreeSet<String>,
    /// Asked for since the last response: each is answered, whatever the client has.
    asked: BTreeSet<String>,
    /// By name: the version, or `None` for what it said that it has in a version that is not ours.
    sent: BTreeMap<Text, Option<u64>>,
    /// The generation that `sent` reflects.
    generation: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    nonce: u64,
    generation: u64,
    since: Instant,
}

/// How far a client has come, for people and metrics.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Progress {
    /// The generation of the last response.
    pub sent: Option<u64>,
    /// When the last response was made.
    pub sent_at: Option<Instant>,
    /// The last generation that was accepted.
    pub accepted: Option<u64>,
    /// When it was accepted.
    pub accepted_at: Option<Instant>,
    /// Responses that were refused.
    pub refusals: u64,
    /// Why the last response was refused; `None` if it was accepted.
    pub refused: Option<String>,
    /// It asks by key.
    pub on_demand: bool,
}

/// What a request was.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// About something else than the last response: what the client wants, or an answer that comes late.
    None,
    /// The last response was accepted; the oldest event in it was seen then.
    Accepted {
        /// When the oldest event of the accepted response was seen.
        since: Instant,
    },
    /// The last response was refused.
    Refused {
        /// Why, in the client's words.
        reason: String,
    },
}

impl Session {
    /// Begins with the first request of a kind. `node` is the client's node.
    pub fn new(kind: Kind, node: Text, first: &DeltaDiscoveryRequest) -> Self {
        let everything = |names: &[String]| names.iter().any(|name| name == EVERYTHING);
        let subscribe = &first.resource_names_subscribe;
        let wildcard =
            (subscribe.is_empty() || everything(subscribe)) && !everything(&first.resource_names_unsubscribe);
        let told = &first.initial_resource_versions;
        let wants = if wildcard {
            Wants::Everything(Has::Told(told.clone()))
        } else {
            Wants::Keys(Keys::new(told, subscribe))
        };
        Self {
            kind,
            node,
            wants,
            nonces: 0,
            outstanding: None,
            fresh: true,
            gone: BTreeSet::new(),
            status: Progress {
                on_demand: !wildcard,
                ..Progress::default()
            },
        }
    }

    /// How far the client has come.
    pub fn progress(&self) -> &Progress {
        &self.status
    }

    /// Takes a later request: an answer to a response, a change of what is wanted, or both.
    pub fn request(&mut self, request: &DeltaDiscoveryRequest, now: Instant) -> Answer {
        self.subscribe(request);
        let answered = self
            .outstanding
            .filter(|out| request.response_nonce == nonce(out.nonce));
        let Some(outstanding) = answered else {
            return Answer::None;
        };
        self.outstanding = None;
        if let Some(error) = &request.error_detail {
            self.status.refusals += 1;
            self.status.refused = Some(error.message.clone());
            return Answer::Refused {
                reason: error.message.clone(),
            };
        }
        self.status.refused = None;
        self.status.accepted = Some(outstanding.generation);
        self.status.accepted_at = Some(now);
        Answer::Accepted {
            since: outstanding.since,
        }
    }

    /// Whether the client has been sent everything of this catalog, but for what is gone.
    pub fn has(&self, catalog: &Catalog) -> bool {
        match &self.wants {
            Wants::Everything(Has::Told(_)) => false,
            Wants::Everything(Has::Snapshot(sent)) => sent.generation() == catalog.generation(),
            Wants::Keys(keys) => keys.generation == Some(catalog.generation()),
        }
    }

    /// What the client must be told now: nothing while it has not answered, or if it has everything that it wants.
    /// With [`Removals::Kept`] what is gone is told later.
    pub fn response(
        &mut self,
        catalog: &Catalog,
        removals: Removals,
        now: Instant,
    ) -> Option<DeltaDiscoveryResponse> {
        if self.outstanding.is_some() {
            return None;
        }
        let (resources, removed) = match &mut self.wants {
            Wants::Everything(has) => {
                let (changed, removed) = everything(self.kind, has, catalog);
                self.gone.extend(removed);
                // What has come back is not gone.
                self.gone.retain(|name| catalog.get(self.kind, name).is_none());
                let told = match removals {
                    Removals::Told => std::mem::take(&mut self.gone),
                    Removals::Kept => BTreeSet::new(),
                };
                (changed, told.iter().map(ToString::to_string).collect())
            }
            Wants::Keys(keys) => keys.response(self.kind, &self.node, catalog),
        };
        if resources.is_empty() && removed.is_empty() && !self.fresh {
            return None;
        }
        self.fresh = false;
        self.nonces += 1;
        self.outstanding = Some(Outstanding {
            nonce: self.nonces,
            generation: catalog.generation(),
            since: catalog.since(),
        });
        self.status.sent = Some(catalog.generation());
        self.status.sent_at = Some(now);
        Some(DeltaDiscoveryResponse {
            system_version_info: catalog.generation().to_string(),
            resources,
            type_url: self.kind.url().to_owned(),
            nonce: nonce(self.nonces),
            removed_resources: removed,
        })
    }

    fn subscribe(&mut self, request: &DeltaDiscoveryRequest) {
        let (subscribe, unsubscribe) = (
            &request.resource_names_subscribe,
            &request.resource_names_unsubscribe,
        );
        match &mut self.wants {
            Wants::Keys(keys) => {
                keys.wanted.retain(|key| !unsubscribe.contains(key));
                let named = subscribe.iter().filter(|name| *name != EVERYTHING);
                keys.asked.extend(named.clone().cloned());
                keys.wanted.extend(named.cloned());
            }
            // Whoever has everything has what it asks for by name.
            Wants::Everything(_) => {}
        }
    }
}

fn nonce(number: u64) -> String {
    number.to_string()
}

type Told = (Vec<bytes::Bytes>, Vec<String>);

/// The difference to the snapshot, or to what it said that it has.
fn everything(kind: Kind, has: &mut Has, catalog: &Catalog) -> (Vec<bytes::Bytes>, Vec<Text>) {
    let difference = match has {
        Has::Snapshot(before) => catalog.difference(before, kind),
        Has::Told(versions) => {
            let changed = catalog.all(kind).filter(|resource| {
                let told = versions.get(resource.name().as_str());
                told.is_none_or(|version| read(version) != Some(resource.version()))
            });
            let gone = versions.keys().filter(|name| catalog.get(kind, name).is_none());
            catalog::Difference {
                changed: changed.cloned().collect(),
                removed: gone.map(|name| Text::from(name.as_str())).collect(),
            }
        }
    };
    *has = Has::Snapshot(catalog.clone());
    (
        difference
            .changed
            .iter()
            .map(|resource| resource.encoded(kind))
            .collect(),
        difference.removed,
    )
}

/// A version as we write it; one of another implementation never equals one of ours.
fn read(version: &str) -> Option<u64> {
    let ours = version.len() == 16;
    u64::from_str_radix(version, 16).ok().filter(|_| ours)
}

impl Keys {
    fn new(told: &BTreeMap<String, String>, subscribe: &[String]) -> Self {
        let names: BTreeSet<_> = subscribe
            .iter()
            .filter(|name| *name != EVERYTHING)
            .cloned()
            .collect();
        Self {
            // What it has it wants to keep.
            wanted: told.keys().cloned().chain(names.iter().cloned()).collect(),
            asked: names,
            sent: told
                .iter()
                .map(|(name, version)| (Text::from(name.as_str()), read(version)))
                .collect(),
            generation: None,
        }
    }

    fn response(&mut self, kind: Kind, node: &str, catalog: &Catalog) -> Told {
        if self.asked.is_empty() && self.generation == Some(catalog.generation()) {
            return Told::default();
        }
        let mut wanted: BTreeMap<&Text, &Resource> = BTreeMap::new();
        let mut resend: BTreeSet<&Text> = BTreeSet::new();
        let mut removed = Vec::new();
        for key in &self.wanted {
            let found = resolve(catalog, kind, key);
            let asked = self.asked.contains(key);
            if found.is_empty() && asked {
                removed.push(key.clone());
            }
            for resource in found {
                wanted.insert(resource.name(), resource);
                if asked {
                    resend.insert(resource.name());
                }
            }
        }
        let own = catalog.on_node(node).filter(|resource| resource.is(kind));
        wanted.extend(own.map(|resource| (resource.name(), resource)));
        let gone: Vec<_> = self
            .sent
            .keys()
            .filter(|name| !wanted.contains_key(name))
            .cloned()
            .collect();
        let news: Vec<_> = wanted
            .into_values()
            .filter(|resource| {
                resend.contains(resource.name())
                    || self.sent.get(resource.name()) != Some(&Some(resource.version()))
            })
            .collect();
        for name in gone {
            self.sent.remove(&name);
            if !removed.iter().any(|key| *key == name.as_str()) {
                removed.push(name.to_string());
            }
        }
        for resource in &news {
            self.sent
                .insert(resource.name().clone(), Some(resource.version()));
        }
        let resources = news
            .into_iter()
            .map(|resource| resource.encoded_with_keys(kind))
            .collect();
        self.asked.clear();
        self.generation = Some(catalog.generation());
        (resources, removed)
    }
}

fn resolve<'a>(catalog: &'a Catalog, kind: Kind, key: &str) -> Vec<&'a Resource> {
    match kind {
        Kind::Authorization => catalog.get(kind, key).into_iter().collect(),
        Kind::Address | Kind::Workload => {
            let mut found = catalog.resolve(key);
            found.retain(|resource| resource.is(kind));
            found
        }
    }
}
