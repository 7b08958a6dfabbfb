//! Who is related to whom, where it is not in an object's own name.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use adit_mesh::Text;

use crate::objects::{Labels, Meta, Name, Namespace, Object, Selector};
use crate::translate::{entry, names, waypoint};

/// What can be selected by labels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Selectable {
    /// A pod.
    Pod,
    /// A WorkloadEntry.
    WorkloadEntry,
}

/// Who uses a waypoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum User {
    /// All that a namespace has, unless it says otherwise itself.
    Namespace(Text),
    /// A service.
    Service(Name),
    /// A ServiceEntry.
    Entry(Name),
    /// A pod.
    Pod(Name),
    /// A WorkloadEntry.
    WorkloadEntry(Name),
}

/// Ordered by namespace, so that those of one are together.
pub(super) type Reference = (Name, Selectable);

#[derive(Default, Debug)]
pub(super) struct Index {
    /// By each of their labels.
    labelled: HashMap<(Text, Text), BTreeSet<Reference>>,
    /// Pods by node.
    on_node: HashMap<Text, BTreeSet<Name>>,
    /// Slices by service.
    slices: HashMap<Name, BTreeSet<Name>>,
    /// Slices by pod.
    slices_of_pod: HashMap<Name, BTreeSet<Name>>,
    /// ServiceEntries by host.
    hosts: HashMap<Text, BTreeSet<Name>>,
    /// Users by waypoint.
    users: HashMap<Name, BTreeSet<User>>,
    /// Gateways by class.
    gateways: HashMap<Text, BTreeSet<Name>>,
    /// The policies with targets that a namespace has: mostly none.
    targeting: HashMap<Text, BTreeSet<Name>>,
}

impl Index {
    pub(super) fn insert(&mut self, object: &Object) {
        self.change(object, true);
    }

    pub(super) fn remove(&mut self, object: &Object) {
        self.change(object, false);
    }

    fn change(&mut self, object: &Object, put: bool) {
        match object {
            Object::Pod(pod) => {
                let name = &pod.meta.name;
                self.change_labels(&pod.meta.labels, (name.clone(), Selectable::Pod), put);
                if !pod.node.is_empty() {
                    change(&mut self.on_node, &pod.node, name.clone(), put);
                }
                self.change_user(&pod.meta, User::Pod(name.clone()), put);
            }
            Object::WorkloadEntry(one) => {
                let name = &one.meta.name;
                self.change_labels(&one.meta.labels, (name.clone(), Selectable::WorkloadEntry), put);
                self.change_user(&one.meta, User::WorkloadEntry(name.clone()), put);
            }
            Object::EndpointSlice(slice) => {
                let name = &slice.meta.name;
                let of = |name_in: &Text| Name::new(name.namespace.clone(), name_in.clone());
                change(&mut self.slices, &of(&slice.service), name.clone(), put);
                for (pod, _) in slice.endpoints.iter().filter_map(|one| one.pod.as_ref()) {
                    change(&mut self.slices_of_pod, &of(pod), name.clone(), put);
                }
            }
            Object::ServiceEntry(one) => {
                let name = &one.meta.name;
                for host in entry::hosts(one) {
                    change(&mut self.hosts, &Text::from(host), name.clone(), put);
                }
                self.change_user(&one.meta, User::Entry(name.clone()), put);
            }
            Object::Service(service) => {
                self.change_user(&service.meta, User::Service(service.meta.name.clone()), put);
            }
            Object::Namespace(namespace) => {
                let name = &namespace.meta.name.name;
                // Objects of a namespace name waypoints relative to it.
                let meta = in_itself(namespace);
                self.change_user(&meta, User::Namespace(name.clone()), put);
            }
            Object::Gateway(gateway) => {
                change(&mut self.gateways, &gateway.class, gateway.meta.name.clone(), put);
            }
            Object::AuthorizationPolicy(policy) if !policy.targets.is_empty() => {
                let name = &policy.meta.name;
                change(&mut self.targeting, &name.namespace, name.clone(), put);
            }
            Object::Node(_)
            | Object::GatewayClass(_)
            | Object::AuthorizationPolicy(_)
            | Object::PeerAuthentication(_) => {}
        }
    }

