//! What an object can make a difference to.
//!
//! Called with the object as it was and as it is: what it was related to may change as much as what it is related to now.
//! The indexes of other objects are complete at that moment; the object's own entries do not matter here, because no
//! object is related to itself by an index.

use adit_mesh::Text;

use super::index::{Reference, Selectable, User};
use super::inputs::within;
use super::{Graph, Output};
use crate::objects::{Entry, Key, Kind, Labels, Name, Object, Selector, Service};
use crate::translate::{entry, names};

impl Graph {
    /// Marks everything that an object can make a difference to.
    pub(super) fn touch(&mut self, key: &Key, before: Option<&Object>, now: Option<&Object>) {
        let name = &key.name;
        let both = [before, now].into_iter().flatten();
        match key.kind {
            Kind::Pod => self.mark(Output::Pod(name.clone())),
            Kind::WorkloadEntry => self.mark(Output::WorkloadEntry(name.clone())),
            Kind::Node => {
                let pods: Vec<_> = self.index.on_node(&name.name).cloned().collect();
                self.mark_all(pods, Output::Pod);
            }
            Kind::Namespace => self.touch_namespace(&name.name, before, now),
            Kind::Service => {
                self.mark(Output::Service(name.clone()));
                for object in both {
                    if let Object::Service(service) = object {
                        self.touch_service(service);
                    }
                }
            }
            Kind::EndpointSlice => {
                self.mark(Output::Slice(name.clone()));
                for object in both {
                    if let Object::EndpointSlice(slice) = object {
                        let pods = slice.endpoints.iter().filter_map(|one| one.pod.as_ref());
                        let pods = pods.map(|(pod, _)| Name::new(name.namespace.clone(), pod.clone()));
                        self.mark_all(pods.collect(), Output::Pod);
                    }
                }
            }
            Kind::Gateway => self.touch_gateway(name),
            Kind::GatewayClass => {
                let gateways: Vec<_> = self.index.gateways_of(&name.name).cloned().collect();
                for gateway in gateways {
                    self.touch_gateway(&gateway);
                }
            }
            Kind::ServiceEntry => {
                self.mark(Output::EntryServices(name.clone()));
                self.mark(Output::EntryEndpoints(name.clone()));
                for object in both {
                    if let Object::ServiceEntry(one) = object {
                        self.touch_entry(one);
                    }
                }
            }
            Kind::AuthorizationPolicy => {
                self.mark(Output::Authorization(name.clone()));
                for object in both {
                    if let Object::AuthorizationPolicy(one) = object {
                        if let Some(selector) = &one.selector {
                            self.touch_selected(selector, self.reach(&name.namespace).as_ref());
                        }
                        if !one.targets.is_empty() {
                            self.touch_targeted(&name.namespace);
                        }
                    }
                }
            }
            Kind::PeerAuthentication => self.touch_authentication(&name.namespace, before, now),
        }
    }

    /// Where a policy of a namespace selects: in it, or everywhere.
    fn reach(&self, namespace: &Text) -> Option<Text> {
        (*namespace != self.settings.root_namespace).then(|| namespace.clone())
    }

    fn touch_namespace(&mut self, name: &Text, before: Option<&Object>, now: Option<&Object>) {
        self.touch_all_of(name);
        if *name != self.settings.root_namespace {
            return;
        }
        // The network of the cluster stands on the root namespace.
        let network = |object: Option<&Object>| match object {
            Some(Object::Namespace(one)) => one.meta.labels.get(names::NETWORK).cloned(),
            _ => None,
        };
        if network(before) == network(now) {
            return;
        }
        self.settings.network = network(now).unwrap_or_default();
        self.touch_everything();
    }

    /// All outputs of all objects.
    fn touch_everything(&mut self) {
        let inputs = &self.inputs;
        let all = inputs
            .pods
            .keys()
            .chain(inputs.services.keys())
            .chain(inputs.entries.keys())
            .chain(inputs.slices.keys())
            .chain(inputs.workload_entries.keys());
        let mut namespaces: Vec<_> = all.map(|name| name.namespace.clone()).collect();
        namespaces.dedup();
        namespaces.sort();
        namespaces.dedup();
        for namespace in namespaces {
            self.touch_all_of(&namespace);
            let slices: Vec<_> = within(&self.inputs.slices, &namespace)
                .map(|slice| slice.meta.name.clone())
                .collect();
            self.mark_all(slices, Output::Slice);
        }
    }

