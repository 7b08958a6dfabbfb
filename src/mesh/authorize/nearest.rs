//! Which rule of the ALLOW policies came closest to a connection that none of them allows.
//!
//! "Denied" alone sends people into source code. The rule with the fewest conditions that failed is almost always
//! the one its author had in mind, so it is named together with what it wanted and what it got.

use std::fmt;
use std::sync::Arc;

use super::Connection;
use super::matching::{Check, check, clause_matches};
use crate::policy::{Clause, Field, Group, Match, Policy, PolicyKey};

/// How many wanted values a message names; the data hold all.
const SHOWN_VALUES: usize = 5;

/// The rule that came closest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NearestMiss {
    /// The policy.
    pub policy: PolicyKey,
    /// The index of its rule, from 0.
    pub rule: usize,
    /// The conditions that failed, at least one.
    pub misses: Box<[Miss]>,
}

impl fmt::Display for NearestMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {} rule[{}]", self.policy, self.rule)?;
        let mut separator = ": ";
        for miss in &self.misses {
            write!(f, "{separator}{miss}")?;
            separator = "; ";
        }
        Ok(())
    }
}

/// A condition that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Miss {
    /// The index of the clause within the rule, from 0.
    pub clause: usize,
    /// The index of the match within the clause, from 0.
    pub alternative: usize,
    /// The field.
    pub field: Field,
    /// Its values, as policies spell them (`prefix*`, `*suffix`, `*`).
    pub wanted: Box<[String]>,
    /// What the connection has; none where the peer has no identity.
    pub actual: Option<String>,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, wanted, .. } = self;
        write!(f, "{field} ")?;
        f.write_str(match (field.is_negative(), wanted.len()) {
            (false, 1) => "wants ",
            (false, _) => "wants one of ",
            (true, 1) => "excludes ",
            (true, _) => "excludes each of ",
        })?;
        for (index, value) in wanted.iter().take(SHOWN_VALUES).enumerate() {
            write!(f, "{}{value:?}", if index == 0 { "" } else { ", " })?;
        }
        if let Some(more @ 1..) = wanted.len().checked_sub(SHOWN_VALUES) {
            write!(f, " and {more} more")?;
        }
        match &self.actual {
            Some(actual) => write!(f, ", the connection has {actual:?}"),
            None => f.write_str(", the peer has no identity (plaintext)"),
        }
    }
}

/// The rule that misses by the fewest conditions; of several the first.
pub(super) fn find(policies: &[Arc<Policy>], connection: &Connection<'_>) -> Option<NearestMiss> {
    policies
        .iter()
        .flat_map(|policy| {
            policy.groups.iter().enumerate().filter_map(|(rule, group)| {
                let misses = misses_of(group, connection)?;
                Some(NearestMiss {
                    policy: policy.key.clone(),
                    rule,
                    misses: misses.into(),
                })
            })
        })
        .min_by_key(|nearest| nearest.misses.len())
}

/// What fails in a rule; nothing where it can never match, whatever the connection.
fn misses_of(group: &Group, connection: &Connection<'_>) -> Option<Vec<Miss>> {
    let mut misses = Vec::new();
    for (index, clause) in group.clauses.iter().enumerate() {
        if !clause_matches(clause, connection) {
            misses.extend(misses_of_clause(index, clause, connection)?);
        }
    }
    Some(misses)
}

/// What fails in the alternative of a clause that misses by the fewest fields.
fn misses_of_clause(index: usize, clause: &Clause, connection: &Connection<'_>) -> Option<Vec<Miss>> {
    clause
        .matches
        .iter()
        .enumerate()
        .map(|(alternative, conditions)| {
            let failing = Field::ALL
                .into_iter()
                .filter(|field| check(conditions, *field, connection) == Check::Fails);
            failing
                .map(|field| Miss {
                    clause: index,
                    alternative,
                    field,
                    wanted: values(conditions, field),
                    actual: actual(field, connection),
                })
                .collect::<Vec<_>>()
        })
        // A match without any condition fails in no field, and yet never matches.
        .filter(|misses| !misses.is_empty())
        .min_by_key(Vec::len)
}

fn values(conditions: &Match, field: Field) -> Box<[String]> {
    fn all<T: ToString>(values: &[T]) -> Box<[String]> {
        values.iter().map(T::to_string).collect()
    }
    match field {
        Field::Namespaces => all(&conditions.namespaces),
        Field::NotNamespaces => all(&conditions.not_namespaces),
        Field::ServiceAccounts => all(&conditions.service_accounts),
        Field::NotServiceAccounts => all(&conditions.not_service_accounts),
        Field::Principals => all(&conditions.principals),
        Field::NotPrincipals => all(&conditions.not_principals),
        Field::SourceIps => all(&conditions.source_ips),
        Field::NotSourceIps => all(&conditions.not_source_ips),
        Field::DestinationIps => all(&conditions.destination_ips),
        Field::NotDestinationIps => all(&conditions.not_destination_ips),
        Field::DestinationPorts => all(&conditions.destination_ports),
        Field::NotDestinationPorts => all(&conditions.not_destination_ports),
    }
}

fn actual(field: Field, connection: &Connection<'_>) -> Option<String> {
    match field {
        Field::Namespaces | Field::NotNamespaces => connection.peer.map(|peer| peer.namespace().to_string()),
        Field::ServiceAccounts | Field::NotServiceAccounts => connection
            .peer
            .map(|peer| format!("{}/{}", peer.namespace(), peer.service_account())),
        Field::Principals | Field::NotPrincipals => connection.peer.map(|peer| peer.principal().to_string()),
        Field::SourceIps | Field::NotSourceIps => Some(connection.source.to_string()),
        Field::DestinationIps | Field::NotDestinationIps => Some(connection.destination.ip().to_string()),
        Field::DestinationPorts | Field::NotDestinationPorts => {
            Some(connection.destination.port().to_string())
        }
    }
}
