//! The objects as they are now.

use std::collections::BTreeMap;
use std::sync::Arc;

use adit_mesh::Text;

use crate::objects::{
    Authentication, Authorization, EndpointSlice, Entry, EntryWorkload, Gateway, GatewayClass, Key, Kind,
    Name, Namespace, Node, Object, Pod, Service,
};

/// All objects of one kind, by namespace and name.
type All<T> = BTreeMap<Name, Arc<T>>;

/// All objects.
#[derive(Default, Debug)]
pub(super) struct Inputs {
    pub namespaces: All<Namespace>,
    pub nodes: All<Node>,
    pub pods: All<Pod>,
    pub services: All<Service>,
    pub slices: All<EndpointSlice>,
    pub gateways: All<Gateway>,
    pub classes: All<GatewayClass>,
    pub entries: All<Entry>,
    pub workload_entries: All<EntryWorkload>,
    pub authorizations: All<Authorization>,
    pub authentications: All<Authentication>,
}

impl Inputs {
    /// Puts an object, or takes it away; what was there before.
    pub(super) fn replace(&mut self, key: &Key, now: Option<Object>) -> Option<Object> {
        fn swap<T>(all: &mut All<T>, name: &Name, now: Option<Arc<T>>) -> Option<Arc<T>> {
            match now {
                Some(now) => all.insert(name.clone(), now),
                None => all.remove(name),
            }
        }
        macro_rules! swap {
            ($all:ident, $variant:ident) => {{
                let now = match now {
                    Some(Object::$variant(now)) => Some(now),
                    _ => None,
                };
                swap(&mut self.$all, &key.name, now).map(Object::$variant)
            }};
        }
        match key.kind {
            Kind::Namespace => swap!(namespaces, Namespace),
            Kind::Node => swap!(nodes, Node),
            Kind::Pod => swap!(pods, Pod),
            Kind::Service => swap!(services, Service),
            Kind::EndpointSlice => swap!(slices, EndpointSlice),
            Kind::Gateway => swap!(gateways, Gateway),
            Kind::GatewayClass => swap!(classes, GatewayClass),
            Kind::ServiceEntry => swap!(entries, ServiceEntry),
            Kind::WorkloadEntry => swap!(workload_entries, WorkloadEntry),
            Kind::AuthorizationPolicy => swap!(authorizations, AuthorizationPolicy),
            Kind::PeerAuthentication => swap!(authentications, PeerAuthentication),
        }
    }

    pub(super) fn namespace(&self, name: &Text) -> Option<&Namespace> {
        self.namespaces
            .get(&Name::new(Text::empty(), name.clone()))
            .map(|it| &**it)
    }

    pub(super) fn node(&self, name: &Text) -> Option<&Node> {
        self.nodes
            .get(&Name::new(Text::empty(), name.clone()))
            .map(|it| &**it)
    }

    pub(super) fn class(&self, name: &Text) -> Option<&GatewayClass> {
        self.classes
            .get(&Name::new(Text::empty(), name.clone()))
            .map(|it| &**it)
    }

    pub(super) fn counts(&self) -> BTreeMap<Kind, usize> {
        [
            (Kind::Namespace, self.namespaces.len()),
            (Kind::Node, self.nodes.len()),
            (Kind::Pod, self.pods.len()),
            (Kind::Service, self.services.len()),
            (Kind::EndpointSlice, self.slices.len()),
            (Kind::Gateway, self.gateways.len()),
            (Kind::GatewayClass, self.classes.len()),
            (Kind::ServiceEntry, self.entries.len()),
            (Kind::WorkloadEntry, self.workload_entries.len()),
            (Kind::AuthorizationPolicy, self.authorizations.len()),
            (Kind::PeerAuthentication, self.authentications.len()),
        ]
        .into()
    }
}

/// Those of a namespace.
pub(super) fn within<'a, T>(all: &'a All<T>, namespace: &Text) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let namespace = namespace.clone();
    all.range(Name::new(namespace.clone(), Text::empty())..)
        .take_while(move |(name, _)| name.namespace == namespace)
        .map(|(_, object)| &**object)
}
