//! How often each limit of the tunnel said no: a closed list, so that every limit can be found in a scrape.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// A limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Limit {
    /// Requests that a peer gave up before they were answered.
    AbandonedRequests,
    /// Bytes buffered for the streams of a connection.
    BufferedBytesPerConnection,
    /// Bytes buffered on the node.
    BufferedBytesPerNode,
    /// Bytes buffered for a pod.
    BufferedBytesPerPod,
    /// Connections on the node.
    ConnectionsPerNode,
    /// Connections of a pod.
    ConnectionsPerPod,
    /// Descriptors of the process.
    Descriptors,
    /// TLS handshakes in flight on the node.
    HandshakesPerNode,
    /// TLS handshakes in flight of a pod.
    HandshakesPerPod,
    /// HBONE connections of one peer to a pod.
    TunnelsPerPeer,
}

impl Limit {
    /// Every limit, in the order of declaration.
    pub const ALL: [Self; 10] = [
        Self::AbandonedRequests,
        Self::BufferedBytesPerConnection,
        Self::BufferedBytesPerNode,
        Self::BufferedBytesPerPod,
        Self::ConnectionsPerNode,
        Self::ConnectionsPerPod,
        Self::Descriptors,
        Self::HandshakesPerNode,
        Self::HandshakesPerPod,
        Self::TunnelsPerPeer,
    ];

    /// The value of the metric label `limit`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AbandonedRequests => "abandoned_requests",
            Self::BufferedBytesPerConnection => "buffered_bytes_per_connection",
            Self::BufferedBytesPerNode => "buffered_bytes_per_node",
            Self::BufferedBytesPerPod => "buffered_bytes_per_pod",
            Self::ConnectionsPerNode => "connections_per_node",
            Self::ConnectionsPerPod => "connections_per_pod",
            Self::Descriptors => "descriptors",
            Self::HandshakesPerNode => "handshakes_per_node",
            Self::HandshakesPerPod => "handshakes_per_pod",
            Self::TunnelsPerPeer => "tunnels_per_peer",
        }
    }
}

/// A count for each limit.
#[derive(Clone, Default, Debug)]
pub(super) struct Limits(Arc<[AtomicU64; Limit::ALL.len()]>);

impl Limits {
    pub(super) fn count(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl EncodeMetric for Limits {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for limit in Limit::ALL {
            let count = self.0[limit as usize].load(Ordering::Relaxed);
            ConstCounter::new(count).encode(encoder.encode_family(&[("limit", limit.as_str())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_all_limits_is_complete_and_in_order() {
        for (index, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, index);
        }
    }
}
