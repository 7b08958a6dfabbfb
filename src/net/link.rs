//! Links, addresses, routes and kernel settings of network namespaces, for topologies made of them.
//!
//! Everything here acts inside the namespace that is given and nowhere else.

use std::future::Future;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};
use thiserror::Error;

use crate::namespace::{Namespace, errno_of};
use crate::netlink::{NetlinkError, Reason, converse};

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
    let peer = LinkUnspec::new_with_name(other.name)
        .setns_by_fd(other.namespace.as_fd().as_raw_fd())
        .build();
    // The builder can name a peer, not place it; its second argument is replaced as a whole.
    let message = LinkVeth::new(one.name, other.name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    request(
        one.namespace,
        format!("make the devices {} and {}", one.name, other.name),
        |handle| async move { handle.link().add(message).execute().await },
    )?;
    // Not possible while they are made: each wants the other to be there.
    for end in [one, other] {
        set_up(end.namespace, end.name)?;
    }
    Ok(())
}

/// Makes a bridge, up. It forwards at once: with one bridge there are no loops to look for.
pub fn add_bridge(namespace: &Namespace, name: &str) -> Result<(), NetlinkError> {
    let message = LinkBridge::new(name).forward_delay(0).up().build();
    request(
        namespace,
        format!("make the bridge {name}"),
        |handle| async move { handle.link().add(message).execute().await },
    )
}

/// Makes a device a port of a bridge.
pub fn attach_to_bridge(namespace: &Namespace, device: &str, bridge: &str) -> Result<(), NetlinkError> {
    let bridge_index = index(namespace, bridge)?;
    let message = LinkUnspec::new_with_name(device).controller(bridge_index).build();
    change(
        namespace,
        format!("attach {device} to the bridge {bridge}"),
        message,
    )
}

/// Gives a device an address, with the network that is reached through it. IPv6 addresses are usable at once: the
/// search for duplicates is left out.
pub fn add_address(namespace: &Namespace, device: &str, address: IpNet) -> Result<(), NetlinkError> {
    let device_index = index(namespace, device)?;
    request(
        namespace,
        format!("give {device} the address {address}"),
        |handle| async move {
            let mut adding = handle
                .address()
                .add(device_index, address.addr(), address.prefix_len());
            if address.addr().is_ipv6() {
                adding.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            adding.execute().await
        },
    )
}

/// Adds a route.
pub fn add_route(namespace: &Namespace, route: &Route<'_>) -> Result<(), NetlinkError> {
    let device = route.device.map(|device| index(namespace, device)).transpose()?;
    let action = format!("add a route to {}", route.destination);
    let message = route_message(route, device)
        .ok_or_else(|| NetlinkError::new(action.clone(), Reason::Refused(Errno::EAFNOSUPPORT)))?;
    request(namespace, action, |handle| async move {
        handle.route().add(message).execute().await
    })
}

/// `None` for an IPv6 destination behind an IPv4 next hop, which the kernel does not know. (The other way round it does.)
fn route_message(route: &Route<'_>, device: Option<u32>) -> Option<RouteMessage> {
    let mut message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(route.destination.network(), route.destination.prefix_len())
        .ok()?;
    if let Some(via) = route.via {
        message = message.gateway(via).ok()?;
    }
    if let Some(device) = device {
        message = message.output_interface(device);
        if route.via.is_none() && route.destination.addr().is_ipv4() {
            message = message.scope(RouteScope::Link);
        }
    }
    Some(message.build())
}

/// Brings a device up.
pub fn set_up(namespace: &Namespace, device: &str) -> Result<(), NetlinkError> {
    let message = LinkUnspec::new_with_name(device).up().build();
    change(namespace, format!("bring {device} up"), message)
}

/// Takes a device down: cables are pulled like this.
pub fn set_down(namespace: &Namespace, device: &str) -> Result<(), NetlinkError> {
    let message = LinkUnspec::new_with_name(device).down().build();
    change(namespace, format!("take {device} down"), message)
}

/// Sets the largest packet of a device, in bytes.
pub fn set_mtu(namespace: &Namespace, device: &str, mtu: u32) -> Result<(), NetlinkError> {
    let message = LinkUnspec::new_with_name(device).mtu(mtu).build();
    change(namespace, format!("set the MTU of {device} to {mtu}"), message)
}

/// Removes a device; of a pair both ends go.
pub fn remove(namespace: &Namespace, device: &str) -> Result<(), NetlinkError> {
    let device_index = index(namespace, device)?;
    request(namespace, format!("remove {device}"), |handle| async move {
        handle.link().del(device_index).execute().await
    })
}

/// Writes a kernel setting as the namespace has it, by its path below `/proc/sys/net`, such as `ipv4/ip_forward` or
/// `ipv6/conf/all/disable_ipv6`.
pub fn set(namespace: &Namespace, setting: &str, value: &str) -> Result<(), SettingError> {
    namespace
        .run(|| std::fs::write(format!("/proc/sys/net/{setting}"), value))
        .flatten()
        .map_err(|error| SettingError {
            setting: setting.to_owned(),
            value: value.to_owned(),
            errno: errno_of(&error),
        })
}

/// The number by which the kernel knows a device.
fn index(namespace: &Namespace, device: &str) -> Result<u32, NetlinkError> {
    let action = format!("find the device {device}");
    let name = device.to_owned();
    converse(namespace, |handle| async move {
        let found = handle
            .link()
            .get()
            .match_name(name)
            .execute()
            .try_next()
            .await
            .map_err(|error| NetlinkError::new(action.clone(), error.into()))?;
        found
            .map(|link| link.header.index)
            .ok_or_else(|| NetlinkError::new(action, Reason::Missing))
    })
}

fn change(namespace: &Namespace, action: String, message: LinkMessage) -> Result<(), NetlinkError> {
    request(namespace, action, |handle| async move {
        handle.link().set(message).execute().await
    })
}

fn request<F>(
    namespace: &Namespace,
    action: String,
    work: impl FnOnce(Handle) -> F + Send,
) -> Result<(), NetlinkError>
where
    F: Future<Output = Result<(), rtnetlink::Error>>,
{
    converse(namespace, |handle| async move {
        work(handle)
            .await
            .map_err(|error| NetlinkError::new(action, error.into()))
    })
}

/// A kernel setting that could not be written.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
#[error("/proc/sys/net/{setting} cannot be set to {value}: {errno}")]
pub struct SettingError {
    /// Its path below `/proc/sys/net`.
    pub setting: String,
    /// The value that was to be written.
    pub value: String,
    /// What the kernel said.
    pub errno: Errno,
}
