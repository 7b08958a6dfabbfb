//! Tables for what people rely on; `naive` compares with a second evaluator on random policies.

mod naive;

use super::*;
use crate::outcome::Outcome;
use crate::policy::{Clause, Field, Group, Match, PolicyScope, ServiceAccount, StringMatch};

fn identity(id: &str) -> Identity {
    format!("spiffe://{id}").parse().expect("well formed")
}

fn key(name: &str) -> PolicyKey {
    PolicyKey {
        namespace: "bank".into(),
        name: name.into(),
    }
}

fn policy(name: &str, action: Action, rules: &[&[&[Match]]]) -> Arc<Policy> {
    let clause = |matches: &&[Match]| Clause {
        matches: matches.to_vec().into(),
    };
    let group = |clauses: &&[&[Match]]| Group {
        clauses: clauses.iter().map(clause).collect(),
    };
    Arc::new(Policy {
        key: key(name),
        scope: PolicyScope::Namespace,
        action,
        groups: rules.iter().map(group).collect(),
        dry_run: false,
    })
}

fn dry(policy: &Arc<Policy>) -> Arc<Policy> {
    Arc::new(Policy {
        dry_run: true,
        ..Policy::clone(policy)
    })
}

fn set<const N: usize>(policies: [&Arc<Policy>; N]) -> PolicySet {
    PolicySet::new(policies.map(|policy| Applied::Policy(policy.clone())))
}

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact(value.into())
}

fn principals(values: &[&str]) -> Match {
    Match {
        principals: values.iter().map(|value| exact(value)).collect(),
        ..Match::default()
    }
}

fn ports(values: &[u16]) -> Match {
    Match {
        destination_ports: values.into(),
        ..Match::default()
    }
}

fn from(peer: Option<&Identity>) -> Connection<'_> {
    Connection {
        peer,
        source: [10, 0, 1, 5].into(),
        destination: ([10, 0, 2, 7], 8080).into(),
    }
}

fn by(name: &str, rule: usize) -> Decider {
    Decider {
        policy: key(name),
        rule,
    }
}

const PAYMENTS: &str = "cluster.local/ns/bank/sa/payments";
const ANALYTICS: &str = "cluster.local/ns/bank/sa/customer-analytics";

#[test]
fn without_policies_everybody_may_enter() {
    let verdict = decide(&PolicySet::default(), &from(None));
    assert_eq!(verdict.decision, Decision::Allowed { by: None });
    assert!(verdict.dry_run.is_empty());
}

#[test]
fn an_allow_policy_lets_in_whom_it_names_and_nobody_else() {
    let policies = set([&policy("ledger", Action::Allow, &[&[&[principals(&[PAYMENTS])]]])]);
    let (payments, analytics) = (identity(PAYMENTS), identity(ANALYTICS));
    assert_eq!(
        decide(&policies, &from(Some(&payments))).decision,
        Decision::Allowed {
            by: Some(by("ledger", 0))
        }
    );
    for peer in [Some(&analytics), None] {
        let verdict = decide(&policies, &from(peer));
        assert_eq!(verdict.outcome(), Some(Outcome::PolicyNotAllowed));
    }
}

#[test]
fn denies_a_peer_of_another_trust_domain() {
    let policies = set([&policy("ledger", Action::Allow, &[&[&[principals(&[PAYMENTS])]]])]);
    let foreign = identity("example.org/ns/bank/sa/payments");
    assert!(!decide(&policies, &from(Some(&foreign))).is_allowed());
}

#[test]
fn deny_wins_over_allow() {
    let allow = policy("allow", Action::Allow, &[&[]]);
    let deny = policy(
        "deny",
        Action::Deny,
        &[&[&[ports(&[9999])]], &[&[ports(&[8080])]]],
    );
    let verdict = decide(&set([&allow, &deny]), &from(None));
    assert_eq!(verdict.decision, Decision::Denied(Refusal::Denied(by("deny", 1))));
    assert_eq!(verdict.outcome(), Some(Outcome::PolicyDenied));
    assert_eq!(verdict.to_string(), "denied by policy bank/deny rule[1]");
}

