//! Policies as messages.

use adit_mesh::policy::{self, Clause, Group, Match, PolicyScope, ServiceAccount, StringMatch};
use adit_mesh::{Interner, Policy, PolicyKey};
use adit_proto::security as wire;
use adit_proto::security::string_match::MatchType;
use ipnet::IpNet;

use super::invalid::{In, Invalid, each};
use super::numbers::Numbered;
use super::parts::{bytes, ip_as_sent};

pub(super) fn read(sent: &wire::Authorization, texts: &mut Interner) -> Result<Policy, Invalid> {
    let policy = Policy {
        key: PolicyKey {
            namespace: texts.intern(&sent.namespace),
            name: texts.intern(&sent.name),
        },
        scope: scope(sent)?,
        action: Numbered::of(sent.action).within("action")?,
        groups: each("groups", &sent.groups, group)?,
        dry_run: sent.dry_run,
    };
    policy.checked().map_err(Invalid::new)
}

/// The scope of a policy.
pub(super) fn scope(sent: &wire::Authorization) -> Result<PolicyScope, Invalid> {
    Numbered::of(sent.scope).within("scope")
}

fn group(sent: &wire::Group) -> Result<Group, Invalid> {
    Ok(Group {
        clauses: each("rules", &sent.rules, |rules| {
            Ok(Clause {
                matches: each("matches", &rules.matches, conditions)?,
            })
        })?,
    })
}

fn conditions(sent: &wire::Match) -> Result<Match, Invalid> {
    Ok(Match {
        namespaces: each("namespaces", &sent.namespaces, string)?,
        not_namespaces: each("not_namespaces", &sent.not_namespaces, string)?,
        service_accounts: each("service_accounts", &sent.service_accounts, account)?,
        not_service_accounts: each("not_service_accounts", &sent.not_service_accounts, account)?,
        principals: each("principals", &sent.principals, string)?,
        not_principals: each("not_principals", &sent.not_principals, string)?,
        source_ips: each("source_ips", &sent.source_ips, range)?,
        not_source_ips: each("not_source_ips", &sent.not_source_ips, range)?,
        destination_ips: each("destination_ips", &sent.destination_ips, range)?,
        not_destination_ips: each("not_destination_ips", &sent.not_destination_ips, range)?,
        destination_ports: each("destination_ports", &sent.destination_ports, port)?,
        not_destination_ports: each("not_destination_ports", &sent.not_destination_ports, port)?,
    })
}

fn string(sent: &wire::StringMatch) -> Result<StringMatch, Invalid> {
    match &sent.match_type {
        Some(MatchType::Exact(value)) => Ok(StringMatch::Exact(value.as_str().into())),
        Some(MatchType::Prefix(value)) => Ok(StringMatch::Prefix(value.as_str().into())),
        Some(MatchType::Suffix(value)) => Ok(StringMatch::Suffix(value.as_str().into())),
        Some(MatchType::Presence(())) => Ok(StringMatch::Presence),
        None => Err(Invalid::new("a condition without a kind")),
    }
}

fn account(sent: &wire::ServiceAccountMatch) -> Result<ServiceAccount, Invalid> {
    Ok(ServiceAccount {
        namespace: sent.namespace.as_str().into(),
        name: sent.service_account.as_str().into(),
    })
}

fn range(sent: &wire::Address) -> Result<IpNet, Invalid> {
    policy::range(ip_as_sent(&sent.address)?, sent.length).map_err(Invalid::new)
}

fn port(number: &u32) -> Result<u16, Invalid> {
    policy::port(u64::from(*number)).map_err(Invalid::new)
}

pub(super) fn write(policy: &Policy) -> wire::Authorization {
    wire::Authorization {
        name: policy.key.name.to_string(),
        namespace: policy.key.namespace.to_string(),
        scope: policy.scope.number(),
        action: policy.action.number(),
        groups: policy.groups.iter().map(write_group).collect(),
        dry_run: policy.dry_run,
    }
}

fn write_group(group: &Group) -> wire::Group {
    let rules = |clause: &Clause| wire::Rules {
        matches: clause.matches.iter().map(write_match).collect(),
    };
    wire::Group {
        rules: group.clauses.iter().map(rules).collect(),
    }
}

fn write_match(conditions: &Match) -> wire::Match {
    fn all<T, W>(values: &[T], write: fn(&T) -> W) -> Vec<W> {
        values.iter().map(write).collect()
    }
    wire::Match {
        namespaces: all(&conditions.namespaces, write_string),
        not_namespaces: all(&conditions.not_namespaces, write_string),
        principals: all(&conditions.principals, write_string),
        not_principals: all(&conditions.not_principals, write_string),
        source_ips: all(&conditions.source_ips, write_range),
        not_source_ips: all(&conditions.not_source_ips, write_range),
        destination_ips: all(&conditions.destination_ips, write_range),
        not_destination_ips: all(&conditions.not_destination_ips, write_range),
        destination_ports: all(&conditions.destination_ports, |port| u32::from(*port)),
        not_destination_ports: all(&conditions.not_destination_ports, |port| u32::from(*port)),
        service_accounts: all(&conditions.service_accounts, write_account),
        not_service_accounts: all(&conditions.not_service_accounts, write_account),
    }
}

fn write_string(value: &StringMatch) -> wire::StringMatch {
    wire::StringMatch {
        match_type: Some(match value {
            StringMatch::Exact(value) => MatchType::Exact(value.to_string()),
            StringMatch::Prefix(value) => MatchType::Prefix(value.to_string()),
            StringMatch::Suffix(value) => MatchType::Suffix(value.to_string()),
            StringMatch::Presence => MatchType::Presence(()),
        }),
    }
}

fn write_account(account: &ServiceAccount) -> wire::ServiceAccountMatch {
    wire::ServiceAccountMatch {
        namespace: account.namespace.to_string(),
        service_account: account.name.to_string(),
    }
}

fn write_range(range: &IpNet) -> wire::Address {
    wire::Address {
        address: bytes(range.addr()),
        length: range.prefix_len().into(),
    }
}
