//! What a policy has to be like to be obeyed.
//!
//! A policy is accepted or rejected as a whole. Stock ztunnel drops a value that it cannot read and keeps the rest,
//! which widens an ALLOW rule (a match that lost its only address range matches every address) and turns a DENY rule
//! into nothing. So whoever translates a resource makes its values with [`port`] and [`range`], and has the finished
//! policy looked at once by [`Policy::checked`].

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::{Field, Match, Policy, PolicyKey, PolicyScope, ServiceAccount, StringMatch};

impl Policy {
    /// Gives the policy back if it can be obeyed as it is written.
    ///
    /// # Errors
    /// The first value that cannot, with its place.
    pub fn checked(self) -> Result<Self, InvalidPolicy> {
        check_key(&self.key)?;
        if self.scope == PolicyScope::Namespace && self.key.namespace.is_empty() {
            return Err(InvalidPolicy::NoNamespace);
        }
        for (rule, group) in self.groups.iter().enumerate() {
            for (clause, alternatives) in group.clauses.iter().enumerate() {
                for (alternative, conditions) in alternatives.matches.iter().enumerate() {
                    check_match(conditions).map_err(|(field, index, cause)| InvalidPolicy::Value {
                        rule,
                        clause,
                        alternative,
                        field,
                        index,
                        cause,
                    })?;
                }
            }
        }
        Ok(self)
    }
}

/// Why a policy cannot be obeyed. Indices count from 0.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// It has no name.
    #[error("name: it is empty")]
    NoName,
    /// Its name or namespace holds the character that separates the two.
    #[error("name {name:?}: neither the namespace nor the name may hold \"/\"")]
    Name {
        /// Namespace and name together.
        name: String,
    },
    /// It holds for a namespace, and does not say which.
    #[error("namespace: it is empty, and the scope is a namespace")]
    NoNamespace,
    /// One of its values.
    #[error("rules[{rule}][{clause}][{alternative}].{field}[{index}]: {cause}")]
    Value {
        /// The rule.
        rule: usize,
        /// The clause within the rule.
        clause: usize,
        /// The match within the clause.
        alternative: usize,
        /// The field within the match.
        field: Field,
        /// The value within the field.
        index: usize,
        /// What is wrong with it.
        cause: InvalidValue,
    },
}

/// Why a value cannot stand in a policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidValue {
    /// It would match everything or nothing, depending on who reads it.
    #[error("the string is empty (\"is there one at all\" is written as presence)")]
    EmptyString,
    /// Not a port.
    #[error("{0} is not a port (allowed: 1 to 65535)")]
    Port(u64),
    /// Not a prefix length of such an address.
    #[error("{length} is not a prefix length of {address} (allowed: 0 to {longest})")]
    PrefixLength {
        /// The address.
        address: IpAddr,
        /// The length given, in bits.
        length: u32,
        /// The longest allowed, in bits.
        longest: u8,
    },
}

/// A port of a policy.
///
/// # Errors
/// [`InvalidValue::Port`] for what is not between 1 and 65535.
pub fn port(number: u64) -> Result<u16, InvalidValue> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(InvalidValue::Port(number)),
    }
}

/// A range of addresses of a policy, its host bits cleared. IPv4-mapped ranges become the IPv4 ranges that they stand
/// for, because addresses are compared in that form.
///
/// # Errors
/// [`InvalidValue::PrefixLength`] for a length that such an address does not have.
pub fn range(address: IpAddr, length: u32) -> Result<IpNet, InvalidValue> {
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let net = u8::try_from(length)
        .ok()
        .and_then(|short| IpNet::new(address, short).ok())
        .ok_or(InvalidValue::PrefixLength {
            address,
            length,
            longest,
        })?
        .trunc();
    let mapped = match net {
        IpNet::V6(v6) => v6.network().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    Ok(mapped
        .and_then(|(v4, length)| Ipv4Net::new(v4, length).ok())
        .map_or(net, IpNet::V4))
}

fn check_key(key: &PolicyKey) -> Result<(), InvalidPolicy> {
    if key.name.is_empty() {
        return Err(InvalidPolicy::NoName);
    }
    if key.name.contains('/') || key.namespace.contains('/') {
        return Err(InvalidPolicy::Name {
            name: key.to_string(),
        });
    }
    Ok(())
}

type At<T> = (Field, usize, T);

fn check_match(conditions: &Match) -> Result<(), At<InvalidValue>> {
    strings(Field::Namespaces, &conditions.namespaces)?;
    strings(Field::NotNamespaces, &conditions.not_namespaces)?;
    strings(Field::Principals, &conditions.principals)?;
    strings(Field::NotPrincipals, &conditions.not_principals)?;
    service_accounts(Field::ServiceAccounts, &conditions.service_accounts)?;
    service_accounts(Field::NotServiceAccounts, &conditions.not_service_accounts)?;
    ports(Field::DestinationPorts, &conditions.destination_ports)?;
    ports(Field::NotDestinationPorts, &conditions.not_destination_ports)
}

fn strings(field: Field, values: &[StringMatch]) -> Result<(), At<InvalidValue>> {
    let empty = |value: &StringMatch| match value {
        StringMatch::Exact(text) | StringMatch::Prefix(text) | StringMatch::Suffix(text) => text.is_empty(),
        StringMatch::Presence => false,
    };
    first(field, values, empty, |_| InvalidValue::EmptyString)
}

fn service_accounts(field: Field, values: &[ServiceAccount]) -> Result<(), At<InvalidValue>> {
    let empty = |value: &ServiceAccount| value.namespace.is_empty() || value.name.is_empty();
    first(field, values, empty, |_| InvalidValue::EmptyString)
}

fn ports(field: Field, values: &[u16]) -> Result<(), At<InvalidValue>> {
    first(
        field,
        values,
        |value| *value == 0,
        |value| InvalidValue::Port((*value).into()),
    )
}

fn first<T>(
    field: Field,
    values: &[T],
    wrong: impl Fn(&T) -> bool,
    cause: impl Fn(&T) -> InvalidValue,
) -> Result<(), At<InvalidValue>> {
    match values.iter().position(wrong) {
        Some(index) => Err((field, index, cause(&values[index]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
