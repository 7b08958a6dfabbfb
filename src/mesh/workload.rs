//! A workload: one pod, virtual machine or external endpoint, as the control plane describes it
//! (resource `istio.workload.Address`, field `workload`).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::identity::{Identity, InvalidIdentity, TrustDomain};
use crate::policy::PolicyKey;
use crate::service::{PortMap, ServiceKey};
use crate::text::Text;

/// A workload. What exists is valid: its identity is well formed, its ports are not 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Unique in the mesh; for a pod `<cluster>//Pod/<namespace>/<name>`.
    pub uid: Text,
    /// The pod's name.
    pub name: Text,
    /// Who it is: trust domain, namespace and service account.
    pub identity: Identity,
    /// Its IP addresses, at most one of each family in practice.
    pub addresses: Box<[IpAddr]>,
    /// A DNS name in place of addresses, for endpoints outside the cluster.
    pub hostname: Option<Text>,
    /// The network that its addresses belong to; "" where there is only one.
    pub network: Text,
    /// The gateway by which other networks reach it.
    pub network_gateway: Option<Box<GatewayAddress>>,
    /// How it is spoken to.
    pub protocol: TunnelProtocol,
    /// It terminates HBONE itself, without a node tunnel.
    pub native_tunnel: bool,
    /// Whether its addresses are its own or its node's.
    pub network_mode: NetworkMode,
    /// The waypoint that traffic addressed to the workload itself goes through.
    pub waypoint: Option<Box<GatewayAddress>>,
    /// How decapsulated traffic is handed to it, when it is a proxy behind our tunnel ("sandwich").
    pub application_tunnel: Option<ApplicationTunnel>,
    /// The services that it is an endpoint of, each with its ports.
    pub services: Box<[(ServiceKey, PortMap)]>,
    /// The policies that select it by label.
    pub authorization_policies: Box<[PolicyKey]>,
    /// Whether it should be sent new connections.
    pub health: Health,
    /// Its relative share of connections among the endpoints of a service; at least 1.
    pub capacity: u32,
    /// The node that it runs on.
    pub node: Text,
    /// The cluster that it runs in.
    pub cluster: Text,
    /// Where it runs.
    pub locality: Locality,
    /// The name that telemetry groups by.
    pub canonical_name: Text,
    /// The version that telemetry groups by.
    pub canonical_revision: Text,
    /// The name of what owns it, such as its Deployment.
    pub workload_name: Text,
    /// The kind of what owns it.
    pub workload_type: WorkloadType,
}

impl Workload {
    /// A workload that only has a name and an identity; every other field is at its default of the protocol
    /// (plain TCP, healthy, capacity 1, no address).
    ///
    /// # Errors
    /// A namespace or service account that cannot stand in a SPIFFE ID.
    pub fn new(
        uid: Text,
        name: Text,
        trust_domain: TrustDomain,
        namespace: Text,
        service_account: Text,
    ) -> Result<Self, InvalidIdentity> {
        Ok(Self {
            uid,
            identity: Identity::new(trust_domain, namespace, service_account)?,
            name,
            addresses: Box::default(),
            hostname: None,
            network: Text::empty(),
            network_gateway: None,
            protocol: TunnelProtocol::Tcp,
            native_tunnel: false,
            network_mode: NetworkMode::Standard,
            waypoint: None,
            application_tunnel: None,
            services: Box::default(),
            authorization_policies: Box::default(),
            health: Health::Healthy,
            capacity: 1,
            node: Text::empty(),
            cluster: Text::empty(),
            locality: Locality::default(),
            canonical_name: Text::empty(),
            canonical_revision: Text::empty(),
            workload_name: Text::empty(),
            workload_type: WorkloadType::Pod,
        })
    }

    /// Its Kubernetes namespace.
    pub fn namespace(&self) -> &Text {
        self.identity.namespace()
    }

    /// Whether its uid names a pod. Among workloads that share an address, pods win.
    pub fn is_pod(&self) -> bool {
        self.uid.contains("//Pod/")
    }
}

/// An address within a network.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkAddress {
    /// The network; "" where there is only one.
    pub network: Text,
    /// The address, never an IPv4-mapped IPv6 one.
    pub ip: IpAddr,
}

impl NetworkAddress {
    /// `ip` in `network`; an IPv4-mapped IPv6 address becomes the IPv4 address that it stands for.
    pub fn new(network: Text, ip: IpAddr) -> Self {
        Self {
            network,
            ip: ip.to_canonical(),
        }
    }
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ip)
    }
}

impl fmt::Debug for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a gateway (waypoint or network gateway) is reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GatewayAddress {
    /// By service or by address.
    pub destination: GatewayDestination,
    /// The port that speaks HBONE; 15008 for waypoints.
    pub hbone_port: NonZeroU16,
}

/// The two ways in which a gateway is named.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GatewayDestination {
    /// A service (or, failing that, a workload) by hostname.
    Hostname(ServiceKey),
    /// An address: a service's or a workload's.
    Address(NetworkAddress),
}

/// How a workload is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TunnelProtocol {
    /// As it is.
    Tcp,
    /// HBONE on port 15008.
    Hbone,
    /// Mutual TLS as Istio's sidecars speak it. Valid in a configuration, never dialled by us.
    LegacyIstioMtls,
}

/// Whose addresses a workload has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NetworkMode {
    /// Its own.
    Standard,
    /// Its node's, shared with others: it cannot be looked up by address.
    HostNetwork,
}

/// Whether a workload should be sent new connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Health {
    /// Yes.
    Healthy,
    /// Only where the service asks for all endpoints.
    Unhealthy,
}

/// The kind of a workload's owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WorkloadType {
    /// A Deployment.
    Deployment,
    /// A CronJob.
    CronJob,
    /// A bare pod.
    Pod,
    /// A Job.
    Job,
}

impl WorkloadType {
    /// The name in lower case, as `baggage` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::CronJob => "cronjob",
            Self::Pod => "pod",
            Self::Job => "job",
        }
    }
}

/// Where a workload runs; "" is unknown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Locality {
    /// Region.
    pub region: Text,
    /// Zone within the region.
    pub zone: Text,
    /// Subzone within the zone.
    pub subzone: Text,
}

/// How a proxy behind our tunnel takes its traffic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ApplicationTunnel {
    /// What precedes the bytes.
    pub protocol: ApplicationProtocol,
    /// The port that replaces the one in the authority.
    pub port: Option<NonZeroU16>,
}

/// What precedes the bytes of a connection handed to a proxy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ApplicationProtocol {
    /// Nothing.
    None,
    /// A PROXY protocol version 2 header.
    Proxy,
}
