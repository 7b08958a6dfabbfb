//! The way back of connections that the tunnel opened in a client's name: the application's replies, which carry
//! [`REPLY_MARK`], are routed to the loopback device and so to the tunnel's socket, not out to the client.
//!
//! A rule and a route for each family, as Istio's node agent makes them:
//! `ip rule add fwmark 0x111/0xfff lookup 100 pref 32764` and `ip route add local default dev lo table 100`.

use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};

use crate::constants::{MARK_MASK, REPLY_MARK, REPLY_RULE_PRIORITY, REPLY_TABLE};
use crate::namespace::Namespace;
use crate::netlink::{NetlinkError, Reason, converse};

/// The index of the loopback device, the same in every namespace because it is the first device there.
const LOOPBACK: u32 = 1;

/// Adds rule and route for IPv4, and for IPv6 when told so. What is there already stays. The loopback device must be
/// up.
pub fn apply(namespace: &Namespace, ipv6: bool) -> Result<(), NetlinkError> {
    converse(namespace, |handle| async move {
        for version in versions(ipv6) {
            let mut request = handle.rule().add();
            *request.message_mut() = rule(&version);
            unless(
                &[Errno::EEXIST],
                request.execute().await,
                "add",
                Thing::Rule,
                &version,
            )?;
            let request = handle.route().add(route(&version));
            unless(
                &[Errno::EEXIST],
                request.execute().await,
                "add",
                Thing::Route,
                &version,
            )?;
        }
        Ok(())
    })
}

/// Removes rule and route of both families, as far as they are there.
pub fn remove(namespace: &Namespace) -> Result<(), NetlinkError> {
    // What the kernel says when there is no such rule, route or table, or no such family at all.
    let absent = [
        Errno::ENOENT,
        Errno::ESRCH,
        Errno::EAFNOSUPPORT,
        Errno::EOPNOTSUPP,
    ];
    converse(namespace, |handle| async move {
        for version in versions(true) {
            let outcome = handle.rule().del(rule(&version)).execute().await;
            unless(&absent, outcome, "remove", Thing::Rule, &version)?;
            let outcome = handle.route().del(route(&version)).execute().await;
            unless(&absent, outcome, "remove", Thing::Route, &version)?;
        }
        Ok(())
    })
}

/// Whether rule and route are there, for IPv4 and if told so for IPv6.
pub fn is_applied(namespace: &Namespace, ipv6: bool) -> Result<bool, NetlinkError> {
    converse(namespace, |handle| async move {
        for version in versions(ipv6) {
            if !has_rule(&handle, &version).await? || !has_route(&handle, &version).await? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

async fn has_rule(handle: &Handle, version: &IpVersion) -> Result<bool, NetlinkError> {
    let wanted = rule(version);
    let present: Vec<RuleMessage> = handle
        .rule()
        .get(version.clone())
        .execute()
        .try_collect()
        .await
        .map_err(|error| failed("list", Thing::Rule, version, error))?;
    Ok(present.iter().any(|rule| {
        rule.header.action == wanted.header.action
            && wanted
                .attributes
                .iter()
                .all(|attribute| rule.attributes.contains(attribute))
            && rule_table(rule) == REPLY_TABLE
    }))
}

async fn has_route(handle: &Handle, version: &IpVersion) -> Result<bool, NetlinkError> {
    let wanted = route(version);
    let present: Vec<RouteMessage> = handle
        .route()
        .get(wanted.clone())
        .execute()
        .try_collect()
        .await
        .map_err(|error| failed("list", Thing::Route, version, error))?;
    Ok(present.iter().any(|route| {
        route.header.kind == wanted.header.kind
            && route.header.destination_prefix_length == 0
            && route_table(route) == REPLY_TABLE
            && route.attributes.contains(&RouteAttribute::Oif(LOOPBACK))
    }))
}

/// The table of a rule; the header has room for small numbers only.
fn rule_table(rule: &RuleMessage) -> u32 {
    rule.attributes
        .iter()
        .find_map(|attribute| match attribute {
            RuleAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or(rule.header.table.into())
}

/// The table of a route; the header has room for small numbers only.
fn route_table(route: &RouteMessage) -> u32 {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or(route.header.table.into())
}

fn versions(ipv6: bool) -> impl Iterator<Item = IpVersion> {
    [IpVersion::V4].into_iter().chain(ipv6.then_some(IpVersion::V6))
}

fn rule(version: &IpVersion) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family(version);
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(REPLY_RULE_PRIORITY),
        RuleAttribute::FwMark(REPLY_MARK),
        RuleAttribute::FwMask(MARK_MASK),
        RuleAttribute::Table(REPLY_TABLE),
    ];
    rule
}

fn route(version: &IpVersion) -> RouteMessage {
    match version {
        IpVersion::V4 => RouteMessageBuilder::<Ipv4Addr>::new()
            .table_id(REPLY_TABLE)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .output_interface(LOOPBACK)
            .build(),
        IpVersion::V6 => RouteMessageBuilder::<Ipv6Addr>::new()
            .table_id(REPLY_TABLE)
            .kind(RouteType::Local)
            .output_interface(LOOPBACK)
            .build(),
    }
}

fn family(version: &IpVersion) -> AddressFamily {
    match version {
        IpVersion::V4 => AddressFamily::Inet,
        IpVersion::V6 => AddressFamily::Inet6,
    }
}

/// What this module makes.
#[derive(Clone, Copy)]
enum Thing {
    Rule,
    Route,
}

/// Errors with which there is nothing left to do are none.
fn unless(
    harmless: &[Errno],
    outcome: Result<(), rtnetlink::Error>,
    verb: &str,
    thing: Thing,
    version: &IpVersion,
) -> Result<(), NetlinkError> {
    match outcome.map_err(|error| failed(verb, thing, version, error)) {
        Err(NetlinkError {
            reason: Reason::Refused(errno),
            ..
        }) if harmless.contains(&errno) => Ok(()),
        outcome => outcome,
    }
}

fn failed(verb: &str, thing: Thing, version: &IpVersion, error: rtnetlink::Error) -> NetlinkError {
    let family = match version {
        IpVersion::V4 => "IPv4",
        IpVersion::V6 => "IPv6",
    };
    let thing = match thing {
        Thing::Rule => "the routing rule for replies to the tunnel",
        Thing::Route => "the route for replies to the tunnel (is the loopback device up?)",
    };
    NetlinkError::new(format!("{verb} {thing}, {family}"), error.into())
}
