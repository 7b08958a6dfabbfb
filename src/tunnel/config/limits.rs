//! How much one pod, one peer and all together may have at a time, so that nobody's storm or stall becomes
//! everybody's.

use super::error::ConfigError;
use super::read;
use crate::cli::LimitArgs;

/// A pod has 28,232 ephemeral ports towards one destination; beyond half of them it would soon be refused by its own
/// kernel.
const CONNECTIONS_PER_POD: u32 = 16_384;
/// Our pool opens 8 to a peer in each worker that the client's pod lives in, so this is a client on 32 cores.
const TUNNELS_PER_PEER: u32 = 256;
/// One takes about half a millisecond of CPU: a neighbour on the same worker waits for a sixteenth of a second at most.
const HANDSHAKES_PER_POD: u32 = 128;
/// What eight pods may have in flight at a time; some 30 MB of TLS state.
const HANDSHAKES_PER_NODE: u32 = 1024;
/// Two connections whose windows have grown to their limit, because all their applications stopped reading.
const BUFFERED_BYTES_PER_POD: u32 = 128 << 20;
/// Half a gibibyte is what Istio's charts request for a node's tunnel; four pods may do their worst.
const BUFFERED_BYTES_PER_NODE: u32 = 512 << 20;
/// Below, a single window of the default size would not fit.
const LEAST_BUFFERED_BYTES: u32 = 1 << 20;
/// More is not a limit any more, and whoever wants that can say so.
const MOST: u32 = 1 << 24;

/// How much there may be of each at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections of a pod: those of its applications, those to them, and its peers' HBONE connections.
    pub connections_per_pod: u32,
    /// HBONE connections that one address has to a pod, in each worker that the pod lives in.
    pub tunnels_per_peer: u32,
    /// TLS handshakes that a pod has in flight in each direction. Others wait their turn.
    pub handshakes_per_pod: u32,
    /// TLS handshakes in flight on the node in each direction.
    pub handshakes_per_node: u32,
    /// Bytes that are buffered for a pod because whoever should take them does not.
    pub buffered_bytes_per_pod: u32,
    /// The same of all pods together.
    pub buffered_bytes_per_node: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_pod: CONNECTIONS_PER_POD,
            tunnels_per_peer: TUNNELS_PER_PEER,
            handshakes_per_pod: HANDSHAKES_PER_POD,
            handshakes_per_node: HANDSHAKES_PER_NODE,
            buffered_bytes_per_pod: BUFFERED_BYTES_PER_POD,
            buffered_bytes_per_node: BUFFERED_BYTES_PER_NODE,
        }
    }
}

impl Limits {
    pub(super) fn new(args: &LimitArgs) -> Result<Self, ConfigError> {
        let default = Self::default();
        let handshakes_per_node =
            read::number("ADIT_HANDSHAKES_PER_NODE", &args.handshakes_per_node, 1, MOST)?
                .unwrap_or(default.handshakes_per_node);
        let buffered_bytes_per_node = read::number(
            "ADIT_BUFFERED_BYTES_PER_NODE",
            &args.buffered_bytes_per_node,
            LEAST_BUFFERED_BYTES,
            u32::MAX,
        )?
        .unwrap_or(default.buffered_bytes_per_node);
        // A pod that may have more than the node is a mistake; one that nobody spoke of follows the node.
        Ok(Self {
            connections_per_pod: read::number(
                "ADIT_CONNECTIONS_PER_POD",
                &args.connections_per_pod,
                1,
                MOST,
            )?
            .unwrap_or(default.connections_per_pod),
            tunnels_per_peer: read::number("ADIT_TUNNELS_PER_PEER", &args.tunnels_per_peer, 1, MOST)?
                .unwrap_or(default.tunnels_per_peer),
            handshakes_per_pod: read::number(
                "ADIT_HANDSHAKES_PER_POD",
                &args.handshakes_per_pod,
                1,
                handshakes_per_node,
            )?
            .unwrap_or(default.handshakes_per_pod.min(handshakes_per_node)),
            handshakes_per_node,
            buffered_bytes_per_pod: read::number(
                "ADIT_BUFFERED_BYTES_PER_POD",
                &args.buffered_bytes_per_pod,
                LEAST_BUFFERED_BYTES,
                buffered_bytes_per_node,
            )?
            .unwrap_or(default.buffered_bytes_per_pod.min(buffered_bytes_per_node)),
            buffered_bytes_per_node,
        })
    }
}
