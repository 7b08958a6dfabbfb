//! Policy routing as it stands in the kernel.

use std::process::Command;

use adit_net::{Namespace, policy_routing};

use crate::support::{self, as_root};

fn ip(namespace: &Namespace, arguments: &str) -> String {
    let output = namespace
        .run(|| Command::new("ip").args(arguments.split(' ')).output())
        .unwrap()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rule_and_route_are_those_of_the_contract_and_appear_once() {
    as_root(|| {
        let pod = support::namespace();
        assert_eq!(policy_routing::is_applied(&pod, true), Ok(false));
        policy_routing::apply(&pod, true).unwrap();
        policy_routing::apply(&pod, true).unwrap();
        assert_eq!(policy_routing::is_applied(&pod, true), Ok(true));
        for family in ["-4", "-6"] {
            let rules = ip(&pod, &format!("{family} rule show pref 32764"));
            let rules: Vec<_> = rules.lines().map(str::trim).collect();
            assert_eq!(
                rules,
                ["32764:\tfrom all fwmark 0x111/0xfff lookup 100"],
                "{family}"
            );
            let routes = ip(&pod, &format!("{family} route show table 100"));
            assert!(routes.starts_with("local default dev lo"), "{family}: {routes}");
            assert_eq!(routes.lines().count(), 1, "{family}: {routes}");
        }
    });
}

#[test]
fn removing_leaves_nothing_and_may_be_repeated() {
    as_root(|| {
        let pod = support::namespace();
        let before = ip(&pod, "rule show");
        policy_routing::apply(&pod, true).unwrap();
        policy_routing::remove(&pod).unwrap();
        policy_routing::remove(&pod).unwrap();
        assert_eq!(policy_routing::is_applied(&pod, true), Ok(false));
        assert_eq!(ip(&pod, "rule show"), before);
        assert_eq!(ip(&pod, "-6 route show table 100"), "");
    });
}

#[test]
fn half_of_it_is_not_applied() {
    as_root(|| {
        let pod = support::namespace();
        policy_routing::apply(&pod, false).unwrap();
        assert_eq!(policy_routing::is_applied(&pod, false), Ok(true));
        assert_eq!(policy_routing::is_applied(&pod, true), Ok(false));
        for undone in ["rule del pref 32764", "route flush table 100"] {
            policy_routing::apply(&pod, false).unwrap();
            ip(&pod, undone);
            assert_eq!(policy_routing::is_applied(&pod, false), Ok(false), "{undone}");
        }
    });
}

#[test]
fn a_loopback_device_that_is_down_is_named_as_the_reason() {
    as_root(|| {
        let pod = Namespace::create().unwrap();
        let error = policy_routing::apply(&pod, true).unwrap_err();
        assert!(
            error.to_string().contains("is the loopback device up?"),
            "{error}"
        );
    });
}
