//! What a control plane serves, as an immutable snapshot of encoded resources.
//!
//! A resource is encoded when it changes, once, and its bytes are shared by all clients and all snapshots. A snapshot is
//! made of persistent maps, so that a client's state can simply be the snapshot that it has: what it must be told is the
//! difference, which skips everything that both share. Of one step from a snapshot to the next the difference is kept
//! with it, because all clients that keep up ask for just that one.

mod resource;

use std::sync::Arc;
use std::time::Instant;

use adit_mesh::Text;
use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

pub use resource::Resource;

use super::Kind;

/// One change of a catalog.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A resource is like this now.
    Put(Resource),
    /// There is no resource of this name in this table any more. Naming one that never was is no mistake.
    Remove(Table, Text),
}

/// The two sets of names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    /// Workloads by uid and services by `<namespace>/<hostname>`.
    Addresses,
    /// Policies by `<namespace>/<name>`.
    Authorizations,
}

/// Everything that is served. Cloning it is O(1).
#[derive(Clone, Debug)]
pub struct Catalog {
    generation: u64,
    addresses: OrdMap<Text, Resource>,
    authorizations: OrdMap<Text, Resource>,
    /// Pairs of a key by which a resource may be asked for, beside its name, and that name.
    keys: OrdSet<(Text, Text)>,
    /// Pairs of a service and a workload that is an endpoint of it.
    members: OrdSet<(Text, Text)>,
    /// Pairs of a node and a workload on it.
    nodes: OrdSet<(Text, Text)>,
    step: Arc<Step>,
}

/// How a snapshot differs from its predecessor.
#[derive(Debug)]
struct Step {
    from: u64,
    /// When the oldest of the events behind it was seen.
    since: Instant,
    addresses: Difference,
    authorizations: Difference,
}

/// What makes one snapshot of the other.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Difference {
    /// What is new or different.
    pub changed: Vec<Resource>,
    /// What is gone.
    pub removed: Vec<Text>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

impl Catalog {
    /// A catalog without anything in it, at generation 0.
    pub fn new(now: Instant) -> Self {
        let step = Step {
            from: 0,
            since: now,
            addresses: Difference::default(),
            authorizations: Difference::default(),
        };
        Self {
            generation: 0,
            addresses: OrdMap::new(),
            authorizations: OrdMap::new(),
            keys: OrdSet::new(),
            members: OrdSet::new(),
            nodes: OrdSet::new(),
            step: Arc::new(step),
        }
    }

