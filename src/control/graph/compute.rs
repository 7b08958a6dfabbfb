//! Makes an output of the inputs. Every function here only reads.

use adit_discovery::xds::Resource;
use adit_mesh::policy::PolicyKey;
use adit_mesh::service::{PortMap, ServiceKey};
use adit_mesh::workload::GatewayAddress;
use adit_mesh::{Text, Workload};

use super::inputs::within;
use super::outputs::Made;
use super::{Graph, Output};
use crate::kinds::TargetRef;
use crate::objects::{
    Address, Authentication, Authorization, Entry, Key, Kind, Labels, Meta, Name, Object, Place, Pod,
    Selector,
};
use crate::translate::authentication::Levels;
use crate::translate::service::Waypoints;
use crate::translate::waypoint::{Bound, Traffic, Wanted};
use crate::translate::workload::Surroundings;
use crate::translate::{Condition, authentication, authorization, entry, names, service, waypoint, workload};

impl Graph {
    /// Whether an object is for this revision of the control plane.
    pub(super) fn is_ours(&self, object: &Object) -> bool {
        let meta = match object {
            Object::Gateway(it) => &it.meta,
            Object::ServiceEntry(it) => &it.meta,
            Object::WorkloadEntry(it) => &it.meta,
            Object::AuthorizationPolicy(it) => &it.meta,
            Object::PeerAuthentication(it) => &it.meta,
            Object::Namespace(_)
            | Object::Node(_)
            | Object::Pod(_)
            | Object::Service(_)
            | Object::EndpointSlice(_)
            | Object::GatewayClass(_) => return true,
        };
        let revision = meta.labels.get(names::REVISION);
        revision.is_none_or(|revision| *revision == self.settings.revision)
    }

    /// Makes an output.
    pub(super) fn compute(&mut self, output: &Output) -> Made {
        match output {
            Output::Pod(name) => {
                let made = self.pod(name);
                self.workloads(made)
            }
            Output::WorkloadEntry(name) => {
                let made = self.workload_entry(name);
                self.workloads(made)
            }
            Output::EntryEndpoints(name) => {
                let made = self.entry_endpoints(name);
                self.workloads(made)
            }
            Output::Slice(name) => {
                let made = self.slice(name);
                self.workloads(made)
            }
            Output::Service(name) => self.service(name),
            Output::EntryServices(name) => self.entry_services(name),
            Output::Authorization(name) => self.authorization(name),
            Output::Authentication(name) => self.authentication(name),
            Output::Strict => self.strict(),
        }
    }

    fn workloads(&mut self, all: impl IntoIterator<Item = Workload>) -> Made {
        let texts = &mut self.texts;
        Made {
            resources: all
                .into_iter()
                .map(|one| Resource::workload(&one, texts))
                .collect(),
            conditions: None,
        }
    }

    fn pod(&self, name: &Name) -> Option<Workload> {
        let pod = self.inputs.pods.get(name)?;
        if !workload::is_there(pod) {
            return None;
        }
        let node = self.inputs.node(&pod.node);
        let services = self.services_of_pod(pod);
        let gateway = pod.meta.labels.get(names::GATEWAY_NAME);
        let gateway = gateway.map(|gateway| Name::new(name.namespace.clone(), gateway.clone()));
        let gateway = gateway.and_then(|gateway| self.inputs.gateways.get(&gateway));
        let class = gateway.and_then(|gateway| self.inputs.class(&gateway.class));
        let held = self.gate.as_ref().is_some_and(|gate| gate.holds(name));
        let mut policies = self.policies_of(&name.namespace, &pod.meta.labels, &services);
        policies.extend(
            self.proof_policy(&name.namespace, &pod.meta.labels)
                .filter(|_| !held),
        );
        let around = Surroundings {
            policies,
            services,
            waypoint: self.workload_waypoint(&pod.meta),
            application_tunnel: workload::application_tunnel(gateway.map(|gateway| &**gateway), class),
            locality: node.map(|node| node.locality.clone()).unwrap_or_default(),
        };
        workload::of_pod(pod, around, &self.settings)
    }

