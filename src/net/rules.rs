//! The pod's redirection rules: which connections the tunnel gets to see.

use std::collections::BTreeSet;

use nix::errno::Errno;
use thiserror::Error;

use crate::constants::{DNS_PORT, INBOUND_HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT};
use crate::namespace::Namespace;

/// What the rules of a pod depend on.
#[derive(Clone, PartialEq, Eq, Debug)]
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
            inbound_plaintext: INBOUND_PLAINTEXT_PORT,
            inbound_hbone: INBOUND_HBONE_PORT,
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
    let _ = (namespace, options);
    todo!()
}

/// Takes the rules away. It is no error when there are none.
pub fn remove(namespace: &Namespace) -> Result<(), RulesError> {
    let _ = namespace;
    todo!()
}

/// Are these exactly our rules?
pub fn verify(namespace: &Namespace, options: &Options) -> Result<Verified, RulesError> {
    let _ = (namespace, options);
    todo!()
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
    /// `nft` refused.
    #[error("nft refused to {action}: {message}")]
    Refused {
        /// What it was asked to do.
        action: &'static str,
        /// Its own words.
        message: String,
    },
}
