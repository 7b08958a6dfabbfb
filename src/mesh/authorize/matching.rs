//! Whether a policy matches a connection.
//!
//! Everything goes through [`check`], one field at a time: the decision asks whether any field fails, the
//! explanation asks which, so the two cannot disagree.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Connection;
use crate::identity::Identity;
use crate::policy::{Clause, Field, Group, Match, Policy, ServiceAccount, StringMatch};

/// The first rule of the policy that matches.
pub(super) fn matching_rule(policy: &Policy, connection: &Connection<'_>) -> Option<usize> {
    policy
        .groups
        .iter()
        .position(|group| group_matches(group, connection))
}

fn group_matches(group: &Group, connection: &Connection<'_>) -> bool {
    group
        .clauses
        .iter()
        .all(|clause| clause_matches(clause, connection))
}

/// Whether one of the alternatives matches; without any, everything does.
pub(super) fn clause_matches(clause: &Clause, connection: &Connection<'_>) -> bool {
    clause.matches.is_empty()
        || clause
            .matches
            .iter()
            .any(|alternative| match_matches(alternative, connection))
}

fn match_matches(conditions: &Match, connection: &Connection<'_>) -> bool {
    let mut any = false;
    // Written out field by field, so that one which is absent, as most are, costs a comparison and no more.
    macro_rules! check_each {
        ($($field:ident)*) => {$(
            match check(conditions, Field::$field, connection) {
                Check::Absent => {}
                Check::Holds => any = true,
                Check::Fails => return false,
            }
        )*};
    }
    check_each! {
        DestinationPorts NotDestinationPorts Namespaces NotNamespaces ServiceAccounts NotServiceAccounts
        Principals NotPrincipals SourceIps NotSourceIps DestinationIps NotDestinationIps
    }
    any
}

/// How one field of a match stands to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    /// The field is empty: it asks for nothing.
    Absent,
    /// It holds.
    Holds,
    /// It does not.
    Fails,
}

/// Looks at one field of a match.
#[inline(always)]
pub(super) fn check(conditions: &Match, field: Field, connection: &Connection<'_>) -> Check {
    let (peer, source) = (connection.peer, connection.source);
    let (destination, port) = (connection.destination.ip(), connection.destination.port());
    match field {
        Field::Namespaces => some_of(&conditions.namespaces, |wanted| in_namespace(wanted, peer)),
        Field::NotNamespaces => none_of(&conditions.not_namespaces, |wanted| in_namespace(wanted, peer)),
        Field::ServiceAccounts => some_of(&conditions.service_accounts, |wanted| runs_as(wanted, peer)),
        Field::NotServiceAccounts => {
            none_of(&conditions.not_service_accounts, |wanted| runs_as(wanted, peer))
        }
        Field::Principals => some_of(&conditions.principals, |wanted| is_principal(wanted, peer)),
        Field::NotPrincipals => none_of(&conditions.not_principals, |wanted| is_principal(wanted, peer)),
        Field::SourceIps => some_of(&conditions.source_ips, |range| within(range, source)),
        Field::NotSourceIps => none_of(&conditions.not_source_ips, |range| within(range, source)),
        Field::DestinationIps => some_of(&conditions.destination_ips, |range| within(range, destination)),
        Field::NotDestinationIps => none_of(&conditions.not_destination_ips, |range| {
            within(range, destination)
        }),
        Field::DestinationPorts => some_of(&conditions.destination_ports, |wanted| *wanted == port),
        Field::NotDestinationPorts => none_of(&conditions.not_destination_ports, |wanted| *wanted == port),
    }
}

fn some_of<T>(values: &[T], holds: impl Fn(&T) -> bool) -> Check {
    match values {
        [] => Check::Absent,
        values if values.iter().any(holds) => Check::Holds,
        _ => Check::Fails,
    }
}

fn none_of<T>(values: &[T], holds: impl Fn(&T) -> bool) -> Check {
    match values {
        [] => Check::Absent,
        values if values.iter().any(holds) => Check::Fails,
        _ => Check::Holds,
    }
}

fn in_namespace(wanted: &StringMatch, peer: Option<&Identity>) -> bool {
    peer.is_some_and(|peer| string_matches(wanted, &[peer.namespace()]))
}

fn runs_as(wanted: &ServiceAccount, peer: Option<&Identity>) -> bool {
    peer.is_some_and(|peer| *peer.namespace() == wanted.namespace && *peer.service_account() == wanted.name)
}

fn is_principal(wanted: &StringMatch, peer: Option<&Identity>) -> bool {
    peer.is_some_and(|peer| {
        let parts = [
            peer.trust_domain().as_str(),
            "/ns/",
            peer.namespace(),
            "/sa/",
            peer.service_account(),
        ];
        string_matches(wanted, &parts)
    })
}

fn within(range: &IpNet, address: IpAddr) -> bool {
    range.contains(&address)
}

/// Compares with the string that `parts` would make together, without making it.
fn string_matches(wanted: &StringMatch, parts: &[&str]) -> bool {
    match wanted {
        // Most names differ in length already, which is seen without touching them.
        StringMatch::Exact(exact) => exact.len() == length(parts) && starts_with(exact, parts),
        StringMatch::Prefix(prefix) => starts_with(prefix, parts),
        StringMatch::Suffix(suffix) => ends_with(suffix, parts),
        StringMatch::Presence => length(parts) > 0,
    }
}

fn length(parts: &[&str]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

fn starts_with(prefix: &str, parts: &[&str]) -> bool {
    let mut wanted = prefix;
    for part in parts {
        match wanted.strip_prefix(part) {
            Some(rest) => wanted = rest,
            None => return part.starts_with(wanted),
        }
    }
    wanted.is_empty()
}

fn ends_with(suffix: &str, parts: &[&str]) -> bool {
    let mut wanted = suffix;
    for part in parts.iter().rev() {
        match wanted.strip_suffix(part) {
            Some(rest) => wanted = rest,
            None => return part.ends_with(wanted),
        }
    }
    wanted.is_empty()
}
