//! A service: a name, its virtual addresses and ports, and how to choose among its endpoints (resource
//! `istio.workload.Address`, field `service`).

use std::fmt;
use std::num::NonZeroU16;

use ipnet::IpNet;

use crate::identity::Identity;
use crate::text::Text;
use crate::workload::{GatewayAddress, NetworkAddress};

/// A service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its namespace and hostname, the key that the whole mesh knows it by.
    pub key: ServiceKey,
    /// Its name within the namespace.
    pub name: Text,
    /// Its virtual addresses.
    pub addresses: Box<[NetworkAddress]>,
    /// The address ranges that it stands for.
    pub ranges: Box<[NetworkRange]>,
    /// Its ports; the target is `None` where the port is named and each endpoint has its own.
    pub ports: PortMap,
    /// Server identities accepted beside those of the endpoints.
    pub subject_alt_names: Box<[Identity]>,
    /// The waypoint that its traffic goes through.
    pub waypoint: Option<GatewayAddress>,
    /// Several waypoints with their shares; where not empty and not all zero, these count instead of `waypoint`.
    pub weighted_waypoints: Box<[(GatewayAddress, u32)]>,
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// Which address families it is reached by.
    pub ip_families: IpFamilies,
    /// It is the definition of its hostname that other namespaces use.
    pub canonical: bool,
    /// Who may see it.
    pub visibility: Visibility,
}

impl Service {
    /// A service that only has a name; every other field is at its default of the protocol.
    pub fn new(key: ServiceKey, name: Text) -> Self {
        Self {
            key,
            name,
            addresses: Box::default(),
            ranges: Box::default(),
            ports: PortMap::default(),
            subject_alt_names: Box::default(),
            waypoint: None,
            weighted_waypoints: Box::default(),
            balancing: Balancing::default(),
            ip_families: IpFamilies::Automatic,
            canonical: false,
            visibility: Visibility::Public,
        }
    }
}

/// The name of a service: `<namespace>/<hostname>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The Kubernetes namespace that defines it.
    pub namespace: Text,
    /// Its fully qualified hostname.
    pub hostname: Text,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A range of addresses in a network, of more than one address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NetworkRange {
    /// The network; "" where there is only one.
    pub network: Text,
    /// The range, its host bits zero.
    pub range: IpNet,
}

/// Service ports and the target port of each, sorted by service port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PortMap(Box<[(NonZeroU16, Option<NonZeroU16>)]>);

impl PortMap {
    /// The target of `service_port`: `None` if the service does not have that port, `Some(None)` if the target
    /// is a named port that every endpoint resolves for itself.
    pub fn target(&self, service_port: u16) -> Option<Option<NonZeroU16>> {
        let wanted = NonZeroU16::new(service_port)?;
        let found = self.0.binary_search_by_key(&wanted, |&(port, _)| port).ok()?;
        Some(self.0[found].1)
    }

    /// All pairs, in the order of the service ports.
    pub fn iter(&self) -> impl Iterator<Item = (NonZeroU16, Option<NonZeroU16>)> + '_ {
        self.0.iter().copied()
    }

    /// Whether there are no ports at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Collects pairs of service and target port; of several with one service port the last counts.
impl FromIterator<(NonZeroU16, Option<NonZeroU16>)> for PortMap {
    fn from_iter<I: IntoIterator<Item = (NonZeroU16, Option<NonZeroU16>)>>(pairs: I) -> Self {
        let sorted: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
        Self(sorted.into_iter().collect())
    }
}

/// How an endpoint of a service is chosen.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Balancing {
    /// What `preferences` means.
    pub mode: BalancingMode,
    /// Scopes in the order of their importance.
    pub preferences: Box<[Scope]>,
    /// Which endpoints take part.
    pub health_policy: HealthPolicy,
}

/// What the preferences of a service mean.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum BalancingMode {
    /// Nothing: all endpoints are equal.
    #[default]
    Standard,
    /// Only endpoints that match every scope.
    Strict,
    /// The more leading scopes an endpoint matches, the sooner it is chosen.
    Failover,
    /// No endpoint is chosen: the original address is dialled.
    Passthrough,
}

/// What an endpoint may share with the client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// The region.
    Region,
    /// The zone.
    Zone,
    /// The subzone.
    Subzone,
    /// The node.
    Node,
    /// The cluster.
    Cluster,
    /// The network.
    Network,
}

/// Which endpoints of a service take part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum HealthPolicy {
    /// The healthy ones.
    #[default]
    OnlyHealthy,
    /// All.
    AllowAll,
}

/// Which address families a service is reached by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IpFamilies {
    /// Whatever its endpoints have.
    Automatic,
    /// IPv4.
    V4Only,
    /// IPv6.
    V6Only,
    /// Both.
    Dual,
}

/// Who may see a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Clients of its own namespace.
    Namespace,
}