    fn services_of_pod(&self, pod: &Pod) -> Vec<(ServiceKey, PortMap)> {
        let name = &pod.meta.name;
        let mut found = Vec::new();
        for service in within(&self.inputs.services, &name.namespace) {
            if !service.external_name && selects(service.selector.as_ref(), &pod.meta.labels) {
                let ports = workload::ports_of_pod(service, pod);
                found.push((service::key(service, &self.settings), ports));
            }
        }
        for one in within(&self.inputs.entries, &name.namespace) {
            if selects(one.selector.as_ref(), &pod.meta.labels) {
                let ports = entry::ports_of_pod(one, pod);
                found.extend(self.hosts_of(one).map(|key| (key, ports.clone())));
            }
        }
        // Endpoints that somebody else manages, for services that select nothing.
        for slice in self.index.slices_of_pod(name) {
            let Some(slice) = self.inputs.slices.get(slice) else {
                continue;
            };
            let is_this =
                |(own, uid): &(Text, Text)| *own == name.name && (uid.is_empty() || *uid == pod.uid);
            let is_in = slice
                .endpoints
                .iter()
                .any(|one| one.pod.as_ref().is_some_and(is_this));
            let service = self
                .inputs
                .services
                .get(&Name::new(name.namespace.clone(), slice.service.clone()));
            if let Some(service) = service.filter(|one| is_in && one.selector.is_none() && !one.external_name)
            {
                let ports = workload::ports_of_slice(service, slice);
                found.push((service::key(service, &self.settings), ports));
            }
        }
        found
    }

    fn workload_entry(&self, name: &Name) -> Option<Workload> {
        let one = self.inputs.workload_entries.get(name)?;
        let labels = &one.meta.labels;
        let mut services = Vec::new();
        for service in within(&self.inputs.services, &name.namespace) {
            if !service.external_name && selects(service.selector.as_ref(), labels) {
                let ports = workload::ports_of_place(service, &one.place);
                services.push((service::key(service, &self.settings), ports));
            }
        }
        for other in within(&self.inputs.entries, &name.namespace) {
            if selects(other.selector.as_ref(), labels) {
                let ports = entry::ports_of_place(other, &one.place);
                services.extend(self.hosts_of(other).map(|key| (key, ports.clone())));
            }
        }
        let mut policies = self.policies_of(&name.namespace, labels, &services);
        policies.extend(self.proof_policy(&name.namespace, labels));
        let around = Surroundings {
            policies,
            services,
            waypoint: self.workload_waypoint(&one.meta),
            ..Surroundings::default()
        };
        let uid = names::workload_entry(&self.settings, name);
        workload::of_place(uid, name, &one.place, around, &self.settings)
    }

    fn entry_endpoints(&self, name: &Name) -> Vec<Workload> {
        let Some(one) = self.inputs.entries.get(name) else {
            return Vec::new();
        };
        let hosts: Vec<_> = self.hosts_of(one).collect();
        // One that lost all of its hosts to another has no endpoints either.
        if hosts.is_empty() || one.selector.is_some() {
            return Vec::new();
        }
        let around = |labels: &Labels, services: Vec<(ServiceKey, PortMap)>| {
            let mut policies = self.policies_of(&name.namespace, labels, &services);
            policies.extend(self.proof_policy(&name.namespace, labels));
            Surroundings {
                policies,
                services,
                ..Surroundings::default()
            }
        };
        let listed = one.endpoints.iter().filter_map(|place| {
            let ports = entry::ports_of_place(one, place);
            let services = hosts.iter().map(|key| (key.clone(), ports.clone())).collect();
            let uid = names::entry_endpoint(&self.settings, name, &shown(place));
            workload::of_place(uid, name, place, around(&place.labels, services), &self.settings)
        });
        let mut all: Vec<_> = listed.collect();
        for host in entry::implicit_endpoints(one) {
            let Some(key) = hosts.iter().find(|key| key.hostname == host) else {
                continue;
            };
            let ports = one.spec.ports.iter();
            let ports = ports.filter_map(|port| u16::try_from(port.number).ok()?.try_into().ok());
            let ports = ports.map(|port| (port, Some(port))).collect::<PortMap>();
            let uid = names::entry_endpoint(&self.settings, name, &host);
            let around = around(&Labels::default(), vec![(key.clone(), ports)]);
            all.extend(workload::of_host(uid, name, &host, around, &self.settings));
        }
        // Of two endpoints with one address the first counts.
        all.sort_by(|a, b| a.uid.cmp(&b.uid));
        all.dedup_by(|later, first| later.uid == first.uid);
        all
    }

