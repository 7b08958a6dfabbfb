//! Links, addresses, routes and kernel settings of network namespaces, for topologies made of them.
//!
//! Everything here acts inside the namespace that is given and nowhere else.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;
use thiserror::Error;

use crate::namespace::Namespace;
use crate::netlink::NetlinkError;

/// One end of a pair of virtual Ethernet devices.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where the end is.
    pub namespace: &'a Namespace,
    /// What it is called there.
    pub name: &'a str,
}

/// A route of the main table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route<'a> {
    /// Where to; a prefix length of 0 is the default route.
    pub destination: IpNet,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The device; without it the next hop must be on a connected network.
    pub device: Option<&'a str>,
}

/// Makes a pair of virtual Ethernet devices, each end in its namespace, both up.
pub fn add_veth(one: End<'_>, other: End<'_>) -> Result<(), NetlinkError> {
    let _ = (one, other);
    todo!()
}

/// Makes a bridge, up.
pub fn add_bridge(namespace: &Namespace, name: &str) -> Result<(), NetlinkError> {
    let _ = (namespace, name);
    todo!()
}

/// Makes a device a port of a bridge.
pub fn attach_to_bridge(namespace: &Namespace, device: &str, bridge: &str) -> Result<(), NetlinkError> {
    let _ = (namespace, device, bridge);
    todo!()
}

/// Gives a device an address, with the network that is reached through it.
pub fn add_address(namespace: &Namespace, device: &str, address: IpNet) -> Result<(), NetlinkError> {
    let _ = (namespace, device, address);
    todo!()
}

/// Adds a route.
pub fn add_route(namespace: &Namespace, route: &Route<'_>) -> Result<(), NetlinkError> {
    let _ = (namespace, route);
    todo!()
}

/// Brings a device up.
pub fn set_up(namespace: &Namespace, device: &str) -> Result<(), NetlinkError> {
    let _ = (namespace, device);
    todo!()
}

/// Sets the largest packet of a device, in bytes.
pub fn set_mtu(namespace: &Namespace, device: &str, mtu: u32) -> Result<(), NetlinkError> {
    let _ = (namespace, device, mtu);
    todo!()
}

/// Removes a device; of a pair both ends go.
pub fn remove(namespace: &Namespace, device: &str) -> Result<(), NetlinkError> {
    let _ = (namespace, device);
    todo!()
}

/// Writes a kernel setting below `/proc/sys/net` as the namespace has it, such as `ipv4.ip_forward` or
/// `ipv6.conf.all.disable_ipv6`. Dots separate, as `sysctl` writes them without `net.`.
pub fn set(namespace: &Namespace, setting: &str, value: &str) -> Result<(), SettingError> {
    let _ = (namespace, setting, value);
    todo!()
}

/// A kernel setting that could not be written.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
#[error("net.{setting} cannot be set to {value}: {errno}")]
pub struct SettingError {
    /// The setting, without `net.`.
    pub setting: String,
    /// The value that was to be written.
    pub value: String,
    /// What the kernel said.
    pub errno: Errno,
}
