//! Objects as sources give them: of Kubernetes' and Istio's, what the mesh depends on and nothing else.
//!
//! A control plane holds every pod of a cluster. What it keeps of one is a few shared strings; the text that it came as is
//! read past everything else without keeping it. Which fields those are is the whole content of this room: a field that
//! is not here cannot make a difference.

mod entry;
mod gateway;
mod labels;
mod meta;
mod namespace;
mod node;
mod pod;
mod policy;
mod service;
mod slice;

use std::fmt;
use std::sync::Arc;

use adit_mesh::{Interner, Text};
use serde::de::DeserializeOwned;

use crate::kinds::{AuthorizationPolicy, Noted, PeerAuthentication, ServiceEntry, WorkloadEntry};
pub use entry::{Address, Entry, EntryWorkload, Place};
pub use gateway::{AllowedRoutes, Gateway, GatewayAddress, GatewayClass, Listener};
pub use labels::{Labels, Selector};
pub use meta::Meta;
pub use namespace::Namespace;
pub use node::Node;
pub use pod::{ContainerPort, Pod};
pub use policy::{Authentication, Authorization};
pub use service::{Distribution, PortTarget, Service, ServicePort};
pub use slice::{Endpoint, EndpointSlice, SlicePort};

/// The kinds of objects that the mesh depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// `v1/Namespace`.
    Namespace,
    /// `v1/Node`.
    Node,
    /// `v1/Pod`.
    Pod,
    /// `v1/Service`.
    Service,
    /// `discovery.k8s.io/EndpointSlice`.
    EndpointSlice,
    /// `gateway.networking.k8s.io/Gateway`.
    Gateway,
    /// `gateway.networking.k8s.io/GatewayClass`.
    GatewayClass,
    /// `networking.istio.io/ServiceEntry`.
    ServiceEntry,
    /// `networking.istio.io/WorkloadEntry`.
    WorkloadEntry,
    /// `security.istio.io/AuthorizationPolicy`.
    AuthorizationPolicy,
    /// `security.istio.io/PeerAuthentication`.
    PeerAuthentication,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::Gateway,
        Self::GatewayClass,
        Self::ServiceEntry,
        Self::WorkloadEntry,
        Self::AuthorizationPolicy,
        Self::PeerAuthentication,
    ];

    /// Its API group; "" is the core group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Namespace | Self::Node | Self::Pod | Self::Service => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::Gateway | Self::GatewayClass => "gateway.networking.k8s.io",
            Self::ServiceEntry | Self::WorkloadEntry => "networking.istio.io",
            Self::AuthorizationPolicy | Self::PeerAuthentication => "security.istio.io",
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Gateway => "Gateway",
            Self::GatewayClass => "GatewayClass",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::PeerAuthentication => "PeerAuthentication",
        }
    }

    /// The kind of this group and name. The version is not looked at: the fields that we use are the same in all.
    pub fn of(api_version: &str, name: &str) -> Option<Self> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        Self::ALL
            .into_iter()
            .find(|kind| kind.group() == group && kind.name() == name)
    }

    /// Whether its objects have a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node | Self::GatewayClass)
    }
}

/// The name of an object within its kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its namespace; "" for kinds that have none.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
}