    /// Everything that a namespace has and that looks at the namespace.
    fn touch_all_of(&mut self, namespace: &Text) {
        self.touch_workloads_of(namespace);
        let services = within(&self.inputs.services, namespace).map(|one| one.meta.name.clone());
        let services: Vec<_> = services.collect();
        let entries = within(&self.inputs.entries, namespace).map(|one| one.meta.name.clone());
        let entries: Vec<_> = entries.collect();
        self.mark_all(services, Output::Service);
        self.mark_all(entries, Output::EntryServices);
        self.touch_policies_with_targets(namespace);
    }

    fn touch_workloads_of(&mut self, namespace: &Text) {
        let pods = within(&self.inputs.pods, namespace).map(|one| one.meta.name.clone());
        let pods: Vec<_> = pods.collect();
        let others = within(&self.inputs.workload_entries, namespace).map(|one| one.meta.name.clone());
        let others: Vec<_> = others.collect();
        let entries = within(&self.inputs.entries, namespace).map(|one| one.meta.name.clone());
        let entries: Vec<_> = entries.collect();
        self.mark_all(pods, Output::Pod);
        self.mark_all(others, Output::WorkloadEntry);
        self.mark_all(entries, Output::EntryEndpoints);
    }

    fn touch_service(&mut self, service: &Service) {
        let name = &service.meta.name;
        if let Some(selector) = &service.selector {
            self.touch_selected(selector, Some(&name.namespace));
        }
        let slices: Vec<_> = self.index.slices_of(name).cloned().collect();
        for slice in &slices {
            let Some(slice) = self.inputs.slices.get(slice).cloned() else {
                continue;
            };
            let pods = slice.endpoints.iter().filter_map(|one| one.pod.as_ref());
            let pods = pods.map(|(pod, _)| Name::new(name.namespace.clone(), pod.clone()));
            self.mark_all(pods.collect(), Output::Pod);
        }
        self.mark_all(slices, Output::Slice);
        self.touch_claims(&self.settings.hostname(&name.name, &name.namespace));
        self.touch_policies_with_targets(&name.namespace);
    }

    fn touch_entry(&mut self, one: &Entry) {
        for host in entry::hosts(one) {
            self.touch_claims(host);
        }
        if let Some(selector) = &one.selector {
            self.touch_selected(selector, Some(&one.meta.name.namespace));
        }
        self.touch_policies_with_targets(&one.meta.name.namespace);
    }

    /// Everybody who claims a hostname: which of them has it can change, and with it what its endpoints belong to.
    fn touch_claims(&mut self, host: &str) {
        let entries: Vec<_> = self.index.entries_of_host(host).cloned().collect();
        for name in &entries {
            if let Some(one) = self.inputs.entries.get(name).cloned()
                && let Some(selector) = &one.selector
            {
                self.touch_selected(selector, Some(&name.namespace));
            }
        }
        self.mark_all(entries.clone(), Output::EntryServices);
        self.mark_all(entries, Output::EntryEndpoints);
    }

    fn touch_gateway(&mut self, gateway: &Name) {
        let users: Vec<_> = self.index.users(gateway).cloned().collect();
        let pods: Vec<_> = self.index.pods_of_gateway(gateway).cloned().collect();
        self.mark_all(pods, Output::Pod);
        for user in users {
            match user {
                User::Namespace(namespace) => self.touch_all_of(&namespace),
                User::Service(name) => {
                    self.touch_policies_with_targets(&name.namespace);
                    self.mark(Output::Service(name));
                }
                User::Entry(name) => {
                    self.touch_policies_with_targets(&name.namespace);
                    self.mark(Output::EntryServices(name));
                }
                User::Pod(name) => self.mark(Output::Pod(name)),
                User::WorkloadEntry(name) => self.mark(Output::WorkloadEntry(name)),
            }
        }
        self.touch_policies_with_targets(&gateway.namespace);
    }