    fn slice(&self, name: &Name) -> Vec<Workload> {
        let Some(slice) = self.inputs.slices.get(name) else {
            return Vec::new();
        };
        let service = Name::new(name.namespace.clone(), slice.service.clone());
        let Some(service) = self
            .inputs
            .services
            .get(&service)
            .filter(|one| !one.external_name)
        else {
            return Vec::new();
        };
        let belongs = (
            service::key(service, &self.settings),
            workload::ports_of_slice(service, slice),
        );
        let bare = slice.endpoints.iter().filter(|one| one.pod.is_none());
        let addresses = bare.flat_map(|one| one.addresses.iter().map(|ip| (*ip, one.ready)));
        let made = addresses.filter_map(|(ip, ready)| {
            workload::of_endpoint(slice, ip, ready, belongs.clone(), &self.settings)
        });
        let mut all: Vec<_> = made.collect();
        all.sort_by(|a, b| a.uid.cmp(&b.uid));
        all.dedup_by(|later, first| later.uid == first.uid);
        all
    }

    fn service(&self, name: &Name) -> Made {
        let Some(service) = self.inputs.services.get(name) else {
            return Made::default();
        };
        let namespace = self.inputs.namespace(&name.namespace);
        let (waypoints, conditions) = self.waypoints(&service.meta);
        let made = service::translate(service, namespace, waypoints, &self.settings);
        Made {
            resources: made.iter().map(Resource::service).collect(),
            conditions: Some((key(Kind::Service, name), conditions)),
        }
    }

    fn entry_services(&self, name: &Name) -> Made {
        let Some(one) = self.inputs.entries.get(name) else {
            return Made::default();
        };
        let namespace = self.inputs.namespace(&name.namespace);
        let (waypoints, conditions) = self.waypoints(&one.meta);
        let mut hosts: Vec<_> = self.hosts_of(one).map(|key| key.hostname).collect();
        hosts.sort();
        hosts.dedup();
        let services = hosts.iter().map(|host| {
            let canonical = self.is_canonical(one, host);
            let made = entry::service(one, host, canonical, namespace, waypoints.clone(), &self.settings);
            Resource::service(&made)
        });
        Made {
            resources: services.collect(),
            conditions: Some((key(Kind::ServiceEntry, name), conditions)),
        }
    }

    /// The hosts that an entry has: in its namespace a Kubernetes service goes before it, and the older entry.
    fn hosts_of<'a>(&'a self, one: &'a Entry) -> impl Iterator<Item = ServiceKey> + 'a {
        let name = &one.meta.name;
        entry::hosts(one)
            .filter(move |host| {
                let kubernetes = self.settings.service_of(host);
                let taken = kubernetes.is_some_and(|(service, namespace)| {
                    *namespace == *name.namespace.as_str() && self.has_service(service, namespace)
                });
                !taken && self.oldest(host, Some(&name.namespace)) == Some(name)
            })
            .map(move |host| ServiceKey {
                namespace: name.namespace.clone(),
                hostname: host.into(),
            })
    }

    fn has_service(&self, name: &str, namespace: &str) -> bool {
        let service = self.inputs.services.get(&Name::new(namespace, name));
        service.is_some_and(|service| !service.external_name)
    }

    /// The oldest entry that claims a host, in a namespace or in all.
    fn oldest(&self, host: &str, namespace: Option<&Text>) -> Option<&Name> {
        let claims = self.index.entries_of_host(host);
        let claims = claims.filter(|name| namespace.is_none_or(|namespace| name.namespace == *namespace));
        let claims = claims.filter_map(|name| self.inputs.entries.get(name));
        let oldest = claims.min_by_key(|one| (one.meta.created, &one.meta.name));
        oldest.map(|one| &one.meta.name)
    }

    /// Whether other namespaces mean this entry by the host.
    fn is_canonical(&self, one: &Entry, host: &str) -> bool {
        let kubernetes = self.settings.service_of(host);
        let taken = kubernetes.is_some_and(|(service, namespace)| self.has_service(service, namespace));
        !taken && self.oldest(host, None) == Some(&one.meta.name)
    }

    fn workload_waypoint(&self, meta: &Meta) -> Option<GatewayAddress> {
        let wanted = waypoint::wanted(meta, self.inputs.namespace(&meta.name.namespace))?;
        match self.bind(&wanted, Traffic::Workload, &meta.name.namespace) {
            Bound::To(address) => Some(address),
            // A namespace's wish is for its services as well; where the waypoint is not there at all, nobody knows
            // whether it would be for workloads.
            Bound::Failed(reason) if wanted.direct => waypoint::refused(&wanted, reason, &self.settings),
            Bound::Failed(_) | Bound::NotMeant => None,
        }
    }