#[test]
fn a_policy_without_rules_never_matches() {
    let denies_nobody = policy("deny", Action::Deny, &[]);
    assert!(decide(&set([&denies_nobody]), &from(None)).is_allowed());
    let allows_nobody = policy("allow", Action::Allow, &[]);
    let verdict = decide(&set([&allows_nobody]), &from(None));
    assert_eq!(
        verdict.decision,
        Decision::Denied(Refusal::NotAllowed {
            policies: [key("allow")].into(),
            nearest: None,
        })
    );
    assert_eq!(
        verdict.to_string(),
        "allowed by no policy: no rule that could match in bank/allow"
    );
}

#[test]
fn a_rule_without_clauses_and_a_clause_without_matches_match_everything() {
    for rules in [&[&[] as &[&[Match]]], &[&[&[] as &[Match]] as &[&[Match]]]] {
        let allow = policy("allow", Action::Allow, rules);
        assert!(decide(&set([&allow]), &from(None)).is_allowed());
    }
}

#[test]
fn a_match_without_conditions_never_matches() {
    let deny = policy("deny", Action::Deny, &[&[&[Match::default()]]]);
    assert!(decide(&set([&deny]), &from(None)).is_allowed());
    let allow = policy("allow", Action::Allow, &[&[&[Match::default()]]]);
    assert!(!decide(&set([&allow]), &from(None)).is_allowed());
}

#[test]
fn strict_mutual_tls_refuses_only_those_without_identity() {
    let strict = Match {
        not_principals: [StringMatch::Presence].into(),
        ..Match::default()
    };
    let policies = set([&policy("strict", Action::Deny, &[&[&[strict]]])]);
    let peer = identity(PAYMENTS);
    assert!(decide(&policies, &from(Some(&peer))).is_allowed());
    assert_eq!(
        decide(&policies, &from(None)).outcome(),
        Some(Outcome::PolicyDenied)
    );
}

#[test]
fn every_field_is_compared_with_its_own_part_of_the_connection() {
    let peer = identity(PAYMENTS);
    let net = |range: &str| -> Box<[ipnet::IpNet]> { [range.parse().expect("a range")].into() };
    let account = |namespace: &str, name: &str| -> Box<[ServiceAccount]> {
        [ServiceAccount {
            namespace: namespace.into(),
            name: name.into(),
        }]
        .into()
    };
    let yes = [
        Match {
            namespaces: [exact("bank")].into(),
            ..Match::default()
        },
        Match {
            not_namespaces: [exact("shop")].into(),
            ..Match::default()
        },
        Match {
            service_accounts: account("bank", "payments"),
            ..Match::default()
        },
        Match {
            not_service_accounts: account("shop", "payments"),
            ..Match::default()
        },
        Match {
            not_principals: [exact(ANALYTICS)].into(),
            ..Match::default()
        },
        Match {
            source_ips: net("10.0.1.0/24"),
            ..Match::default()
        },
        Match {
            not_source_ips: net("10.0.2.0/24"),
            ..Match::default()
        },
        Match {
            destination_ips: net("10.0.2.0/24"),
            ..Match::default()
        },
        Match {
            not_destination_ips: net("10.0.1.0/24"),
            ..Match::default()
        },
        ports(&[80, 8080]),
        Match {
            not_destination_ports: [80].into(),
            ..Match::default()
        },
    ];
    let no = [
        Match {
            namespaces: [exact("payments")].into(),
            ..Match::default()
        },
        Match {
            not_namespaces: [exact("bank")].into(),
            ..Match::default()
        },
        Match {
            service_accounts: account("payments", "bank"),
            ..Match::default()
        },
        Match {
            not_service_accounts: account("bank", "payments"),
            ..Match::default()
        },
        Match {
            not_principals: [exact(PAYMENTS)].into(),
            ..Match::default()
        },
        Match {
            source_ips: net("10.0.2.0/24"),
            ..Match::default()
        },
        Match {
            not_source_ips: net("10.0.1.5/32"),
            ..Match::default()
        },
        Match {
            destination_ips: net("10.0.1.0/24"),
            ..Match::default()
        },
        Match {
            not_destination_ips: net("0.0.0.0/0"),
            ..Match::default()
        },
        ports(&[80]),
        Match {
            not_destination_ports: [8080].into(),
            ..Match::default()
        },
    ];
    for (conditions, expected) in yes.iter().map(|m| (m, true)).chain(no.iter().map(|m| (m, false))) {
        let allow = policy("allow", Action::Allow, &[&[std::slice::from_ref(conditions)]]);
        let verdict = decide(&set([&allow]), &from(Some(&peer)));
        assert_eq!(verdict.is_allowed(), expected, "{conditions:?}");
    }
}

