//! Policies of a file. Nothing is tolerated here that is not understood: a key that is passed over may be the
//! condition that made an ALLOW rule narrow.

use adit_mesh::policy::{self, Clause, Group, Match, PolicyScope, ServiceAccount, StringMatch};
use adit_mesh::registry::{Rejection, ResourceName};
use adit_mesh::{Interner, Policy, PolicyKey, Text};

use super::document::{Invalid, Node};
use super::service::range;

const KEYS: &[&str] = &["action", "dryRun", "name", "namespace", "rules", "scope"];
const MATCH_KEYS: &[&str] = &[
    "destinationIps",
    "destinationPorts",
    "namespaces",
    "notDestinationIps",
    "notDestinationPorts",
    "notNamespaces",
    "notPrincipals",
    "notServiceAccounts",
    "notSourceIps",
    "principals",
    "serviceAccounts",
    "sourceIps",
];
const ACCOUNT_KEYS: &[&str] = &["namespace", "serviceAccount"];

/// Reads a policy.
pub(super) fn read(node: &Node<'_>, texts: &mut Interner) -> Result<Policy, Invalid> {
    only(node, KEYS)?;
    let rules = node.required("rules")?;
    let policy = Policy {
        key: PolicyKey {
            namespace: texts.intern(node.required("namespace")?.text()?),
            name: texts.intern(node.required("name")?.text()?),
        },
        scope: node.required("scope")?.word()?,
        action: node.required("action")?.word()?,
        groups: rules
            .items()?
            .map(|rule| group(&rule))
            .collect::<Result<_, _>>()?,
        dry_run: node.flag("dryRun")?,
    };
    policy.checked().map_err(|error| node.invalid(error))
}

/// A policy that could not be read. Without a readable namespace it counts for the whole mesh: nothing narrower is
/// proved.
pub(super) fn reject(node: &Node<'_>, error: &Invalid) -> Rejection {
    let namespace = node
        .text_of("namespace")
        .ok()
        .filter(|_| node.field("namespace").is_some());
    let name = node.text_of("name").ok().filter(|name| !name.is_empty());
    let key = PolicyKey {
        namespace: namespace.unwrap_or_default().into(),
        name: name.map_or_else(|| Text::from(node.to_string()), Text::from),
    };
    let scope = node.field("scope").and_then(|scope| scope.word().ok());
    Rejection {
        scope: match (namespace, scope) {
            (None, _) | (Some(""), None | Some(PolicyScope::Namespace)) => Some(PolicyScope::Global),
            (Some(_), scope) => scope,
        },
        ..Rejection::new(ResourceName::Policy(key), error.to_string().into())
    }
}

fn group(rule: &Node<'_>) -> Result<Group, Invalid> {
    let clauses = rule.items()?.map(|node| clause(&node));
    Ok(Group {
        clauses: clauses.collect::<Result<_, _>>()?,
    })
}

fn clause(node: &Node<'_>) -> Result<Clause, Invalid> {
    let matches = node.items()?.map(|node| conditions(&node));
    Ok(Clause {
        matches: matches.collect::<Result<_, _>>()?,
    })
}

fn conditions(node: &Node<'_>) -> Result<Match, Invalid> {
    only(node, MATCH_KEYS)?;
    Ok(Match {
        namespaces: node.list("namespaces", string_match)?,
        not_namespaces: node.list("notNamespaces", string_match)?,
        service_accounts: node.list("serviceAccounts", service_account)?,
        not_service_accounts: node.list("notServiceAccounts", service_account)?,
        principals: node.list("principals", string_match)?,
        not_principals: node.list("notPrincipals", string_match)?,
        source_ips: node.list("sourceIps", range)?,
        not_source_ips: node.list("notSourceIps", range)?,
        destination_ips: node.list("destinationIps", range)?,
        not_destination_ips: node.list("notDestinationIps", range)?,
        destination_ports: node.list("destinationPorts", port)?,
        not_destination_ports: node.list("notDestinationPorts", port)?,
    })
}

/// `{Exact: ...}`, `{Prefix: ...}`, `{Suffix: ...}` or `{Presence: []}`.
fn string_match(node: &Node<'_>) -> Result<StringMatch, Invalid> {
    let wrong = || node.expected("one of {Exact: ...}, {Prefix: ...}, {Suffix: ...}, {Presence: []}");
    if !node.is_mapping() {
        return Err(wrong());
    }
    let mut entries = node.entries()?;
    let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
        return Err(wrong());
    };
    match kind {
        "Exact" => Ok(StringMatch::Exact(value.text()?.into())),
        "Prefix" => Ok(StringMatch::Prefix(value.text()?.into())),
        "Suffix" => Ok(StringMatch::Suffix(value.text()?.into())),
        "Presence" if value.is_empty() => Ok(StringMatch::Presence),
        _ => Err(wrong()),
    }
}

fn service_account(node: &Node<'_>) -> Result<ServiceAccount, Invalid> {
    only(node, ACCOUNT_KEYS)?;
    Ok(ServiceAccount {
        namespace: node.required("namespace")?.text()?.into(),
        name: node.required("serviceAccount")?.text()?.into(),
    })
}

fn port(node: &Node<'_>) -> Result<u16, Invalid> {
    policy::port(node.number()?).map_err(|error| node.invalid(error))
}

fn only(node: &Node<'_>, known: &[&str]) -> Result<(), Invalid> {
    if !node.is_mapping() {
        return Err(node.expected("a mapping"));
    }
    match node.unknown_keys(known).first() {
        Some(key) => Err(node.invalid(format_args!(
            "unknown key {key:?} (allowed: {})",
            known.join(", ")
        ))),
        None => Ok(()),
    }
}
