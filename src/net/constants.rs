//! What Istio's node agent, its tunnel and we must agree upon, because a pod may be enrolled by one and served by the
//! other: packet marks, the address of the kubelet's probes, and where policy routing finds the way back. (The ports are
//! in [`adit_mesh::constants`].)

use std::net::{Ipv4Addr, Ipv6Addr};

/// The mark of every socket of the tunnel: packets with it are never redirected, so the tunnel cannot call itself.
pub const TUNNEL_MARK: u32 = 0x539;

/// The mark kept in conntrack for a connection that the tunnel opened towards the application with the client's
/// address; the application's replies get it back and are routed to the tunnel instead of the real client.
pub const REPLY_MARK: u32 = 0x111;

/// The bits of a packet's mark that belong to the mesh. The others belong to network plugins and are left alone.
pub const MARK_MASK: u32 = 0xfff;

/// What the kubelet's probes are given as source on the node, so that a pod's rules can tell them from peers.
pub const PROBE_ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);

/// The same for IPv6.
pub const PROBE_ADDRESS_V6: Ipv6Addr =
    Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff);

/// The routing table that sends packets with [`REPLY_MARK`] to the loopback device.
pub const REPLY_TABLE: u32 = 100;

/// The priority of the routing rule that leads to [`REPLY_TABLE`]: just before the main table (32766).
pub const REPLY_RULE_PRIORITY: u32 = 32764;
