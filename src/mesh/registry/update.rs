//! What a source of configuration tells the registry: one change of one resource, by name.

use std::fmt;
use std::sync::Arc;

use crate::policy::{Policy, PolicyKey, PolicyScope};
use crate::service::{NetworkRange, Service, ServiceKey};
use crate::text::Text;
use crate::workload::{NetworkAddress, Workload};

/// One change. Several make a batch, which becomes visible at once; within a batch the order does not matter
/// unless two changes name the same resource, when the later one counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Update {
    /// A workload is like this now.
    Workload(Arc<Workload>),
    /// A service is like this now.
    Service(Arc<Service>),
    /// A policy is like this now.
    Policy(Arc<Policy>),
    /// A resource is gone. Naming one that never was is no mistake.
    Remove(ResourceName),
    /// A resource was sent that cannot be understood: its last good version stays, and without one it is a
    /// tombstone.
    Reject(Rejection),
}

/// The name of a resource of either kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ResourceName {
    /// A workload, by its uid.
    Workload(Text),
    /// A service.
    Service(ServiceKey),
    /// A policy.
    Policy(PolicyKey),
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(uid) => write!(f, "workload {uid}"),
            Self::Service(key) => write!(f, "service {key}"),
            Self::Policy(key) => write!(f, "policy {key}"),
        }
    }
}

/// A resource that could not be understood, as far as it could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// Its name.
    pub name: ResourceName,
    /// The addresses that it claims; those of a tombstone are refused.
    pub addresses: Box<[NetworkAddress]>,
    /// The address ranges that it claims; those of a tombstone are refused.
    pub ranges: Box<[NetworkRange]>,
    /// The scope of a policy. One that could not be read counts as [`PolicyScope::Namespace`], and as named by
    /// the workloads that name it: the widest reach that its name proves.
    pub scope: Option<PolicyScope>,
    /// What is wrong with it, for people.
    pub reason: Text,
}

impl Rejection {
    /// A rejection of which nothing but the name could be read.
    pub fn new(name: ResourceName, reason: Text) -> Self {
        Self {
            name,
            addresses: Box::default(),
            ranges: Box::default(),
            scope: None,
            reason,
        }
    }
}