    fn bind(&self, wanted: &Wanted, traffic: Traffic, namespace: &Text) -> Bound {
        let gateway = self.inputs.gateways.get(&wanted.gateway);
        let class = gateway.and_then(|gateway| self.inputs.class(&gateway.class));
        let none = Labels::default();
        let labels = self
            .inputs
            .namespace(namespace)
            .map_or(&none, |one| &one.meta.labels);
        waypoint::bind(
            wanted,
            gateway.map(|gateway| &**gateway),
            class,
            traffic,
            namespace,
            labels,
            &self.settings,
        )
    }

    /// The waypoints of a service or an entry, and what is said about them.
    fn waypoints(&self, meta: &Meta) -> (Waypoints, Vec<Condition>) {
        let namespace = self.inputs.namespace(&meta.name.namespace);
        if service::is_waypoint(meta) {
            return Default::default();
        }
        let Some(wanted) = waypoint::wanted(meta, namespace) else {
            return Default::default();
        };
        let bound = self.bind(&wanted, Traffic::Service, &meta.name.namespace);
        let mut conditions: Vec<_> = waypoint::condition(&wanted, &bound, &self.settings)
            .into_iter()
            .collect();
        let primary = match &bound {
            Bound::To(address) => Some(address.clone()),
            Bound::Failed(reason) => waypoint::refused(&wanted, *reason, &self.settings),
            Bound::NotMeant => None,
        };
        let mut waypoints = Waypoints {
            primary: primary.clone(),
            weighted: Box::default(),
        };
        if let (Bound::To(first), Some((canary, share))) = (&bound, waypoint::canary(meta, namespace)) {
            match self.canary(&wanted, &canary, share, &meta.name.namespace) {
                Ok(Some((second, share))) => {
                    let rest = 100 - u32::from(share);
                    waypoints.weighted = [(first.clone(), rest), (second, share.into())].into();
                }
                Ok(None) => {}
                Err(problem) => {
                    if let Some(condition) = conditions.first_mut() {
                        condition.message += &format!(". Canary waypoint not attached: {problem}");
                    }
                }
            }
        }
        (waypoints, conditions)
    }

    /// The second waypoint and its share; none if it has no share.
    fn canary(
        &self,
        first: &Wanted,
        canary: &Name,
        share: Result<u8, String>,
        namespace: &Text,
    ) -> Result<Option<(GatewayAddress, u8)>, String> {
        let share = share
            .map_err(|text| format!("CanaryInvalidWeight: {text:?} is not a percentage from 0 to 100"))?;
        if first.gateway == *canary {
            return Err("CanarySameAsPrimary: it is the same waypoint".to_owned());
        }
        let wanted = Wanted {
            gateway: canary.clone(),
            direct: true,
        };
        match self.bind(&wanted, Traffic::Service, namespace) {
            Bound::To(address) => Ok((share > 0).then_some((address, share))),
            Bound::Failed(reason) => Err(format!("{}: {canary}", reason.as_str())),
            Bound::NotMeant => Ok(None),
        }
    }

    /// The AuthorizationPolicies that a workload names.
    fn policies_of(
        &self,
        namespace: &Text,
        labels: &Labels,
        services: &[(ServiceKey, PortMap)],
    ) -> Vec<PolicyKey> {
        let root = &self.settings.root_namespace;
        let own = within(&self.inputs.authorizations, namespace);
        let wider = within(&self.inputs.authorizations, root).filter(|_| namespace != root);
        own.chain(wider)
            .filter(|one| self.names(one, namespace, labels, services))
            .map(|one| names::authorization(&one.meta.name))
            .collect()
    }

    /// The policy that a workload names for the proof of its callers.
    fn proof_policy(&self, namespace: &Text, labels: &Labels) -> Option<PolicyKey> {
        authentication::policy_of(&self.levels(namespace), labels, &self.settings)
    }

    /// Whether a workload names a policy.
    fn names(
        &self,
        one: &Authorization,
        namespace: &Text,
        labels: &Labels,
        services: &[(ServiceKey, PortMap)],
    ) -> bool {
        if one.targets.is_empty() {
            return selects(one.selector.as_ref(), labels) && self.sends(one);
        }
        // What a waypoint should enforce holds for everything behind its targets until one does.
        one.meta.name.namespace == *namespace
            && one.targets.iter().any(|target| {
                let enforced = self.is_enforced(target, namespace);
                !enforced && self.is_behind(target, namespace, services)
            })
            && self.sends(one)
    }