impl Name {
    /// A name.
    pub fn new(namespace: impl Into<Text>, name: impl Into<Text>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An object by kind and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// An object.
#[derive(Clone, PartialEq, Debug)]
pub enum Object {
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A node.
    Node(Arc<Node>),
    /// A pod.
    Pod(Arc<Pod>),
    /// A service.
    Service(Arc<Service>),
    /// Endpoints of a service.
    EndpointSlice(Arc<EndpointSlice>),
    /// A gateway, which may be a waypoint.
    Gateway(Arc<Gateway>),
    /// A class of gateways.
    GatewayClass(Arc<GatewayClass>),
    /// A service that Kubernetes does not know.
    ServiceEntry(Arc<Entry>),
    /// A workload that Kubernetes does not run.
    WorkloadEntry(Arc<EntryWorkload>),
    /// Who may call what.
    AuthorizationPolicy(Arc<Authorization>),
    /// Whether callers must prove who they are.
    PeerAuthentication(Arc<Authentication>),
}

impl Object {
    /// Its kind and name.
    pub fn key(&self) -> Key {
        let (kind, meta) = match self {
            Self::Namespace(it) => (Kind::Namespace, &it.meta),
            Self::Node(it) => (Kind::Node, &it.meta),
            Self::Pod(it) => (Kind::Pod, &it.meta),
            Self::Service(it) => (Kind::Service, &it.meta),
            Self::EndpointSlice(it) => (Kind::EndpointSlice, &it.meta),
            Self::Gateway(it) => (Kind::Gateway, &it.meta),
            Self::GatewayClass(it) => (Kind::GatewayClass, &it.meta),
            Self::ServiceEntry(it) => (Kind::ServiceEntry, &it.meta),
            Self::WorkloadEntry(it) => (Kind::WorkloadEntry, &it.meta),
            Self::AuthorizationPolicy(it) => (Kind::AuthorizationPolicy, &it.meta),
            Self::PeerAuthentication(it) => (Kind::PeerAuthentication, &it.meta),
        };
        Key {
            kind,
            name: meta.name.clone(),
        }
    }
}

/// An object that was read, with what of it is not known.
#[derive(Clone, PartialEq, Debug)]
pub struct Read {
    /// The object.
    pub object: Object,
    /// Paths of its fields that are not known, of the kinds that are Istio's.
    pub unknown: Vec<String>,
}

/// Reads an object of a kind from the JSON form of its text.
///
/// # Errors
/// A field that has another form than its kind says: which, and what was expected.
pub fn read(kind: Kind, value: serde_json::Value, texts: &mut Interner) -> Result<Read, String> {
    fn parse<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
    let known = |object| Read {
        object,
        unknown: Vec::new(),
    };
    Ok(match kind {
        Kind::Namespace => known(Object::Namespace(Arc::new(Namespace::read(
            &parse(value)?,
            texts,
        )))),
        Kind::Node => known(Object::Node(Arc::new(Node::read(&parse(value)?, texts)))),
        Kind::Pod => known(Object::Pod(Arc::new(Pod::read(&parse(value)?, texts)))),
        Kind::Service => known(Object::Service(Arc::new(Service::read(&parse(value)?, texts)))),
        Kind::EndpointSlice => known(Object::EndpointSlice(Arc::new(EndpointSlice::read(
            &parse(value)?,
            texts,
        )))),
        Kind::Gateway => known(Object::Gateway(Arc::new(Gateway::read(&parse(value)?, texts)))),
        Kind::GatewayClass => known(Object::GatewayClass(Arc::new(GatewayClass::read(
            &parse(value)?,
            texts,
        )))),
        Kind::ServiceEntry => {
            let read: Noted<ServiceEntry> = parse(value)?;
            Read {
                object: Object::ServiceEntry(Arc::new(Entry::read(read.object, texts))),
                unknown: read.unknown,
            }
        }
        Kind::WorkloadEntry => {
            let read: Noted<WorkloadEntry> = parse(value)?;
            Read {
                object: Object::WorkloadEntry(Arc::new(EntryWorkload::read(&read.object, texts))),
                unknown: read.unknown,
            }
        }
        Kind::AuthorizationPolicy => {
            let read: Noted<AuthorizationPolicy> = parse(value)?;
            let unknown = read.unknown.clone();
            Read {
                object: Object::AuthorizationPolicy(Arc::new(Authorization::read(read, texts))),
                unknown,
            }
        }
        Kind::PeerAuthentication => {
            let read: Noted<PeerAuthentication> = parse(value)?;
            let unknown = read.unknown.clone();
            Read {
                object: Object::PeerAuthentication(Arc::new(Authentication::read(read, texts))),
                unknown,
            }
        }
    })
}
