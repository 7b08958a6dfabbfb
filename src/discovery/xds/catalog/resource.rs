//! One resource, encoded once.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use adit_mesh::workload::{NetworkAddress, NetworkMode};
use adit_mesh::{Policy, Service, Text, Workload};
use adit_proto::discovery::{self, Any};
use bytes::Bytes;
use prost::Message;
use prost::encoding::encoded_len_varint;
use twox_hash::XxHash64;

use super::super::Kind;
use super::Table;
use crate::wire;

/// The tag of [`discovery::Resource::aliases`].
const ALIASES: u32 = 4;

/// A named, versioned and encoded resource. Cloning shares it.
#[derive(Clone)]
pub struct Resource(Arc<Sealed>);

struct Sealed {
    name: Text,
    table: Table,
    /// A hash of the content: equal content has the same version, whichever replica sends it, after whichever restart.
    version: u64,
    /// The encoded [`discovery::Resource`].
    bytes: Bytes,
    /// Where in it the content is.
    content: Range<usize>,
    keys: Box<[Text]>,
    services: Box<[Text]>,
    node: Text,
    workload: bool,
}

impl Resource {
    /// A workload, as it is sent.
    pub fn workload(workload: &Workload, texts: &mut adit_mesh::Interner) -> Self {
        let of = |ip: &std::net::IpAddr| NetworkAddress::new(workload.network.clone(), *ip);
        // An address that belongs to a node is the key of nobody.
        let own = workload.network_mode == NetworkMode::Standard;
        let addresses = workload.addresses.iter().filter(|_| own);
        let services = workload.services.iter();
        Self::seal(
            Facts {
                table: Table::Addresses,
                name: workload.uid.clone(),
                keys: addresses.map(|ip| of(ip).to_string().into()).collect(),
                services: services.map(|(key, _)| texts.intern(&key.to_string())).collect(),
                node: workload.node.clone(),
                workload: true,
            },
            &wire::write_workload(workload),
        )
    }

    /// A service, as it is sent.
    pub fn service(service: &Service) -> Self {
        let addresses = service.addresses.iter().map(ToString::to_string);
        let ranges = service.ranges.iter();
        let ranges = ranges.map(|range| format!("{}/{}", range.network, range.range));
        Self::seal(
            Facts {
                table: Table::Addresses,
                name: service.key.to_string().into(),
                keys: addresses.chain(ranges).map(Text::from).collect(),
                services: Box::default(),
                node: Text::empty(),
                workload: false,
            },
            &wire::write_service(service),
        )
    }

    /// A policy, as it is sent.
    pub fn policy(policy: &Policy) -> Self {
        Self::seal(
            Facts {
                table: Table::Authorizations,
                name: policy.key.to_string().into(),
                keys: Box::default(),
                services: Box::default(),
                node: Text::empty(),
                workload: false,
            },
            &wire::write_policy(policy),
        )
    }

    fn seal(facts: Facts, content: &[u8]) -> Self {
        let version = XxHash64::oneshot(0, content);
        let url = match facts.table {
            Table::Addresses => wire::ADDRESS,
            Table::Authorizations => wire::AUTHORIZATION,
        };
        // Written so that the content is last but for the name: where it is follows from the lengths.
        let bytes = encode(version, url, &facts.name, content);
        let after = 1 + encoded_len_varint(facts.name.len() as u64) + facts.name.len();
        let end = bytes.len() - after;
        Self(Arc::new(Sealed {
            name: facts.name,
            table: facts.table,
            version,
            content: end - content.len()..end,
            bytes: bytes.into(),
            keys: facts.keys,
            services: facts.services,
            node: facts.node,
            workload: facts.workload,
        }))
    }

    /// Its name.
    pub fn name(&self) -> &Text {
        &self.0.name
    }

    /// The table that it belongs to.
    pub fn table(&self) -> Table {
        self.0.table
    }

    /// The hash of its content.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// The content, encoded: an `Address` or an `Authorization`.
    pub fn content(&self) -> &[u8] {
        &self.0.bytes[self.0.content.clone()]
    }

    /// Whether it is sent to those who want this kind.
    pub fn is(&self, kind: Kind) -> bool {
        match kind {
            Kind::Address => self.0.table == Table::Addresses,
            Kind::Workload => self.0.workload,
            Kind::Authorization => self.0.table == Table::Authorizations,
        }
    }

    /// What it may be asked for by, beside its name.
    pub fn keys(&self) -> &[Text] {
        &self.0.keys
    }

    /// The services that a workload is an endpoint of, by name.
    pub fn services(&self) -> &[Text] {
        &self.0.services
    }

    /// The node that a workload runs on.
    pub fn node(&self) -> &Text {
        &self.0.node
    }

    /// What is sent to those who want this kind: the shared bytes, but for the kind of workloads alone.
    pub fn encoded(&self, kind: Kind) -> Bytes {
        if kind != Kind::Workload {
            return self.0.bytes.clone();
        }
        let workload = inner(self.content()).unwrap_or_default();
        encode(self.0.version, kind.url(), &self.0.name, workload).into()
    }

    /// The same with the keys that it may be asked for by, for those who ask.
    pub fn encoded_with_keys(&self, kind: Kind) -> Bytes {
        let mut bytes = self.encoded(kind).to_vec();
        prost::encoding::string::encode_repeated(
            ALIASES,
            &self.0.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            &mut bytes,
        );
        bytes.into()
    }
}

/// What is known of a resource beside its content.
struct Facts {
    table: Table,
    name: Text,
    keys: Box<[Text]>,
    services: Box<[Text]>,
    node: Text,
    workload: bool,
}

fn encode(version: u64, url: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let any = Any {
        type_url: url.to_owned(),
        value: Bytes::copy_from_slice(content),
    };
    discovery::Resource {
        version: format!("{version:016x}"),
        resource: Some(any),
        name: name.to_owned(),
        aliases: Vec::new(),
    }
    .encode_to_vec()
}

/// The workload in an encoded `Address`, which is its only field.
fn inner(mut address: &[u8]) -> Option<&[u8]> {
    prost::encoding::decode_key(&mut address).ok()?;
    let length = prost::encoding::decode_varint(&mut address).ok()?;
    address.get(..usize::try_from(length).ok()?)
}

/// Those of one name and one content are equal.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.version == other.0.version
                && self.0.table == other.0.table
                && self.0.bytes == other.0.bytes)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:016x}", self.0.name, self.0.version)
    }
}
