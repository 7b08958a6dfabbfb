//! A second evaluator, written from the text of the rules and nothing else, and random policies to compare on.
//!
//! The rules: a policy matches if any of its groups does; a group if all its clauses do; a clause if any of its
//! matches does, or if it has none; a match if all its fields do, but never if it has none. A DENY that matches denies; a
//! policy that cannot be evaluated denies; without ALLOW policies everything is allowed; else one must match.

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

#[derive(PartialEq, Debug)]
enum Expected {
    Allowed,
    Denied,
    Unusable,
    NotAllowed,
}

fn evaluate(applied: &[Applied], connection: &Connection<'_>) -> Expected {
    let enforced = |action| {
        applied.iter().filter_map(move |applied| match applied {
            Applied::Policy(policy) if !policy.dry_run && policy.action == action => Some(policy),
            _ => None,
        })
    };
    if enforced(Action::Deny).any(|policy| policy_matches(policy, connection)) {
        return Expected::Denied;
    }
    if applied
        .iter()
        .any(|applied| !matches!(applied, Applied::Policy(_)))
    {
        return Expected::Unusable;
    }
    if enforced(Action::Allow).count() == 0 {
        return Expected::Allowed;
    }
    if enforced(Action::Allow).any(|policy| policy_matches(policy, connection)) {
        return Expected::Allowed;
    }
    Expected::NotAllowed
}

fn policy_matches(policy: &Policy, connection: &Connection<'_>) -> bool {
    policy.groups.iter().any(|group| {
        group.clauses.iter().all(|clause| {
            clause.matches.is_empty() || clause.matches.iter().any(|one| match_matches(one, connection))
        })
    })
}

fn match_matches(m: &Match, connection: &Connection<'_>) -> bool {
    if *m == Match::default() {
        return false;
    }
    let (namespace, account, principal) = match connection.peer {
        Some(peer) => (
            peer.namespace().to_string(),
            format!("{}/{}", peer.namespace(), peer.service_account()),
            peer.to_string().replacen("spiffe://", "", 1),
        ),
        None => Default::default(),
    };
    let text = |wanted: &StringMatch, actual: &str| match wanted {
        StringMatch::Exact(value) => actual == value.as_str(),
        StringMatch::Prefix(value) => actual.starts_with(value.as_str()),
        StringMatch::Suffix(value) => actual.ends_with(value.as_str()),
        StringMatch::Presence => !actual.is_empty(),
    };
    let in_namespace = |wanted: &StringMatch| text(wanted, &namespace);
    let is_principal = |wanted: &StringMatch| text(wanted, &principal);
    let is_account = |wanted: &ServiceAccount| wanted.to_string() == account;
    let from_range = |range: &IpNet| range.contains(&connection.source);
    let to_range = |range: &IpNet| range.contains(&connection.destination.ip());
    let to_port = |port: &u16| *port == connection.destination.port();
    (m.namespaces.is_empty() || m.namespaces.iter().any(in_namespace))
        && !m.not_namespaces.iter().any(in_namespace)
        && (m.service_accounts.is_empty() || m.service_accounts.iter().any(is_account))
        && !m.not_service_accounts.iter().any(is_account)
        && (m.principals.is_empty() || m.principals.iter().any(is_principal))
        && !m.not_principals.iter().any(is_principal)
        && (m.source_ips.is_empty() || m.source_ips.iter().any(from_range))
        && !m.not_source_ips.iter().any(from_range)
        && (m.destination_ips.is_empty() || m.destination_ips.iter().any(to_range))
        && !m.not_destination_ips.iter().any(to_range)
        && (m.destination_ports.is_empty() || m.destination_ports.iter().any(to_port))
        && !m.not_destination_ports.iter().any(to_port)
}

/// Few values, so that matching and not matching are both common.
fn strings(values: &'static [&'static str]) -> impl Strategy<Value = Box<[StringMatch]>> {
    let one = (0..4, select(values)).prop_map(|(kind, value)| match kind {
        0 => StringMatch::Exact(value.into()),
        1 => StringMatch::Prefix(value.into()),
        2 => StringMatch::Suffix(value.into()),
        _ => StringMatch::Presence,
    });
    list(one)
}

fn list<T: std::fmt::Debug + Clone>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Box<[T]>> {
    prop_oneof![
        3 => Just(Box::default()),
        1 => proptest::collection::vec(one, 1..3).prop_map(Into::into),
    ]
}

fn namespaces() -> impl Strategy<Value = Box<[StringMatch]>> {
    strings(&["a", "ab", "b"])
}

