//! The labels that Istio gives to every connection (`istio_tcp_*`), and the cheap key they are found by.
//!
//! The rules are Istio's: what is not known is `unknown`, `app` and `version` repeat the canonical name and
//! revision, principals are whole SPIFFE IDs, region and zone stand only where they are known.

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use adit_mesh::{Identity, Service, Text, Workload};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder};

use crate::Direction;

const UNKNOWN: &str = "unknown";

/// Whether the bytes between the nodes were protected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SecurityPolicy {
    /// Both sides proved who they are.
    MutualTls,
    /// Plaintext.
    Unknown,
}

impl SecurityPolicy {
    /// The value of the label `connection_security_policy`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::Unknown => UNKNOWN,
        }
    }
}

/// Everything that the labels of a connection depend on.
///
/// Compared and hashed by the address of its parts, not by their content, so that a lookup costs a few words; a value
/// holds its parts, so an address cannot come to mean something else meanwhile.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which end we are.
    pub direction: Direction,
    /// Whether it is protected.
    pub security: SecurityPolicy,
    /// Who called, where it is known.
    pub source: Option<Arc<Workload>>,
    /// The identity that the caller proved, where that is not the one of `source`.
    pub source_identity: Option<Identity>,
    /// Who is called, where it is known.
    pub destination: Option<Arc<Workload>>,
    /// The service that was addressed, if one was.
    pub service: Option<Arc<Service>>,
}

impl Connection {
    fn key(&self) -> impl Eq + Hash + '_ {
        let address = |workload: &Option<Arc<Workload>>| workload.as_ref().map(Arc::as_ptr);
        (
            self.direction,
            self.security,
            address(&self.source),
            address(&self.destination),
            self.service.as_ref().map(Arc::as_ptr),
            self.source_identity.as_ref(),
        )
    }

    /// Whether some part of it is in no registry any more.
    pub(super) fn is_outdated(&self) -> bool {
        let last =
            |workload: &Option<Arc<Workload>>| workload.as_ref().is_some_and(|w| Arc::strong_count(w) == 1);
        last(&self.source)
            || last(&self.destination)
            || self.service.as_ref().is_some_and(|s| Arc::strong_count(s) == 1)
    }
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Connection {}

impl Hash for Connection {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// The labels of a connection but `response_flags`, which are known only at its end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionLabels {
    direction: Direction,
    security: SecurityPolicy,
    source: Party,
    destination: Party,
    service: Option<ServiceLabels>,
}

/// One end of a connection. Empty is unknown.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
struct Party {
    workload: Text,
    canonical_name: Text,
    canonical_revision: Text,
    namespace: Text,
    principal: Option<Identity>,
    cluster: Text,
    region: Text,
    zone: Text,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct ServiceLabels {
    hostname: Text,
    namespace: Text,
    name: Text,
}

impl ConnectionLabels {
    /// The labels of `connection`.
    pub fn new(connection: &Connection) -> Self {
        let mut source = Party::new(connection.source.as_deref());
        if let Some(proven) = &connection.source_identity {
            source.principal = Some(proven.clone());
            if source.namespace.is_empty() {
                source.namespace = proven.namespace().clone();
            }
        }
        Self {
            direction: connection.direction,
            security: connection.security,
            source,
            destination: Party::new(connection.destination.as_deref()),
            service: connection.service.as_deref().map(|service| ServiceLabels {
                hostname: service.key.hostname.clone(),
                namespace: service.key.namespace.clone(),
                name: service.name.clone(),
            }),
        }
    }
}

impl Party {
    fn new(workload: Option<&Workload>) -> Self {
        let Some(workload) = workload else {
            return Self::default();
        };
        Self {
            workload: workload.workload_name.clone(),
            canonical_name: workload.canonical_name.clone(),
            canonical_revision: workload.canonical_revision.clone(),
            namespace: workload.namespace().clone(),
            principal: Some(workload.identity.clone()),
            cluster: workload.cluster.clone(),
            region: workload.locality.region.clone(),
            zone: workload.locality.zone.clone(),
        }
    }

    /// The eight labels of one end, in Istio's order.
    fn encode(&self, prefix: &'static str, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let name = |suffix| Name(prefix, suffix);
        label(encoder, name("workload"), &self.workload)?;
        label(encoder, name("canonical_service"), &self.canonical_name)?;
        label(encoder, name("canonical_revision"), &self.canonical_revision)?;
        label(encoder, name("workload_namespace"), &self.namespace)?;
        match &self.principal {
            Some(identity) => value(encoder, name("principal"), &Displayed(identity))?,
            None => label(encoder, name("principal"), "")?,
        }
        label(encoder, name("app"), &self.canonical_name)?;
        label(encoder, name("version"), &self.canonical_revision)?;
        label(encoder, name("cluster"), &self.cluster)
    }

    fn encode_locality(&self, prefix: &'static str, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (suffix, text) in [("region", &self.region), ("zone", &self.zone)] {
            if !text.is_empty() {
                label(encoder, Name(prefix, suffix), text)?;
            }
        }
        Ok(())
    }
}

/// All labels of one series.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesLabels<'a> {
    pub(super) connection: &'a ConnectionLabels,
    pub(super) response_flags: &'static str,
}

impl EncodeLabelSet for SeriesLabels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let ConnectionLabels {
            direction,
            security,
            source,
            destination,
            service,
        } = self.connection;
        let service = |part: fn(&ServiceLabels) -> &Text| service.as_ref().map_or("", |s| part(s).as_str());
        label(encoder, Name("", "reporter"), direction.reporter())?;
        source.encode("source_", encoder)?;
        label(encoder, Name("destination_", "service"), service(|s| &s.hostname))?;
        label(
            encoder,
            Name("destination_", "service_namespace"),
            service(|s| &s.namespace),
        )?;
        label(
            encoder,
            Name("destination_", "service_name"),
            service(|s| &s.name),
        )?;
        destination.encode("destination_", encoder)?;
        label(encoder, Name("", "request_protocol"), "tcp")?;
        label(encoder, Name("", "response_flags"), self.response_flags)?;
        label(encoder, Name("", "connection_security_policy"), security.as_str())?;
        source.encode_locality("source_", encoder)?;
        destination.encode_locality("destination_", encoder)
    }
}

/// A label's name in two parts, so that no name is ever put together on the heap.
#[derive(Clone, Copy)]
struct Name(&'static str, &'static str);

fn label(encoder: &mut LabelSetEncoder<'_>, name: Name, text: &str) -> fmt::Result {
    value(encoder, name, &if text.is_empty() { UNKNOWN } else { text })
}

fn value(encoder: &mut LabelSetEncoder<'_>, name: Name, value: &impl EncodeLabelValue) -> fmt::Result {
    let mut label = encoder.encode_label();
    let mut key = label.encode_label_key()?;
    key.write_str(name.0)?;
    key.write_str(name.1)?;
    let mut encoded = key.encode_label_value()?;
    value.encode(&mut encoded)?;
    encoded.finish()
}

/// Anything that can be displayed, as the value of a label.
pub(super) struct Displayed<T>(pub(super) T);

impl<T: fmt::Display> EncodeLabelValue for Displayed<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{}", self.0)
    }
}

#[cfg(test)]
mod tests;
