//! The pod's redirection rules: which connections the tunnel gets to see.
//!
//! They are one nftables table, `inet adit`, in the pod's own namespace, replaced as a whole in one transaction. What
//! they say is Istio's contract between node agent and tunnel; that a table of ours says it, not chains of iptables,
//! makes "are these exactly our rules?" a question with an answer.
//!
//! A connection is redirected by its first packet only, the SYN. Without that condition, connection tracking, which
//! begins with these rules, would take the next packet of a connection that is already open for the first of a new one,
//! and the redirection would break it: enrolling a running pod would cut what it is doing.

mod expected;
mod foreign;
mod nft;
mod render;

use std::collections::BTreeSet;

use nix::errno::Errno;
use thiserror::Error;

use adit_mesh::constants::{DNS_PORT, HBONE_PORT, OUTBOUND_PORT, PLAINTEXT_PORT};

use crate::namespace::Namespace;

/// What the rules of a pod depend on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Options {
    /// Whether the pod has IPv6 ([`crate::socket::ipv6_available`]).
    pub ipv6: bool,
    /// Whether DNS queries go to the tunnel.
    pub dns: bool,
    /// Whether plaintext that comes to the pod is left alone, as an ingress gateway needs it.
    pub ingress: bool,
    /// Interfaces that lead to virtual machines inside the pod: what comes in there goes *out* of the pod.
    pub virtual_interfaces: BTreeSet<InterfaceName>,
    /// Where the tunnel listens.
    pub ports: Ports,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ipv6: true,
            dns: false,
            ingress: false,
            virtual_interfaces: BTreeSet::new(),
            ports: Ports::default(),
        }
    }
}

/// Where the tunnel listens in a pod.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ports {
    /// For connections of the pod.
    pub outbound: u16,
    /// For plaintext to the pod.
    pub inbound_plaintext: u16,
    /// For HBONE to the pod: never redirected.
    pub inbound_hbone: u16,
    /// For DNS queries of the pod.
    pub dns: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            outbound: OUTBOUND_PORT,
            inbound_plaintext: PLAINTEXT_PORT,
            inbound_hbone: HBONE_PORT,
            dns: DNS_PORT,
        }
    }
}

/// The name of a network interface.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Accepts what the kernel does, less what would need quoting in a rule: 1 to 15 letters, digits, `-`, `_`, `.`,
    /// and neither `.` nor `..`.
    pub fn new(name: &str) -> Result<Self, InvalidInterfaceName> {
        let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if fits && name.bytes().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidInterfaceName(name.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name that no interface has.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
#[error("{0:?} is no interface name: 1 to 15 letters, digits, '-', '_' or '.' are")]
pub struct InvalidInterfaceName(pub String);

/// What [`verify`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verified {
    /// Our rules, all of them and nothing else in our table.
    Exact,
    /// No table of ours.
    Missing,
    /// A table of ours that is not what it should be: the first difference in words.
    Different(String),
    /// Rules of Istio's node agent; ours are not there, or are there besides.
    Foreign(Vec<String>),
}

/// Puts the rules in place, atomically: a connection sees the old rules or the new ones. Applying what is there
/// already changes nothing.
pub fn apply(namespace: &Namespace, options: &Options) -> Result<(), RulesError> {
    if compare(namespace, options)? == Verified::Exact {
        return Ok(());
    }
    nft::load(
        namespace,
        "replace the pod's rules",
        &render::replacement(options),
    )
}

/// Takes the rules away. It is no error when there are none. Connections that were redirected stay so.
pub fn remove(namespace: &Namespace) -> Result<(), RulesError> {
    nft::load(namespace, "remove the pod's rules", &render::removal())
}

/// Are these exactly our rules? Rules of Istio's node agent are looked for first, because with them in place ours are
/// not what decides.
pub fn verify(namespace: &Namespace, options: &Options) -> Result<Verified, RulesError> {
    let foreign = foreign::find(namespace)?;
    if foreign.is_empty() {
        compare(namespace, options)
    } else {
        Ok(Verified::Foreign(foreign))
    }
}

/// Compares our table with what it should be. Both are listed by the same program, so that neither a counter, a handle,
/// nor the spelling of another version of it makes a difference.
fn compare(namespace: &Namespace, options: &Options) -> Result<Verified, RulesError> {
    let Some(found) = nft::list_table(namespace)? else {
        return Ok(Verified::Missing);
    };
    let expected = expected::listing(options)?;
    if found == *expected {
        return Ok(Verified::Exact);
    }
    // The program may have been replaced since the listing was made.
    let expected = expected::listing_afresh(options)?;
    Ok(match expected::difference(&expected, &found) {
        None => Verified::Exact,
        Some(difference) => Verified::Different(difference),
    })
}

/// Why rules could not be written or read.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum RulesError {
    /// The `nft` program could not be started.
    #[error("the program nft cannot be run: {0}; install the package nftables")]
    Program(Errno),
    /// The namespace could not be entered.
    #[error("the pod's network namespace cannot be entered: {0}")]
    Namespace(Errno),
    /// No namespace to try the rules in could be made.
    #[error("no network namespace can be created to compare the pod's rules with: {0}")]
    Scratch(Errno),
    /// `nft` refused.
    #[error("nft refused to {action}: {message}")]
    Refused {
        /// What it was asked to do.
        action: &'static str,
        /// Its own words.
        message: String,
    },
}

#[cfg(test)]
mod tests;
