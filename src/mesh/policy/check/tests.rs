use super::*;
use crate::policy::{Action, Clause, Group};
use crate::text::Text;

fn policy(conditions: Match) -> Policy {
    Policy {
        key: key("bank", "ledger"),
        scope: PolicyScope::Namespace,
        action: Action::Allow,
        groups: [Group {
            clauses: [Clause {
                matches: [conditions].into(),
            }]
            .into(),
        }]
        .into(),
        dry_run: false,
    }
}

fn key(namespace: &str, name: &str) -> PolicyKey {
    PolicyKey {
        namespace: namespace.into(),
        name: name.into(),
    }
}

#[test]
fn a_policy_that_can_be_obeyed_comes_back_as_it_was() {
    let good = policy(Match {
        namespaces: [StringMatch::Exact("bank".into())].into(),
        principals: [StringMatch::Presence].into(),
        destination_ports: [8080].into(),
        ..Match::default()
    });
    assert_eq!(good.clone().checked(), Ok(good));
}

#[test]
fn names_the_place_of_an_empty_string() {
    let empty = Text::empty();
    let account = ServiceAccount {
        namespace: "bank".into(),
        name: Text::empty(),
    };
    let cases = [
        (
            Field::Namespaces,
            Match {
                namespaces: [StringMatch::Exact(empty.clone())].into(),
                ..Match::default()
            },
        ),
        (
            Field::NotNamespaces,
            Match {
                not_namespaces: [StringMatch::Prefix(empty.clone())].into(),
                ..Match::default()
            },
        ),
        (
            Field::Principals,
            Match {
                principals: [StringMatch::Suffix(empty.clone())].into(),
                ..Match::default()
            },
        ),
        (
            Field::NotServiceAccounts,
            Match {
                not_service_accounts: [account].into(),
                ..Match::default()
            },
        ),
    ];
    for (field, conditions) in cases {
        let expected = InvalidPolicy::Value {
            rule: 0,
            clause: 0,
            alternative: 0,
            field,
            index: 0,
            cause: InvalidValue::EmptyString,
        };
        assert_eq!(policy(conditions).checked(), Err(expected));
    }
}

#[test]
fn the_message_names_rule_field_and_value() {
    let wrong = policy(Match {
        destination_ports: [80, 0].into(),
        ..Match::default()
    });
    let message = wrong.checked().expect_err("port 0").to_string();
    assert_eq!(
        message,
        "rules[0][0][0].destinationPorts[1]: 0 is not a port (allowed: 1 to 65535)"
    );
}

#[test]
fn names_that_could_be_read_in_two_ways_are_refused() {
    let with = |key| Policy {
        key,
        ..policy(Match::default())
    };
    assert_eq!(with(key("bank", "")).checked(), Err(InvalidPolicy::NoName));
    assert_eq!(with(key("", "ledger")).checked(), Err(InvalidPolicy::NoNamespace));
    assert_eq!(
        with(key("a", "b/c")).checked(),
        Err(InvalidPolicy::Name {
            name: "a/b/c".to_owned()
        })
    );
}

#[test]
fn only_ports_are_ports() {
    assert_eq!(port(1), Ok(1));
    assert_eq!(port(65_535), Ok(65_535));
    for wrong in [0, 65_536, 65_616, u64::MAX] {
        assert_eq!(port(wrong), Err(InvalidValue::Port(wrong)));
    }
}

#[test]
fn ranges_lose_their_host_bits_and_their_mapping() {
    let made = |address: &str, length| {
        range(address.parse().expect("an address"), length).map(|range| range.to_string())
    };
    assert_eq!(made("10.1.2.3", 8).as_deref(), Ok("10.0.0.0/8"));
    assert_eq!(made("10.1.2.3", 0).as_deref(), Ok("0.0.0.0/0"));
    assert_eq!(made("2001:db8::1", 32).as_deref(), Ok("2001:db8::/32"));
    assert_eq!(made("::ffff:10.1.2.3", 112).as_deref(), Ok("10.1.0.0/16"));
    assert_eq!(made("::ffff:10.1.2.3", 128).as_deref(), Ok("10.1.2.3/32"));
    assert_eq!(made("::", 0).as_deref(), Ok("::/0"));
    for (address, length) in [("10.0.0.0", 33), ("::", 129), ("10.0.0.0", 256 + 8)] {
        assert!(made(address, length).is_err(), "{address}/{length}");
    }
}