    fn sends(&self, one: &Authorization) -> bool {
        self.outputs.has(&Output::Authorization(one.meta.name.clone()))
    }

    fn translated(&self, one: &Authorization) -> authorization::Translated {
        let namespace = &one.meta.name.namespace;
        let enforced = one
            .targets
            .iter()
            .all(|target| self.is_enforced(target, namespace));
        authorization::translate(one, enforced, &self.settings)
    }

    /// Whether a waypoint stands before a target, and can enforce policies for it.
    fn is_enforced(&self, target: &TargetRef, namespace: &Text) -> bool {
        let name = Name::new(namespace.clone(), target.name.as_str());
        let bound = |meta: &Meta| {
            let wanted = waypoint::wanted(meta, self.inputs.namespace(namespace));
            wanted
                .is_some_and(|wanted| matches!(self.bind(&wanted, Traffic::Service, namespace), Bound::To(_)))
        };
        match (target.group.as_str(), target.kind.as_str()) {
            ("" | "core", "Service") => self
                .inputs
                .services
                .get(&name)
                .is_some_and(|one| bound(&one.meta)),
            ("networking.istio.io", "ServiceEntry") => {
                self.inputs.entries.get(&name).is_some_and(|one| bound(&one.meta))
            }
            ("gateway.networking.k8s.io", "Gateway") => {
                let gateway = self.inputs.gateways.get(&name);
                gateway.is_some_and(|gateway| !gateway.addresses.is_empty())
            }
            // All waypoints of a class: whoever has none is not meant.
            ("gateway.networking.k8s.io", "GatewayClass") => true,
            _ => false,
        }
    }

    /// Whether a workload with these services is what a target stands before.
    fn is_behind(&self, target: &TargetRef, namespace: &Text, services: &[(ServiceKey, PortMap)]) -> bool {
        let has = |hostname: &str| {
            services
                .iter()
                .any(|(key, _)| key.namespace == *namespace && key.hostname == *hostname)
        };
        match (target.group.as_str(), target.kind.as_str()) {
            ("" | "core", "Service") => has(&self.settings.hostname(&target.name, namespace)),
            ("networking.istio.io", "ServiceEntry") => {
                let entry = self
                    .inputs
                    .entries
                    .get(&Name::new(namespace.clone(), target.name.as_str()));
                entry.is_some_and(|one| entry::hosts(one).any(has))
            }
            // Whoever uses a gateway that is not there is refused by its binding; of another kind of target nobody
            // knows what is behind it.
            ("gateway.networking.k8s.io", "Gateway") => false,
            _ => true,
        }
    }

    fn levels(&self, namespace: &Text) -> Levels<'_> {
        let root = &self.settings.root_namespace;
        Levels::new(
            within(&self.inputs.authentications, namespace),
            within(&self.inputs.authentications, root),
            namespace == root,
        )
    }

    fn authorization(&self, name: &Name) -> Made {
        let Some(one) = self.inputs.authorizations.get(name) else {
            return Made::default();
        };
        let translated = self.translated(one);
        Made {
            resources: translated.policy.iter().map(Resource::policy).collect(),
            conditions: Some((
                key(Kind::AuthorizationPolicy, name),
                translated.condition.into_iter().collect(),
            )),
        }
    }

    fn authentication(&self, name: &Name) -> Made {
        let made = self
            .inputs
            .authentications
            .get(name)
            .and_then(|one: &std::sync::Arc<Authentication>| {
                let wider = self.levels(&name.namespace).wider(&self.settings);
                authentication::translate(one, wider, &self.settings)
            });
        Made {
            resources: made.iter().map(Resource::policy).collect(),
            conditions: None,
        }
    }

    fn strict(&self) -> Made {
        let needed = !self.inputs.authentications.is_empty()
            || self.settings.mutual_tls == crate::settings::Mode::Strict;
        Made {
            resources: needed
                .then(|| Resource::policy(&authentication::strict(&self.settings)))
                .into_iter()
                .collect(),
            conditions: None,
        }
    }
}

/// A service or entry without a selector selects nothing.
fn selects(selector: Option<&Selector>, labels: &Labels) -> bool {
    selector.is_some_and(|selector| selector.selects(labels))
}

fn key(kind: Kind, name: &Name) -> Key {
    Key {
        kind,
        name: name.clone(),
    }
}

fn shown(place: &Place) -> String {
    match &place.address {
        Address::Ip(ip) => ip.to_string(),
        Address::Name(name) => name.to_string(),
        Address::None => String::new(),
    }
}
