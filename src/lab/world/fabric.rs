//! The network under the mesh: a bridge that joins the nodes, and a cable from each pod to its node, as network plugins
//! without an overlay make it.
//!
//! Node `n` (from 1) has 10.200.0.n on the wire and routes 10.244.n.0/24 to its pods; with IPv6, fd00:200::n and
//! fd00:244:n::/64. Every cable is a network of its own, so that two pods of one node can only talk through it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_net::link::{self, End, Route};
use adit_net::{Namespace, Reason};
use anyhow::Context;
use ipnet::IpNet;
use nix::errno::Errno;

/// The device in every node and pod that leads out of it.
pub const DEVICE: &str = "eth0";

/// The device that joins the nodes, in the wire's namespace.
const BRIDGE: &str = "wire";

/// How many addresses of pods that have gone rest before the first of them is given to a new pod: few, so that what
/// remembers the old pod for too long is found out.
const RESTING: usize = 4;

/// An address of each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6, where the kernel has it.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    fn all(self) -> impl Iterator<Item = IpAddr> {
        [Some(self.v4.into()), self.v6.map(IpAddr::from)]
            .into_iter()
            .flatten()
    }
}

/// Where something is attached to a node.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its addresses.
    pub addresses: Addresses,
    /// The other end of its cable, in the node's namespace.
    pub cable: String,
    /// Its place on the node, which its addresses are made of.
    number: u8,
}

/// The wire and what hangs on it.
#[derive(Debug)]
pub(super) struct Fabric {
    wire: Namespace,
    ipv6: bool,
    nodes: Vec<FabricNode>,
}

#[derive(Debug)]
struct FabricNode {
    namespace: Namespace,
    /// The last number that a pod was the first to have.
    pods: u8,
    /// Numbers of pods that have gone, those that went first in front.
    free: VecDeque<u8>,
}

impl FabricNode {
    /// A number for a new pod.
    fn number(&mut self) -> anyhow::Result<u8> {
        let fresh = self.pods.checked_add(1).filter(|number| *number < u8::MAX - 1);
        if self.free.len() > RESTING || fresh.is_none() {
            return self.free.pop_front().context("no address is left on the node");
        }
        let fresh = fresh.context("no address is left on the node")?;
        self.pods = fresh;
        Ok(fresh)
    }
}

impl Fabric {
    /// Makes the wire, in a network namespace of its own.
    pub(super) fn new() -> anyhow::Result<Self> {
        let wire = Namespace::create()?;
        link::add_bridge(&wire, BRIDGE)?;
        Ok(Self {
            ipv6: adit_net::socket::ipv6_available(Some(&wire))?,
            wire,
            nodes: Vec::new(),
        })
    }

    /// Makes a node that reaches the pods of all others.
    pub(super) fn add_node(&mut self) -> anyhow::Result<Namespace> {
        let namespace = Namespace::create()?;
        let number = u8::try_from(self.nodes.len() + 1)?;
        let port = format!("node-{number}");
        link::set_up(&namespace, "lo")?;
        link::add_veth(end(&self.wire, &port), end(&namespace, DEVICE))?;
        link::attach_to_bridge(&self.wire, &port, BRIDGE)?;
        self.make_router(&namespace)?;
        for address in self.on_wire(number).all() {
            let length = if address.is_ipv4() { 24 } else { 64 };
            link::add_address(&namespace, DEVICE, IpNet::new(address, length)?)?;
        }
        for (other, number_of_other) in self.nodes.iter().zip(1..) {
            self.route_pods(&namespace, number_of_other)?;
            self.route_pods(&other.namespace, number)?;
        }
        self.nodes.push(FabricNode {
            namespace: namespace.clone(),
            pods: 0,
            free: VecDeque::new(),
        });
        Ok(namespace)
    }

    /// Makes a namespace with a cable to a node.
    pub(super) fn add_pod(&mut self, node: usize) -> anyhow::Result<Attachment> {
        let number = u8::try_from(node + 1)?;
        let ipv6 = self.ipv6;
        let node = self
            .nodes
            .get_mut(node)
            .ok_or_else(|| anyhow::anyhow!("no node number {node}"))?;
        let pod = node.number()?;
        // The first address of the network is the node's own.
        let (gateway, addresses) = (of_pod(number, 1, ipv6), of_pod(number, pod + 1, ipv6));
        let namespace = Namespace::create()?;
        let cable = format!("pod{pod}");
        link::set_up(&namespace, "lo")?;
        link::add_veth(end(&node.namespace, &cable), end(&namespace, DEVICE))?;
        for (gateway, address) in gateway.all().zip(addresses.all()) {
            link::add_address(&node.namespace, &cable, IpNet::from(gateway))?;
            link::add_address(&namespace, DEVICE, IpNet::from(address))?;
            route(&node.namespace, IpNet::from(address), None, Some(&cable))?;
            route(&namespace, IpNet::from(gateway), None, Some(DEVICE))?;
            route(&namespace, everything(address), Some(gateway), None)?;
        }
        Ok(Attachment {
            namespace,
            addresses,
            cable,
            number: pod,
        })
    }

    /// Takes the cable of a pod away, unless somebody has already, and its address back.
    pub(super) fn remove_pod(&mut self, node: usize, attachment: &Attachment) -> anyhow::Result<()> {
        let node = self
            .nodes
            .get_mut(node)
            .ok_or_else(|| anyhow::anyhow!("no node number {node}"))?;
        match link::remove(&node.namespace, &attachment.cable) {
            Ok(()) => {}
            Err(error) if error.reason == Reason::Refused(Errno::ENODEV) => {}
            Err(error) => return Err(error.into()),
        }
        node.free.push_back(attachment.number);
        Ok(())
    }

    fn make_router(&self, namespace: &Namespace) -> anyhow::Result<()> {
        link::set(namespace, "ipv4/ip_forward", "1")?;
        if self.ipv6 {
            link::set(namespace, "ipv6/conf/all/forwarding", "1")?;
        }
        Ok(())
    }

    fn route_pods(&self, from: &Namespace, number: u8) -> anyhow::Result<()> {
        let pods = of_pod(number, 0, self.ipv6);
        for (pods, node) in pods.all().zip(self.on_wire(number).all()) {
            let length = if pods.is_ipv4() { 24 } else { 64 };
            route(from, IpNet::new(pods, length)?, Some(node), None)?;
        }
        Ok(())
    }

    fn on_wire(&self, number: u8) -> Addresses {
        Addresses {
            v4: Ipv4Addr::new(10, 200, 0, number),
            v6: self
                .ipv6
                .then(|| Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0, 0, 0, number.into())),
        }
    }
}

fn of_pod(node: u8, pod: u8, ipv6: bool) -> Addresses {
    Addresses {
        v4: Ipv4Addr::new(10, 244, node, pod),
        v6: ipv6.then(|| Ipv6Addr::new(0xfd00, 0x244, node.into(), 0, 0, 0, 0, pod.into())),
    }
}

fn everything(family_of: IpAddr) -> IpNet {
    match family_of {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

fn end<'a>(namespace: &'a Namespace, name: &'a str) -> End<'a> {
    End { namespace, name }
}

fn route(
    namespace: &Namespace,
    destination: IpNet,
    via: Option<IpAddr>,
    device: Option<&str>,
) -> anyhow::Result<()> {
    link::add_route(
        namespace,
        &Route {
            destination,
            via,
            device,
        },
    )?;
    Ok(())
}
