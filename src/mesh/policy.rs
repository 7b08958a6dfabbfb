//! An authorization policy, as the data plane receives it (resource `istio.security.Authorization`).
//!
//! A policy matches if any of its groups does; a group if all its clauses do; a clause if any of its matches
//! does, or if it has none; a match if all its fields do. An empty match never matches, nor does a policy without
//! groups; a group without clauses matches everything. These rules are executed in [`crate::authorize`]; here is only the shape.

mod check;

use std::fmt;

use ipnet::IpNet;

pub use check::{InvalidPolicy, InvalidValue, port, range};

use crate::text::Text;

/// The name of a policy: `<namespace>/<name>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    /// Its namespace; the root namespace, or "", for a policy of the whole mesh.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An authorization policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Its name.
    pub key: PolicyKey,
    /// Which workloads it holds for.
    pub scope: PolicyScope,
    /// What it does when it matches.
    pub action: Action,
    /// What it matches: any of these.
    pub groups: Box<[Group]>,
    /// It is evaluated and reported, not obeyed.
    pub dry_run: bool,
}

/// Which workloads a policy holds for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PolicyScope {
    /// All.
    Global,
    /// Those of its namespace.
    Namespace,
    /// Those that name it.
    WorkloadSelector,
}

/// What a policy does when it matches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// Lets the connection pass; where any such policy applies, what none of them matches is refused.
    Allow,
    /// Refuses the connection, whatever else allows it.
    Deny,
}

/// One rule of a policy: all its clauses must match.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Group {
    /// The clauses (in Istio's resource: `from`, `to` and `when` of one rule).
    pub clauses: Box<[Clause]>,
}

/// Alternatives: any match suffices, none at all matches everything.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Clause {
    /// The alternatives.
    pub matches: Box<[Match]>,
}

/// Conditions that must all hold. A positive field that is not empty needs one of its values to match, a
/// negative one needs that none does.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Match {
    /// The client's namespace.
    pub namespaces: Box<[StringMatch]>,
    /// Not the client's namespace.
    pub not_namespaces: Box<[StringMatch]>,
    /// The client's service account.
    pub service_accounts: Box<[ServiceAccount]>,
    /// Not the client's service account.
    pub not_service_accounts: Box<[ServiceAccount]>,
    /// The client's identity without `spiffe://`.
    pub principals: Box<[StringMatch]>,
    /// Not the client's identity.
    pub not_principals: Box<[StringMatch]>,
    /// The client's address.
    pub source_ips: Box<[IpNet]>,
    /// Not the client's address.
    pub not_source_ips: Box<[IpNet]>,
    /// The address that is called, after resolution.
    pub destination_ips: Box<[IpNet]>,
    /// Not the address that is called.
    pub not_destination_ips: Box<[IpNet]>,
    /// The port that is called, after resolution.
    pub destination_ports: Box<[u16]>,
    /// Not the port that is called.
    pub not_destination_ports: Box<[u16]>,
}

/// A field of a [`Match`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Field {
    /// [`Match::destination_ports`].
    DestinationPorts,
    /// [`Match::not_destination_ports`].
    NotDestinationPorts,
    /// [`Match::namespaces`].
    Namespaces,
    /// [`Match::not_namespaces`].
    NotNamespaces,
    /// [`Match::service_accounts`].
    ServiceAccounts,
    /// [`Match::not_service_accounts`].
    NotServiceAccounts,
    /// [`Match::principals`].
    Principals,
    /// [`Match::not_principals`].
    NotPrincipals,
    /// [`Match::source_ips`].
    SourceIps,
    /// [`Match::not_source_ips`].
    NotSourceIps,
    /// [`Match::destination_ips`].
    DestinationIps,
    /// [`Match::not_destination_ips`].
    NotDestinationIps,
}

impl Field {
    /// Every field, the ones that are quickest to compare first.
    pub const ALL: [Self; 12] = [
        Self::DestinationPorts,
        Self::NotDestinationPorts,
        Self::Namespaces,
        Self::NotNamespaces,
        Self::ServiceAccounts,
        Self::NotServiceAccounts,
        Self::Principals,
        Self::NotPrincipals,
        Self::SourceIps,
        Self::NotSourceIps,
        Self::DestinationIps,
        Self::NotDestinationIps,
    ];

    /// The name as configuration files and dumps spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DestinationPorts => "destinationPorts",
            Self::NotDestinationPorts => "notDestinationPorts",
            Self::Namespaces => "namespaces",
            Self::NotNamespaces => "notNamespaces",
            Self::ServiceAccounts => "serviceAccounts",
            Self::NotServiceAccounts => "notServiceAccounts",
            Self::Principals => "principals",
            Self::NotPrincipals => "notPrincipals",
            Self::SourceIps => "sourceIps",
            Self::NotSourceIps => "notSourceIps",
            Self::DestinationIps => "destinationIps",
            Self::NotDestinationIps => "notDestinationIps",
        }
    }

    /// Whether its values are what may not be.
    pub const fn is_negative(self) -> bool {
        matches!(
            self,
            Self::NotDestinationPorts
                | Self::NotNamespaces
                | Self::NotServiceAccounts
                | Self::NotPrincipals
                | Self::NotSourceIps
                | Self::NotDestinationIps
        )
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A condition on a string. The empty string is never a value: an empty condition is a mistake in a resource,
/// and reading it as "anything" would widen a policy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StringMatch {
    /// Equal.
    Exact(Text),
    /// Starts with.
    Prefix(Text),
    /// Ends with.
    Suffix(Text),
    /// There is one at all.
    Presence,
}

impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => f.write_str(value),
            Self::Prefix(value) => write!(f, "{value}*"),
            Self::Suffix(value) => write!(f, "*{value}"),
            Self::Presence => f.write_str("*"),
        }
    }
}

/// A service account in a namespace, of whatever trust domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceAccount {
    /// The namespace.
    pub namespace: Text,
    /// The name.
    pub name: Text,
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
