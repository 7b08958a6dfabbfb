//! The questions that connections ask of a registry.

use std::net::IpAddr;
use std::sync::Arc;

use super::known::{Claims, Known, Tombstone};
use super::{Local, Registry};
use crate::balance::Ranks;
use crate::policy::{Policy, PolicyKey};
use crate::service::{Service, ServiceKey};
use crate::text::Text;
use crate::workload::{GatewayDestination, Workload};

/// Whose an address is, for one client.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Owner<'a> {
    /// A service's.
    Service(&'a Arc<Service>),
    /// A workload's own.
    Workload(&'a Arc<Workload>),
    /// It is claimed by a service that was rejected and never had a good version.
    RejectedService(&'a Tombstone<ServiceKey>),
    /// It is claimed by a workload that was rejected and never had a good version.
    RejectedWorkload(&'a Tombstone<Text>),
    /// It is claimed by services only that the client may not see; this is the first of them.
    Hidden(&'a Arc<Service>),
    /// Nobody's.
    Nobody,
}

/// What stands behind the name or address of a gateway.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Gateway<'a> {
    /// A service, of which an endpoint is to be chosen.
    Service(&'a Arc<Service>),
    /// One workload.
    Workload(&'a Arc<Workload>),
    /// Something that was rejected and never had a good version, for this reason.
    Rejected(&'a Text),
    /// Nothing.
    Unknown,
}

impl Registry {
    /// A workload of this node, as the node agent names it. Of several (which only misconfiguration makes), one
    /// of this node's own cluster, then a pod, then the first by uid.
    pub fn local(&self, namespace: &str, name: &str, service_account: &str) -> Option<&Arc<Local>> {
        self.locals.get(name)?.iter().find(|local| {
            let identity = &local.workload.identity;
            *identity.namespace() == *namespace && *identity.service_account() == *service_account
        })
    }

    /// A workload of this node by its uid.
    pub fn local_by_uid(&self, uid: &str) -> Option<&Arc<Local>> {
        let workload = self.workload(uid)?;
        let locals = self.locals.get(&workload.name)?;
        locals.iter().find(|local| Arc::ptr_eq(&local.workload, workload))
    }

    /// A workload by its uid.
    pub fn workload(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)?.good()
    }

    /// The workload that owns an address. Pods come before whatever else claims it, then the uid decides; where a
    /// tombstone comes first the address is nobody's here.
    pub fn workload_at(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workload_addresses.get(network, ip)?.first()?.good()
    }

    /// A service by its name.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.known_service(key)?.good()
    }

    /// What is known of a service.
    pub(super) fn known_service(&self, key: &ServiceKey) -> Option<&Known<Service>> {
        self.services.get(&key.hostname)?.of_namespace(&key.namespace)
    }

    /// The service that a client of `namespace` means by a hostname: its own namespace's, then the canonical one,
    /// then the first by namespace; only ones that it may see.
    pub fn service_by_hostname(&self, hostname: &str, namespace: &str) -> Option<&Known<Service>> {
        self.services.get(hostname)?.seen_from(namespace)
    }

    /// The service that an address (or else the longest range around it) belongs to, for a client of `namespace`.
    pub fn service_at(&self, network: &str, ip: IpAddr, namespace: &str) -> Option<&Arc<Service>> {
        let exact = self
            .service_addresses
            .get(network, ip)
            .and_then(|all| all.seen_from(namespace));
        exact
            .or_else(|| self.service_around(network, ip, namespace))?
            .good()
    }

    fn service_around(&self, network: &str, ip: IpAddr, namespace: &str) -> Option<&Known<Service>> {
        let ranges = self.service_ranges.around(network, ip);
        ranges.into_iter().find_map(|claims| claims.seen_from(namespace))
    }

    /// A policy by its name.
    pub fn policy(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.policies.get(key)?.good()
    }

    /// The endpoints of a service in the order of preference of this node; `None` if there are none at all.
    pub fn ranks(&self, key: &ServiceKey) -> Option<&Arc<Ranks>> {
        self.endpoints.get(key)
    }

    /// The endpoints of a service, healthy or not.
    pub fn endpoints(&self, key: &ServiceKey) -> impl Iterator<Item = &Arc<Workload>> {
        self.endpoints
            .get(key)
            .into_iter()
            .flat_map(|ranks| ranks.endpoints())
    }

    /// Whose an address is, for a client of `namespace`.
    ///
    /// The most specific claim counts: a service's virtual address, then a workload's own address, then the longest
    /// range of a service. (Between the first two, services come first, as where stock ztunnel chooses the
    /// upstream; its other lookup has it the other way round.) What the client may not see is looked past.
    pub fn owner(&self, network: &str, ip: IpAddr, namespace: &str) -> Owner<'_> {
        let exact = self.service_addresses.get(network, ip);
        if let Some(known) = exact.and_then(|claims| claims.seen_from(namespace)) {
            return Owner::of_service(known);
        }
        match self.owner_of_its_own(network, ip) {
            Owner::Nobody => {}
            owner => return owner,
        }
        if let Some(known) = self.service_around(network, ip, namespace) {
            return Owner::of_service(known);
        }
        let around = || self.service_ranges.around(network, ip).next();
        match exact.or_else(around).and_then(Claims::first) {
            Some(Known::Good(service)) => Owner::Hidden(service),
            // A tombstone hides from nobody, so it was found above.
            Some(Known::Rejected(_)) | None => Owner::Nobody,
        }
    }

    /// The workload whose own address this is, whatever services claim it too.
    pub fn owner_of_its_own(&self, network: &str, ip: IpAddr) -> Owner<'_> {
        match self.workload_addresses.get(network, ip).and_then(Claims::first) {
            Some(Known::Good(workload)) => Owner::Workload(workload),
            Some(Known::Rejected(stone)) => Owner::RejectedWorkload(stone),
            None => Owner::Nobody,
        }
    }

    /// Every service that claims an address, by itself or in a range, whoever may see it.
    pub fn services_claiming(&self, network: &str, ip: IpAddr) -> impl Iterator<Item = &Arc<Service>> {
        let exact = self.service_addresses.get(network, ip);
        let all = exact.into_iter().chain(self.service_ranges.around(network, ip));
        all.flat_map(Claims::iter).filter_map(Known::good)
    }

    /// What stands behind the name or address of a gateway: a service, else a workload.
    pub fn gateway(&self, destination: &GatewayDestination) -> Gateway<'_> {
        let (service, workload) = match destination {
            GatewayDestination::Hostname(key) => {
                let workload = self.workload_hostnames.get(key).and_then(Claims::first);
                (self.known_service(key), workload)
            }
            // Who may use a gateway was decided where it was bound; visibility does not count again here.
            GatewayDestination::Address(at) => (
                self.service_addresses
                    .get(&at.network, at.ip)
                    .and_then(Claims::first),
                self.workload_addresses
                    .get(&at.network, at.ip)
                    .and_then(Claims::first),
            ),
        };
        match (service, workload) {
            (Some(Known::Good(service)), _) => Gateway::Service(service),
            (Some(Known::Rejected(stone)), _) => Gateway::Rejected(&stone.reason),
            (None, Some(Known::Good(workload))) => Gateway::Workload(workload),
            (None, Some(Known::Rejected(stone))) => Gateway::Rejected(&stone.reason),
            (None, None) => Gateway::Unknown,
        }
    }
}

impl<'a> Owner<'a> {
    fn of_service(known: &'a Known<Service>) -> Self {
        match known {
            Known::Good(service) => Self::Service(service),
            Known::Rejected(stone) => Self::RejectedService(stone),
        }
    }
}