    /// Policies for waypoints: whether one enforces them depends on services, entries and gateways of their namespace,
    /// and while none does the endpoints of their targets name them.
    fn touch_policies_with_targets(&mut self, namespace: &Text) {
        if self.index.has_targeting(namespace) {
            self.touch_targeted(namespace);
        }
    }

    fn touch_targeted(&mut self, namespace: &Text) {
        let policies = within(&self.inputs.authorizations, namespace)
            .filter(|one| !one.targets.is_empty())
            .map(|one| one.meta.name.clone());
        let policies: Vec<_> = policies.collect();
        self.mark_all(policies, Output::Authorization);
        self.touch_workloads_of(namespace);
    }

    fn touch_authentication(&mut self, namespace: &Text, before: Option<&Object>, now: Option<&Object>) {
        self.mark(Output::Strict);
        let is_root = *namespace == self.settings.root_namespace;
        for object in [before, now].into_iter().flatten() {
            let Object::PeerAuthentication(one) = object else {
                continue;
            };
            self.mark(Output::Authentication(one.meta.name.clone()));
            match &one.selector {
                Some(selector) => self.touch_selected(selector, Some(namespace)),
                None if is_root => {
                    // The mesh's: everybody's narrower setting may leave it to that.
                    let mut namespaces: Vec<_> = self
                        .inputs
                        .pods
                        .keys()
                        .map(|name| name.namespace.clone())
                        .collect();
                    namespaces.extend(
                        self.inputs
                            .workload_entries
                            .keys()
                            .map(|name| name.namespace.clone()),
                    );
                    namespaces.extend(self.inputs.entries.keys().map(|name| name.namespace.clone()));
                    namespaces.sort();
                    namespaces.dedup();
                    for namespace in namespaces {
                        self.touch_workloads_of(&namespace);
                    }
                    let all: Vec<_> = self.inputs.authentications.keys().cloned().collect();
                    self.mark_all(all, Output::Authentication);
                }
                None => {
                    self.touch_workloads_of(namespace);
                    let all =
                        within(&self.inputs.authentications, namespace).map(|one| one.meta.name.clone());
                    let all: Vec<_> = all.collect();
                    self.mark_all(all, Output::Authentication);
                }
            }
        }
    }

    /// Workloads that a selector selects, in a namespace or in all.
    fn touch_selected(&mut self, selector: &Selector, namespace: Option<&Text>) {
        // Endpoints that ServiceEntries list have labels too, and are few.
        let entries: Vec<_> = match namespace {
            Some(namespace) => within(&self.inputs.entries, namespace)
                .filter(|one| one.endpoints.iter().any(|place| selector.selects(&place.labels)))
                .map(|one| one.meta.name.clone())
                .collect(),
            None => self
                .inputs
                .entries
                .values()
                .filter(|one| one.endpoints.iter().any(|place| selector.selects(&place.labels)))
                .map(|one| one.meta.name.clone())
                .collect(),
        };
        self.mark_all(entries, Output::EntryEndpoints);
        if selector.is_empty() {
            match namespace {
                Some(namespace) => self.touch_workloads_of(namespace),
                None => self.touch_everything(),
            }
            return;
        }
        let inputs = &self.inputs;
        let labels_of = |(name, kind): &Reference| -> Option<&Labels> {
            match kind {
                Selectable::Pod => inputs.pods.get(name).map(|pod| &pod.meta.labels),
                Selectable::WorkloadEntry => inputs.workload_entries.get(name).map(|one| &one.meta.labels),
            }
        };
        for (name, kind) in self.index.selected(selector, namespace, labels_of) {
            self.mark(match kind {
                Selectable::Pod => Output::Pod(name),
                Selectable::WorkloadEntry => Output::WorkloadEntry(name),
            });
        }
    }

    fn mark(&mut self, output: Output) {
        self.dirty.insert(output);
    }

    fn mark_all(&mut self, names: Vec<Name>, output: impl Fn(Name) -> Output) {
        self.dirty.extend(names.into_iter().map(output));
    }
}