fn identities() -> impl Strategy<Value = Box<[StringMatch]>> {
    strings(&[
        "td",
        "td/ns/a",
        "td/ns/a/sa/x",
        "td/ns/ab/sa/x",
        "x",
        "sa/x",
        "/sa/y",
        "td2/ns/b/sa/y",
    ])
}

fn accounts() -> impl Strategy<Value = Box<[ServiceAccount]>> {
    list(
        (select(&["a", "ab"][..]), select(&["x", "y"][..])).prop_map(|(namespace, name)| ServiceAccount {
            namespace: namespace.into(),
            name: name.into(),
        }),
    )
}

fn ranges() -> impl Strategy<Value = Box<[IpNet]>> {
    let ranges = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::/16"];
    list(select(
        ranges.map(|range| range.parse().expect("a range")).to_vec(),
    ))
}

fn some_ports() -> impl Strategy<Value = Box<[u16]>> {
    list(select(&[80, 443][..]))
}

fn matches() -> impl Strategy<Value = Match> {
    let identity = (
        namespaces(),
        namespaces(),
        accounts(),
        accounts(),
        identities(),
        identities(),
    );
    let address = (ranges(), ranges(), ranges(), ranges(), some_ports(), some_ports());
    (identity, address).prop_map(|(identity, address)| Match {
        namespaces: identity.0,
        not_namespaces: identity.1,
        service_accounts: identity.2,
        not_service_accounts: identity.3,
        principals: identity.4,
        not_principals: identity.5,
        source_ips: address.0,
        not_source_ips: address.1,
        destination_ips: address.2,
        not_destination_ips: address.3,
        destination_ports: address.4,
        not_destination_ports: address.5,
    })
}

prop_compose! {
    fn policies()(
        name in "[a-d]",
        action in select(&[Action::Allow, Action::Deny][..]),
        dry_run in proptest::bool::weighted(0.2),
        groups in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(matches(), 0..3), 0..3),
            0..3,
        ),
    ) -> Policy {
        let clause = |matches: Vec<Match>| Clause { matches: matches.into() };
        let group = |clauses: Vec<Vec<Match>>| Group { clauses: clauses.into_iter().map(clause).collect() };
        Policy {
            key: key(&name),
            scope: PolicyScope::Global,
            action,
            groups: groups.into_iter().map(group).collect(),
            dry_run,
        }
    }
}

fn applied() -> impl Strategy<Value = Vec<Applied>> {
    let one = prop_oneof![
        20 => policies().prop_map(|policy| Applied::Policy(Arc::new(policy))),
        1 => Just(Applied::Missing(key("missing"))),
        1 => Just(Applied::Rejected { key: key("rejected"), reason: "broken".into() }),
    ];
    proptest::collection::vec(one, 0..5)
}

fn peers() -> impl Strategy<Value = Option<Identity>> {
    let known = ["td/ns/a/sa/x", "td/ns/ab/sa/x", "td/ns/a/sa/y", "td2/ns/b/sa/y"];
    proptest::option::weighted(0.8, select(known.map(identity).to_vec()))
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    let known = [
        "10.1.2.3",
        "10.1.9.9",
        "10.9.9.9",
        "192.0.2.1",
        "fd00::1",
        "2001:db8::1",
    ];
    select(known.map(|address| address.parse().expect("an address")).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn random_policies_decide_like_the_text_of_the_rules(
        applied in applied(),
        peer in peers(),
        source in addresses(),
        destination in addresses(),
        port in select(&[80, 443, 8080][..]),
    ) {
        let connection = Connection {
            peer: peer.as_ref(),
            source,
            destination: SocketAddr::new(destination, port),
        };
        let verdict = decide(&PolicySet::new(applied.clone()), &connection);
        let actual = match &verdict.decision {
            Decision::Allowed { .. } => Expected::Allowed,
            Decision::Denied(Refusal::Denied(_)) => Expected::Denied,
            Decision::Denied(Refusal::Unusable { .. }) => Expected::Unusable,
            Decision::Denied(Refusal::NotAllowed { .. }) => Expected::NotAllowed,
        };
        prop_assert_eq!(actual, evaluate(&applied, &connection));
        if let Some(Refusal::NotAllowed { nearest: Some(nearest), .. }) = verdict.refusal() {
            prop_assert!(!nearest.misses.is_empty());
        }
        prop_assert_eq!(verdict.is_allowed(), verdict.outcome().is_none());
    }
}