#[test]
fn ipv4_mapped_addresses_are_the_ipv4_addresses_that_they_stand_for() {
    let conditions = Match {
        source_ips: ["10.0.1.0/24".parse().expect("a range")].into(),
        destination_ips: ["10.0.2.7/32".parse().expect("a range")].into(),
        ..Match::default()
    };
    let deny = policy("deny", Action::Deny, &[&[&[conditions]]]);
    let mapped = Connection {
        peer: None,
        source: "::ffff:10.0.1.5".parse().expect("an address"),
        destination: "[::ffff:10.0.2.7]:8080".parse().expect("an address"),
    };
    assert!(!decide(&set([&deny]), &mapped).is_allowed());
}

#[test]
fn strings_match_across_the_parts_of_a_principal() {
    let peer = identity(PAYMENTS);
    let prefix = |value: &str| StringMatch::Prefix(value.into());
    let suffix = |value: &str| StringMatch::Suffix(value.into());
    let cases = [
        (prefix("cluster"), true),
        (prefix("cluster.local/ns/ba"), true),
        (prefix(PAYMENTS), true),
        (prefix("cluster.local/ns/bank/sa/payments2"), false),
        (prefix("luster"), false),
        (prefix("cluster.local/sa"), false),
        (suffix("payments"), true),
        (suffix("k/sa/payments"), true),
        (suffix("/ns/bank/sa/payments"), true),
        (suffix(PAYMENTS), true),
        (suffix("xcluster.local/ns/bank/sa/payments"), false),
        (suffix("/bank"), false),
        (exact("cluster.local/ns/bank/sa/payment"), false),
        (exact("cluster.local/ns/bank/sa/paymentss"), false),
        (exact("spiffe://cluster.local/ns/bank/sa/payments"), false),
        (StringMatch::Presence, true),
    ];
    for (wanted, expected) in cases {
        let conditions = Match {
            principals: [wanted.clone()].into(),
            ..Match::default()
        };
        let allow = policy("allow", Action::Allow, &[&[&[conditions]]]);
        let verdict = decide(&set([&allow]), &from(Some(&peer)));
        assert_eq!(verdict.is_allowed(), expected, "{wanted:?}");
    }
}

#[test]
fn a_missing_policy_refuses_everybody_and_is_named() {
    let allow = policy("allow", Action::Allow, &[&[]]);
    let policies = PolicySet::new([Applied::Policy(allow), Applied::Missing(key("late"))]);
    let verdict = decide(&policies, &from(None));
    assert_eq!(verdict.outcome(), Some(Outcome::PolicyMissing));
    assert_eq!(
        verdict.to_string(),
        "denied because policy bank/late applies here and has not arrived"
    );
}

#[test]
fn a_rejected_policy_refuses_everybody_with_the_reason() {
    let policies = PolicySet::new([Applied::Rejected {
        key: key("broken"),
        reason: "0 is not a port".into(),
    }]);
    let verdict = decide(&policies, &from(None));
    assert_eq!(verdict.outcome(), Some(Outcome::PolicyMissing));
    assert_eq!(verdict.refusal().and_then(Refusal::policy), Some(&key("broken")));
    assert!(
        verdict.to_string().ends_with("was rejected: 0 is not a port"),
        "{verdict}"
    );
}

#[test]
fn an_explicit_denial_is_named_before_a_missing_policy() {
    let deny = policy("deny", Action::Deny, &[&[]]);
    let policies = PolicySet::new([Applied::Missing(key("a")), Applied::Policy(deny)]);
    assert_eq!(
        decide(&policies, &from(None)).decision,
        Decision::Denied(Refusal::Denied(by("deny", 0)))
    );
}

