//! The rules as they stand in the kernel: written, compared, removed.

use std::process::Command;

use adit_net::Namespace;
use adit_net::rules::{self, InterfaceName, Options, Verified};

use crate::support::{self, as_root};

fn nft(namespace: &Namespace, arguments: &str) -> String {
    let output = namespace
        .run(|| Command::new("nft").args(arguments.split(' ')).output())
        .unwrap()
        .unwrap();
    assert!(output.status.success(), "nft {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn every_option() -> Options {
    Options {
        dns: true,
        virtual_interfaces: [InterfaceName::new("vm0").unwrap()].into(),
        ..Options::default()
    }
}

#[test]
fn rules_that_were_applied_are_exactly_ours() {
    as_root(|| {
        let ingress = Options {
            ingress: true,
            ipv6: false,
            ..Options::default()
        };
        for options in [Options::default(), every_option(), ingress] {
            let pod = support::namespace();
            assert_eq!(rules::verify(&pod, &options), Ok(Verified::Missing));
            rules::apply(&pod, &options).unwrap();
            assert_eq!(rules::verify(&pod, &options), Ok(Verified::Exact));
        }
    });
}

#[test]
fn applying_again_changes_nothing() {
    as_root(|| {
        let pod = support::namespace();
        rules::apply(&pod, &every_option()).unwrap();
        // Handles are given anew to whatever is written anew.
        let before = nft(&pod, "--handle list ruleset");
        rules::apply(&pod, &every_option()).unwrap();
        assert_eq!(nft(&pod, "--handle list ruleset"), before);
    });
}

#[test]
fn applying_other_options_replaces_the_rules() {
    as_root(|| {
        let pod = support::namespace();
        rules::apply(&pod, &every_option()).unwrap();
        rules::apply(&pod, &Options::default()).unwrap();
        assert_eq!(rules::verify(&pod, &Options::default()), Ok(Verified::Exact));
        assert!(matches!(
            rules::verify(&pod, &every_option()),
            Ok(Verified::Different(_))
        ));
    });
}

#[test]
fn a_rule_that_was_removed_added_or_moved_is_noticed() {
    as_root(|| {
        let options = Options::default();
        for damage in [
            "flush chain inet adit output_redirect",
            "add rule inet adit output_redirect tcp dport 5432 accept",
            "insert rule inet adit output_redirect tcp dport 5432 accept",
            "add chain inet adit other { type filter hook input priority 0 ; policy drop ; }",
            "delete table inet adit",
        ] {
            let pod = support::namespace();
            rules::apply(&pod, &options).unwrap();
            nft(&pod, damage);
            let found = rules::verify(&pod, &options).unwrap();
            assert!(
                matches!(found, Verified::Different(_) | Verified::Missing),
                "{damage}: {found:?}"
            );

            rules::apply(&pod, &options).unwrap();
            assert_eq!(rules::verify(&pod, &options), Ok(Verified::Exact), "{damage}");
        }
    });
}

#[test]
fn traffic_does_not_make_rules_differ() {
    as_root(|| {
        let pod = support::namespace();
        rules::apply(&pod, &Options::default()).unwrap();
        let application = support::listener(&pod, 80);
        let _stream = support::dial(&pod, "127.0.0.1:80").unwrap();
        support::accept(&application);
        assert_eq!(rules::verify(&pod, &Options::default()), Ok(Verified::Exact));
    });
}

#[test]
fn removing_leaves_nothing_and_may_be_repeated() {
    as_root(|| {
        let pod = support::namespace();
        rules::apply(&pod, &every_option()).unwrap();
        rules::remove(&pod).unwrap();
        rules::remove(&pod).unwrap();
        assert_eq!(nft(&pod, "list ruleset"), "");
    });
}

#[test]
fn rules_of_others_are_left_alone() {
    as_root(|| {
        let pod = support::namespace();
        nft(&pod, "add table inet plugin");
        rules::apply(&pod, &Options::default()).unwrap();
        rules::remove(&pod).unwrap();
        assert_eq!(nft(&pod, "list tables").trim(), "table inet plugin");
    });
}

#[test]
fn rules_of_istio_are_recognised() {
    as_root(|| {
        let pod = support::namespace();
        // As iptables writes them on a current system.
        nft(&pod, "add table ip nat");
        nft(&pod, "add chain ip nat ISTIO_OUTPUT");
        nft(&pod, "add table inet istio-ambient-mangle");
        assert_eq!(
            rules::verify(&pod, &Options::default()),
            Ok(Verified::Foreign(vec![
                "chain ISTIO_OUTPUT of table ip nat".to_owned(),
                "table inet istio-ambient-mangle".to_owned(),
            ]))
        );
    });
}