    /// The next snapshot; `None` if the changes change nothing. `since` is when the oldest of the events behind them was
    /// seen. Of two changes with one name the later counts.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = Change>, since: Instant) -> Option<Self> {
        let mut next = self.clone();
        for change in changes {
            match change {
                Change::Put(resource) => next.put(resource),
                Change::Remove(table, name) => next.remove(table, &name),
            }
        }
        let addresses = differ(&self.addresses, &next.addresses);
        let authorizations = differ(&self.authorizations, &next.authorizations);
        if addresses.is_empty() && authorizations.is_empty() {
            return None;
        }
        next.generation += 1;
        next.step = Arc::new(Step {
            from: self.generation,
            since,
            addresses,
            authorizations,
        });
        Some(next)
    }

    /// Counts the snapshots before this one.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When the oldest of the events that made it of its predecessor was seen.
    pub fn since(&self) -> Instant {
        self.step.since
    }

    /// How many resources of a kind there are.
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Address => self.addresses.len(),
            Kind::Workload => self.all(kind).count(),
            Kind::Authorization => self.authorizations.len(),
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.authorizations.is_empty()
    }

    /// A resource by its name.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Resource> {
        self.map(kind).get(name).filter(|resource| resource.is(kind))
    }

    /// All resources of a kind, by name.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Resource> {
        self.map(kind).values().filter(move |resource| resource.is(kind))
    }

    /// What whoever has `before` must be told to have this one.
    pub fn difference(&self, before: &Self, kind: Kind) -> Difference {
        let kept = match kind {
            Kind::Address | Kind::Workload => &self.step.addresses,
            Kind::Authorization => &self.step.authorizations,
        };
        let mut difference = if self.step.from == before.generation {
            kept.clone()
        } else {
            differ(before.map(kind), self.map(kind))
        };
        if kind == Kind::Workload {
            difference.changed.retain(|resource| resource.is(kind));
            difference.removed.retain(|name| before.get(kind, name).is_some());
        }
        difference
    }

    /// Everything that a key stands for: a uid, a service's name, or `<network>/<address>` of either; with a service come
    /// its endpoints, because to know it is to call them.
    pub fn resolve(&self, key: &str) -> Vec<&Resource> {
        let mut found: Vec<_> = self.addresses.get(key).into_iter().collect();
        let named = pairs(&self.keys, key).filter_map(|name| self.addresses.get(name));
        found.extend(named);
        let services: Vec<_> = found
            .iter()
            .filter(|resource| !resource.is(Kind::Workload))
            .map(|service| service.name().clone())
            .collect();
        for service in services {
            found.extend(pairs(&self.members, &service).filter_map(|name| self.addresses.get(name)));
        }
        found
    }

    /// The workloads on a node; none on the node "".
    pub fn on_node(&self, node: &str) -> impl Iterator<Item = &Resource> {
        pairs(&self.nodes, node).filter_map(|name| self.addresses.get(name))
    }

    /// Whether nothing is left of what is gone.
    #[cfg(test)]
    pub(super) fn has_empty_indexes(&self) -> bool {
        self.keys.is_empty() && self.members.is_empty() && self.nodes.is_empty()
    }

    fn map(&self, kind: Kind) -> &OrdMap<Text, Resource> {
        match kind {
            Kind::Address | Kind::Workload => &self.addresses,
            Kind::Authorization => &self.authorizations,
        }
    }

    fn put(&mut self, resource: Resource) {
        let table = resource.table();
        let name = resource.name().clone();
        let map = match table {
            Table::Addresses => &mut self.addresses,
            Table::Authorizations => &mut self.authorizations,
        };
        // One that is equal keeps its place, so that what is shared stays shared.
        if map.get(&name) == Some(&resource) {
            return;
        }
        if let Some(before) = map.insert(name.clone(), resource.clone()) {
            self.forget(&before);
        }
        self.keys
            .extend(resource.keys().iter().map(|key| (key.clone(), name.clone())));
        let services = resource.services().iter();
        self.members
            .extend(services.map(|service| (service.clone(), name.clone())));
        if !resource.node().is_empty() {
            self.nodes.insert((resource.node().clone(), name));
        }
    }

    fn remove(&mut self, table: Table, name: &Text) {
        let map = match table {
            Table::Addresses => &mut self.addresses,
            Table::Authorizations => &mut self.authorizations,
        };
        if let Some(gone) = map.remove(name) {
            self.forget(&gone);
        }
    }

    fn forget(&mut self, resource: &Resource) {
        let name = resource.name();
        for key in resource.keys() {
            self.keys.remove(&(key.clone(), name.clone()));
        }
        for service in resource.services() {
            self.members.remove(&(service.clone(), name.clone()));
        }
        self.nodes.remove(&(resource.node().clone(), name.clone()));
    }
}

/// The second of each pair whose first is `key`.
fn pairs<'a>(all: &'a OrdSet<(Text, Text)>, key: &str) -> impl Iterator<Item = &'a Text> + use<'a> {
    let key = Text::from(key);
    all.range((key.clone(), Text::empty())..)
        .take_while(move |(first, _)| *first == key)
        .map(|(_, second)| second)
}

fn differ(before: &OrdMap<Text, Resource>, after: &OrdMap<Text, Resource>) -> Difference {
    let mut difference = Difference::default();
    for item in before.diff(after) {
        match item {
            DiffItem::Add(_, resource)
            | DiffItem::Update {
                new: (_, resource), ..
            } => difference.changed.push(resource.clone()),
            DiffItem::Remove(name, _) => difference.removed.push(name.clone()),
        }
    }
    difference
}
