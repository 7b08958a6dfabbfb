//! The ports that are part of the contract with Istio's node agent and with every peer of the mesh. They are not
//! settings: a pod's redirect rules, its peers and its network policies name the same numbers.

/// Outbound connections of a pod's applications are redirected here.
pub const OUTBOUND_PORT: u16 = 15001;
/// Plaintext connections to a pod are redirected here.
pub const PLAINTEXT_PORT: u16 = 15006;
/// HBONE: peers connect to it in the pod's own network namespace.
pub const HBONE_PORT: u16 = 15008;
/// DNS queries of a pod's applications are redirected here.
pub const DNS_PORT: u16 = 15053;
/// The SOCKS5 listener of stock ztunnel; reserved so that nobody reaches it through us.
pub const SOCKS5_PORT: u16 = 15080;

/// Administration, on the loopback interface of the tunnel's own namespace.
pub const ADMIN_PORT: u16 = 15000;
/// Metrics.
pub const METRICS_PORT: u16 = 15020;
/// Readiness.
pub const READINESS_PORT: u16 = 15021;

/// The ports on which the tunnel itself listens inside a pod's namespace. A connection that leads to one of them
/// on the pod's own addresses would come back to the tunnel and go round for ever.
pub const OWN_PORTS: [u16; 4] = [OUTBOUND_PORT, PLAINTEXT_PORT, HBONE_PORT, SOCKS5_PORT];

/// Whether the tunnel itself listens on `port` inside a pod's namespace.
pub fn is_own_port(port: u16) -> bool {
    OWN_PORTS.contains(&port)
}
