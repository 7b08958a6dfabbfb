//! One rule: who calls (any of), what is called (any of), what else holds (all of).

use std::fmt;
use std::net::IpAddr;

use adit_mesh::policy::{Action, Clause, Group, Match, ServiceAccount, StringMatch, range};
use ipnet::IpNet;

use crate::kinds::{Condition, Operation, Rule, Source};

/// A field that a tunnel cannot tell, or that is not what it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Loss {
    field: String,
    pub(super) why: Why,
}

/// Why a field is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// Only a waypoint can tell.
    Unseen,
    /// It holds no value, or one that is none.
    Invalid,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        match self.why {
            Why::Unseen => Ok(()),
            Why::Invalid => f.write_str(" (not a valid value)"),
        }
    }
}

/// An alternative: what of it can be told.
enum Told {
    /// All of it.
    All(Match),
    /// Only this; nothing of it, if that is empty.
    Part(Match),
}

/// The group of a rule, and what of the rule is lost. There is no group if nothing can match it.
pub(super) fn translate(rule: &Rule, action: Action, namespace: &str) -> (Option<Group>, Vec<Loss>) {
    let mut losses = Vec::new();
    let mut clauses = Vec::new();
    let mut impossible = false;
    let mut add = |alternatives: Vec<Told>| match clause(alternatives, action) {
        Joined::Everything => {}
        Joined::Nothing => impossible = true,
        Joined::Clause(clause) => clauses.push(clause),
    };
    if !rule.from.is_empty() {
        let sources = rule.from.iter().enumerate().map(|(index, from)| {
            let place = format!("from[{index}].source");
            source(from.source.as_ref(), &place, namespace, &mut losses)
        });
        add(sources.collect());
    }
    if !rule.to.is_empty() {
        let operations = rule.to.iter().enumerate().map(|(index, to)| {
            let place = format!("to[{index}].operation");
            operation(to.operation.as_ref(), &place, &mut losses)
        });
        add(operations.collect());
    }
    for (index, condition) in rule.when.iter().enumerate() {
        add(vec![when(condition, index, &mut losses)]);
    }
    let group = Group {
        clauses: clauses.into(),
    };
    ((!impossible).then_some(group), losses)
}

enum Joined {
    Everything,
    Nothing,
    Clause(Clause),
}

/// Alternatives. In an ALLOW policy those that cannot be told fully go; in a DENY policy what can be told of them stays,
/// and one of which nothing can be told is everything.
fn clause(alternatives: Vec<Told>, action: Action) -> Joined {
    let mut matches = Vec::new();
    for told in alternatives {
        match (told, action) {
            (Told::All(one), _) => matches.push(one),
            (Told::Part(_), Action::Allow) => {}
            (Told::Part(one), Action::Deny) if one == Match::default() => return Joined::Everything,
            (Told::Part(one), Action::Deny) => matches.push(one),
        }
    }
    if matches.is_empty() {
        return Joined::Nothing;
    }
    Joined::Clause(Clause {
        matches: matches.into(),
    })
}

/// Collects what can be told of one alternative.
struct Alternative<'a> {
    place: &'a str,
    losses: &'a mut Vec<Loss>,
    lost: bool,
}

impl<'a> Alternative<'a> {
    fn new(place: &'a str, losses: &'a mut Vec<Loss>) -> Self {
        Self {
            place,
            losses,
            lost: false,
        }
    }

    /// The values of a field, all of which must be understood.
    fn values<T>(&mut self, field: &str, values: &[String], read: impl Fn(&str) -> Option<T>) -> Box<[T]> {
        let all: Option<Box<[T]>> = values.iter().map(|value| read(value)).collect();
        all.unwrap_or_else(|| {
            self.lose(field, Why::Invalid);
            Box::default()
        })
    }

    /// Fields that a tunnel cannot tell.
    fn cannot_tell(&mut self, fields: &[(&str, &Vec<String>)]) {
        for (field, values) in fields {
            if !values.is_empty() {
                self.lose(field, Why::Unseen);
            }
        }
    }

    fn lose(&mut self, field: &str, why: Why) {
        self.lost = true;
        let field = match field {
            "" => self.place.to_owned(),
            field => format!("{}.{field}", self.place),
        };
        self.losses.push(Loss { field, why });
    }

    fn end(self, one: Match) -> Told {
        if self.lost || one == Match::default() {
            return Told::Part(one);
        }
        Told::All(one)
    }
}