#[test]
fn dry_run_policies_are_reported_and_not_obeyed() {
    let peer = identity(ANALYTICS);
    let deny = dry(&policy("deny", Action::Deny, &[&[]]));
    let allow_all = dry(&policy("open", Action::Allow, &[&[]]));
    let allow_other = dry(&policy("other", Action::Allow, &[&[&[principals(&[PAYMENTS])]]]));
    let deny_other = dry(&policy("quiet", Action::Deny, &[&[&[principals(&[PAYMENTS])]]]));
    let verdict = decide(
        &set([&deny, &allow_all, &allow_other, &deny_other]),
        &from(Some(&peer)),
    );
    assert_eq!(verdict.decision, Decision::Allowed { by: None });
    let shadow = |name, effect| DryRun {
        policy: key(name),
        effect,
    };
    assert_eq!(
        verdict.dry_run,
        [
            shadow("deny", Effect::Deny { rule: 0 }),
            shadow("open", Effect::Allow { rule: 0 }),
            shadow("other", Effect::NotAllow),
        ]
    );
}

#[test]
fn a_dry_run_policy_that_another_makes_redundant_is_not_reported() {
    let peer = identity(ANALYTICS);
    let enforced = policy("enforced", Action::Allow, &[&[&[principals(&[ANALYTICS])]]]);
    let trial = dry(&policy("trial", Action::Allow, &[&[&[principals(&[PAYMENTS])]]]));
    let verdict = decide(&set([&enforced, &trial]), &from(Some(&peer)));
    assert!(verdict.is_allowed());
    assert_eq!(verdict.dry_run, []);
}

#[test]
fn the_nearest_miss_is_the_rule_with_the_fewest_failed_conditions() {
    let peer = identity(ANALYTICS);
    let far = policy(
        "far",
        Action::Allow,
        &[&[&[principals(&["x/ns/a/sa/b"])], &[ports(&[1, 2])]]],
    );
    let near = policy(
        "near",
        Action::Allow,
        &[
            &[&[principals(&["x/ns/a/sa/b"])], &[ports(&[1])]],
            &[&[principals(&[PAYMENTS])], &[ports(&[8080])]],
        ],
    );
    let verdict = decide(&set([&far, &near]), &from(Some(&peer)));
    let Some(Refusal::NotAllowed {
        nearest: Some(nearest),
        policies,
    }) = verdict.refusal()
    else {
        panic!("{verdict:?}");
    };
    assert_eq!(**policies, [key("far"), key("near")]);
    assert_eq!((&nearest.policy, nearest.rule), (&key("near"), 1));
    assert_eq!(
        *nearest.misses,
        [Miss {
            clause: 0,
            alternative: 0,
            field: Field::Principals,
            wanted: [PAYMENTS.to_owned()].into(),
            actual: Some(ANALYTICS.to_owned()),
        }]
    );
    assert_eq!(
        verdict.to_string(),
        format!(
            "allowed by no policy; the nearest is policy bank/near rule[1]: principals wants {PAYMENTS:?}, \
             the connection has {ANALYTICS:?}"
        )
    );
}

#[test]
fn the_nearest_miss_says_when_the_peer_has_no_identity() {
    let many: Vec<String> = (0..7).map(|n| format!("td/ns/a/sa/s{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let allow = policy("allow", Action::Allow, &[&[&[principals(&many)]]]);
    let verdict = decide(&set([&allow]), &from(None)).to_string();
    assert!(verdict.contains("\"td/ns/a/sa/s4\" and 2 more"), "{verdict}");
    assert!(
        verdict.ends_with("the peer has no identity (plaintext)"),
        "{verdict}"
    );
}

#[test]
fn the_order_in_which_policies_arrived_does_not_matter() {
    let (one, two) = (policy("a", Action::Allow, &[]), policy("b", Action::Deny, &[&[]]));
    let applied = [
        Applied::Policy(one.clone()),
        Applied::Policy(two),
        Applied::Missing(key("c")),
        Applied::Missing(key("d")),
        Applied::Policy(one),
    ];
    let forwards = PolicySet::new(applied.clone());
    let backwards = PolicySet::new(applied.into_iter().rev());
    assert_eq!(forwards, backwards);
    assert_eq!(forwards.policies().count(), 2);
    assert_eq!(forwards.unusable().count(), 2);
    assert!(!forwards.is_empty() && PolicySet::new([]).is_empty());
}