    fn change_labels(&mut self, labels: &Labels, reference: Reference, put: bool) {
        for label in labels.iter() {
            change(&mut self.labelled, label, reference.clone(), put);
        }
    }

    fn change_user(&mut self, meta: &Meta, user: User, put: bool) {
        let canary = waypoint::canary(meta, None).map(|(gateway, _)| gateway);
        let wanted = waypoint::wanted(meta, None).map(|wanted| wanted.gateway);
        for gateway in wanted.into_iter().chain(canary) {
            change(&mut self.users, &gateway, user.clone(), put);
        }
    }

    /// What has all the labels of a selector that is not empty, in a namespace or in all; the labels are looked up by
    /// `labels_of`.
    pub(super) fn selected<'a>(
        &self,
        selector: &Selector,
        namespace: Option<&Text>,
        labels_of: impl Fn(&Reference) -> Option<&'a Labels>,
    ) -> Vec<Reference> {
        let sets = selector.iter().map(|label| self.labelled.get(label));
        let Some(sets) = sets.collect::<Option<Vec<_>>>() else {
            return Vec::new();
        };
        let Some(rarest) = sets.into_iter().min_by_key(|set| set.len()) else {
            return Vec::new();
        };
        let chosen = |one: &&Reference| labels_of(one).is_some_and(|labels| selector.selects(labels));
        match namespace {
            None => rarest.iter().filter(chosen).cloned().collect(),
            Some(namespace) => {
                let start = (Name::new(namespace.clone(), Text::empty()), Selectable::Pod);
                let inside = rarest.range(start..);
                let inside = inside.take_while(|(name, _)| name.namespace == *namespace);
                inside.filter(chosen).cloned().collect()
            }
        }
    }

    /// Whether nothing is left of what is gone.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.labelled.is_empty()
            && self.on_node.is_empty()
            && self.slices.is_empty()
            && self.slices_of_pod.is_empty()
            && self.hosts.is_empty()
            && self.users.is_empty()
            && self.gateways.is_empty()
            && self.targeting.is_empty()
    }

    pub(super) fn on_node(&self, node: &Text) -> impl Iterator<Item = &Name> {
        self.on_node.get(node).into_iter().flatten()
    }

    pub(super) fn slices_of(&self, service: &Name) -> impl Iterator<Item = &Name> {
        self.slices.get(service).into_iter().flatten()
    }

    pub(super) fn slices_of_pod(&self, pod: &Name) -> impl Iterator<Item = &Name> {
        self.slices_of_pod.get(pod).into_iter().flatten()
    }

    pub(super) fn entries_of_host(&self, host: &str) -> impl Iterator<Item = &Name> {
        self.hosts.get(host).into_iter().flatten()
    }

    pub(super) fn users(&self, gateway: &Name) -> impl Iterator<Item = &User> {
        self.users.get(gateway).into_iter().flatten()
    }

    pub(super) fn gateways_of(&self, class: &Text) -> impl Iterator<Item = &Name> {
        self.gateways.get(class).into_iter().flatten()
    }

    pub(super) fn has_targeting(&self, namespace: &Text) -> bool {
        self.targeting.contains_key(namespace)
    }

    /// The pods of a gateway.
    pub(super) fn pods_of_gateway(&self, gateway: &Name) -> impl Iterator<Item = &Name> {
        let label = (Text::from(names::GATEWAY_NAME), gateway.name.clone());
        let all = self.labelled.get(&label).into_iter().flatten();
        all.filter(|(name, kind)| name.namespace == gateway.namespace && *kind == Selectable::Pod)
            .map(|(name, _)| name)
    }
}

/// A namespace's metadata as if it lay in itself.
fn in_itself(namespace: &Namespace) -> Meta {
    let name = &namespace.meta.name.name;
    Meta {
        name: Name::new(name.clone(), name.clone()),
        ..namespace.meta.clone()
    }
}

fn change<K: Hash + Eq + Clone, V: Ord>(index: &mut HashMap<K, BTreeSet<V>>, key: &K, value: V, put: bool) {
    if put {
        index.entry(key.clone()).or_default().insert(value);
        return;
    }
    if let Some(set) = index.get_mut(key) {
        set.remove(&value);
        if set.is_empty() {
            index.remove(key);
        }
    }
}
