//! The answers of [`decide`](super::decide) and [`accept`](super::accept), as values.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::identity::Identity;
use crate::outcome::Outcome;
use crate::service::Service;
use crate::text::Text;
use crate::workload::Workload;

/// Where a connection goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// To where it was addressed, as it is: nobody's address, or one of a passthrough service.
    Passthrough {
        /// What to dial.
        address: SocketAddr,
        /// The passthrough service, if it is one.
        service: Option<Arc<Service>>,
    },
    /// To a known workload that does not speak HBONE, as it is.
    Direct(Hop),
    /// Through an HBONE tunnel.
    Hbone(Tunnelled),
    /// Nowhere.
    Refuse(Refusal),
}

/// One chosen way to a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// What to dial: the endpoint's port, or the HBONE port of the endpoint or of the waypoint.
    pub address: SocketAddr,
    /// Who answers there: the endpoint, or the waypoint's pod.
    pub peer: Arc<Workload>,
    /// The final workload; `None` behind the waypoint of a service, which chooses it.
    pub destination: Option<Arc<Workload>>,
    /// What the connection is for: the endpoint's address and target port, or, behind a waypoint, what the
    /// application called.
    pub target: SocketAddr,
    /// The service that was called.
    pub service: Option<Arc<Service>>,
}

/// One HBONE tunnel and what to ask of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tunnelled {
    /// Where the tunnel leads.
    pub hop: Hop,
    /// The authority of the CONNECT.
    pub authority: Authority,
    /// The identities of which the peer must prove one; never empty.
    pub expected: Arc<[Identity]>,
    /// Whether the peer is the destination or a waypoint.
    pub via: Via,
}

/// Whether a tunnel ends at the destination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Via {
    /// It ends at the destination's pod.
    Direct,
    /// It ends at a waypoint.
    Waypoint,
}

/// Why a connection goes nowhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The reason, of the closed list.
    pub outcome: Outcome,
    /// The reason in words: names the thing, and what is wrong with it.
    pub detail: String,
    /// The service that was called, as far as known.
    pub service: Option<Arc<Service>>,
    /// The workload that was called, as far as known.
    pub workload: Option<Arc<Workload>>,
}

impl Refusal {
    /// A refusal that concerns no known service or workload.
    pub(crate) fn new(outcome: Outcome, detail: String) -> Self {
        Self {
            outcome,
            detail,
            service: None,
            workload: None,
        }
    }

    pub(crate) fn of_service(self, service: &Arc<Service>) -> Self {
        Self {
            service: Some(Arc::clone(service)),
            ..self
        }
    }

    pub(crate) fn of_workload(self, workload: &Arc<Workload>) -> Self {
        Self {
            workload: Some(Arc::clone(workload)),
            ..self
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.detail)
    }
}

/// The `:authority` of a CONNECT: what the client wants to reach.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Authority {
    /// An address and port. Never an IPv4-mapped IPv6 address.
    Address(SocketAddr),
    /// A service by hostname.
    Host {
        /// The hostname, in lower case.
        hostname: Text,
        /// The service's port.
        port: NonZeroU16,
    },
}

/// The form on the wire, with an IPv6 address in brackets (RFC 9113, section 8.5; RFC 3986, section 3.2.2).
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Host { hostname, port } => write!(f, "{hostname}:{port}"),
        }
    }
}

/// How an inbound connection is handed to the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The pod's address and port to dial.
    pub address: SocketAddr,
    /// A PROXY protocol version 2 header precedes the bytes.
    pub proxy_header: bool,
    /// What the client called, as the PROXY header tells it. Equal to `address` unless that was a hostname or
    /// something behind this pod.
    pub destination: SocketAddr,
    /// What policies are decided for: the pod's address and the real port, after resolution.
    pub authorized: SocketAddr,
    /// The service that was called, as far as the authority tells; for plaintext, the one that the port points to
    /// ([`attribute`](super::attribute)).
    pub service: Option<Arc<Service>>,
    /// The application expects the connection on its loopback address, where configuration allows that
    /// (`LOCALHOST_APP_TUNNEL`); see [`Delivery::dial`].
    pub loopback: bool,
}

impl Delivery {
    /// What to dial, given whether application tunnels are delivered on loopback (`LOCALHOST_APP_TUNNEL`).
    pub fn dial(&self, localhost: bool) -> SocketAddr {
        use std::net::{Ipv4Addr, Ipv6Addr};
        let port = self.address.port();
        match (self.loopback && localhost, self.address) {
            (false, address) => address,
            (true, SocketAddr::V4(_)) => (Ipv4Addr::LOCALHOST, port).into(),
            (true, SocketAddr::V6(_)) => (Ipv6Addr::LOCALHOST, port).into(),
        }
    }
}