fn source(source: Option<&Source>, place: &str, namespace: &str, losses: &mut Vec<Loss>) -> Told {
    let mut told = Alternative::new(place, losses);
    let Some(source) = source.filter(|source| **source != Source::default()) else {
        told.lose("", Why::Invalid);
        return told.end(Match::default());
    };
    let account = |value: &str| service_account(value, namespace);
    let one = Match {
        namespaces: told.values("namespaces", &source.namespaces, text),
        not_namespaces: told.values("notNamespaces", &source.not_namespaces, text),
        service_accounts: told.values("serviceAccounts", &source.service_accounts, account),
        not_service_accounts: told.values("notServiceAccounts", &source.not_service_accounts, account),
        principals: told.values("principals", &source.principals, text),
        not_principals: told.values("notPrincipals", &source.not_principals, text),
        source_ips: told.values("ipBlocks", &source.ip_blocks, net),
        not_source_ips: told.values("notIpBlocks", &source.not_ip_blocks, net),
        ..Match::default()
    };
    told.cannot_tell(&[
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
        ("trustDomains", &source.trust_domains),
        ("notTrustDomains", &source.not_trust_domains),
    ]);
    told.end(one)
}

fn operation(operation: Option<&Operation>, place: &str, losses: &mut Vec<Loss>) -> Told {
    let mut told = Alternative::new(place, losses);
    let Some(operation) = operation.filter(|operation| **operation != Operation::default()) else {
        told.lose("", Why::Invalid);
        return told.end(Match::default());
    };
    let one = Match {
        destination_ports: told.values("ports", &operation.ports, port),
        not_destination_ports: told.values("notPorts", &operation.not_ports, port),
        ..Match::default()
    };
    told.cannot_tell(&[
        ("hosts", &operation.hosts),
        ("notHosts", &operation.not_hosts),
        ("methods", &operation.methods),
        ("notMethods", &operation.not_methods),
        ("paths", &operation.paths),
        ("notPaths", &operation.not_paths),
    ]);
    told.end(one)
}

/// A condition: `values` and `notValues` of one key.
fn when(condition: &Condition, index: usize, losses: &mut Vec<Loss>) -> Told {
    let place = format!("when[{index}]");
    let mut told = Alternative::new(&place, losses);
    let Condition {
        key,
        values,
        not_values,
    } = condition;
    let mut one = Match::default();
    match key.as_str() {
        "source.ip" => {
            one.source_ips = told.values("values", values, net);
            one.not_source_ips = told.values("notValues", not_values, net);
        }
        "source.namespace" => {
            one.namespaces = told.values("values", values, text);
            one.not_namespaces = told.values("notValues", not_values, text);
        }
        "source.principal" => {
            one.principals = told.values("values", values, text);
            one.not_principals = told.values("notValues", not_values, text);
        }
        "destination.ip" => {
            one.destination_ips = told.values("values", values, net);
            one.not_destination_ips = told.values("notValues", not_values, net);
        }
        "destination.port" => {
            one.destination_ports = told.values("values", values, port);
            one.not_destination_ports = told.values("notValues", not_values, port);
        }
        other => told.lose(other, Why::Unseen),
    }
    if one == Match::default() && !told.lost {
        told.lose("", Why::Invalid);
    }
    told.end(one)
}

/// `*` is anything that is there, `*x` what ends so, `x*` what begins so.
fn text(value: &str) -> Option<StringMatch> {
    match value {
        "" => None,
        "*" => Some(StringMatch::Presence),
        _ => Some(if let Some(end) = value.strip_prefix('*') {
            StringMatch::Suffix(end.into())
        } else if let Some(start) = value.strip_suffix('*') {
            StringMatch::Prefix(start.into())
        } else {
            StringMatch::Exact(value.into())
        }),
    }
}

/// `<namespace>/<name>`, or a name in the policy's namespace; never a pattern.
fn service_account(value: &str, own: &str) -> Option<ServiceAccount> {
    let (namespace, name) = value.split_once('/').unwrap_or((own, value));
    let plain = |text: &str| !text.is_empty() && !text.contains(['*', '/']);
    (plain(namespace) && plain(name)).then(|| ServiceAccount {
        namespace: namespace.into(),
        name: name.into(),
    })
}

fn net(value: &str) -> Option<IpNet> {
    let (address, length) = match value.split_once('/') {
        Some((address, length)) => (address, length.parse().ok()),
        None => (value, None),
    };
    if value.contains('/') && length.is_none() {
        return None;
    }
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    range(address, length.unwrap_or(whole)).ok()
}

fn port(value: &str) -> Option<u16> {
    value.parse().ok().filter(|port| *port != 0)
}
