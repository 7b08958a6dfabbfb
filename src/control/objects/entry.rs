//! ServiceEntries and WorkloadEntries.

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_mesh::workload::Locality;
use adit_mesh::{Interner, Text};

use super::{Labels, Meta, Selector};
use crate::kinds::{EntryAddress, ServiceEntry, ServiceEntrySpec, WorkloadEntry, WorkloadEntrySpec};

/// A ServiceEntry.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Its metadata.
    pub meta: Meta,
    /// What it says, without its endpoints.
    pub spec: ServiceEntrySpec,
    /// The pods and WorkloadEntries that are its endpoints.
    pub selector: Option<Selector>,
    /// Its endpoints.
    pub endpoints: Box<[Place]>,
    /// Addresses that were given to it.
    pub allocated: Box<[EntryAddress]>,
}

/// A WorkloadEntry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryWorkload {
    /// Its metadata; its labels are those of its spec over those.
    pub meta: Meta,
    /// What it says.
    pub place: Place,
}

/// Where a workload is that Kubernetes does not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its address.
    pub address: Address,
    /// Its labels.
    pub labels: Labels,
    /// The network of its address; "" is the cluster's.
    pub network: Text,
    /// Where it runs.
    pub locality: Locality,
    /// Its share of connections; 0 if it does not say.
    pub weight: u32,
    /// Its service account; "" if it does not say.
    pub service_account: Text,
    /// Its ports, by the name that services have for them.
    pub ports: Box<[(Text, u16)]>,
}

/// Where a workload is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// By address.
    Ip(IpAddr),
    /// By a DNS name.
    Name(Text),
    /// Not over a network: a path, or nothing at all.
    None,
}

impl Entry {
    /// Keeps what matters.
    pub fn read(object: ServiceEntry, texts: &mut Interner) -> Self {
        let mut spec = object.spec;
        let endpoints = std::mem::take(&mut spec.endpoints);
        Self {
            meta: Meta::read(&object.metadata, true, texts),
            selector: spec
                .workload_selector
                .as_ref()
                .filter(|selector| !selector.labels.is_empty())
                .map(|selector| Selector::new(&selector.labels, texts)),
            endpoints: endpoints.iter().map(|one| Place::read(one, texts)).collect(),
            allocated: object.status.unwrap_or_default().addresses.into(),
            spec,
        }
    }
}

impl EntryWorkload {
    /// Keeps what matters.
    pub fn read(object: &WorkloadEntry, texts: &mut Interner) -> Self {
        let mut meta = Meta::read(&object.metadata, true, texts);
        let mut labels: BTreeMap<String, String> = object.metadata.labels.clone().unwrap_or_default();
        labels.extend(object.spec.labels.clone());
        meta.labels = Labels::new(&labels, texts);
        let mut place = Place::read(&object.spec, texts);
        place.labels = meta.labels.clone();
        Self { meta, place }
    }
}

impl Place {
    fn read(spec: &WorkloadEntrySpec, texts: &mut Interner) -> Self {
        let mut parts = spec.locality.split('/').map(|part| texts.intern(part));
        let mut part = || parts.next().unwrap_or_default();
        let locality = Locality {
            region: part(),
            zone: part(),
            subzone: part(),
        };
        let ports = spec.ports.iter();
        let ports =
            ports.filter_map(|(name, number)| Some((texts.intern(name), u16::try_from(*number).ok()?)));
        let ports = ports.collect();
        Self {
            address: address(&spec.address),
            labels: Labels::new(&spec.labels, texts),
            network: texts.intern(&spec.network),
            locality,
            weight: spec.weight,
            service_account: texts.intern(&spec.service_account),
            ports,
        }
    }
}

fn address(text: &str) -> Address {
    match text.parse() {
        Ok(ip) => Address::Ip(ip),
        Err(_) if text.is_empty() || text.starts_with("unix://") => Address::None,
        Err(_) => Address::Name(text.into()),
    }
}
