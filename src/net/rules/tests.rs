use super::*;

fn options(ipv6: bool) -> Options {
    Options {
        ipv6,
        ..Options::default()
    }
}

#[test]
fn without_ipv6_no_rule_mentions_it() {
    let text = render::replacement(&options(false));
    assert!(!text.contains("ip6"), "{text}");
}

#[test]
fn every_redirection_of_tcp_is_of_the_first_packet_only() {
    let text = render::replacement(&Options {
        dns: true,
        virtual_interfaces: [InterfaceName::new("vm0").unwrap()].into(),
        ..Options::default()
    });
    let redirections: Vec<_> = text
        .lines()
        .filter(|line| line.contains("redirect") && !line.contains("udp") && !line.contains("chain"))
        .collect();
    assert_eq!(redirections.len(), 7, "{text}");
    for rule in redirections {
        assert!(
            rule.contains("tcp flags & (fin | syn | rst | ack) == syn"),
            "{rule}"
        );
    }
}

#[test]
fn an_ingress_gateway_keeps_its_inbound_connections() {
    let text = render::replacement(&Options {
        ingress: true,
        ..Options::default()
    });
    assert!(!text.contains("15006"), "{text}");
    assert!(text.contains("redirect to :15001"), "{text}");
}

#[test]
fn the_ports_are_those_of_the_options() {
    let text = render::replacement(&Options {
        dns: true,
        ports: Ports {
            outbound: 1,
            inbound_plaintext: 2,
            inbound_hbone: 3,
            dns: 4,
        },
        ..Options::default()
    });
    for part in [
        "redirect to :1\n",
        "redirect to :2\n",
        "tcp dport != 3 ",
        "redirect to :4\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("150"), "{text}");
}

#[test]
fn an_interface_name_cannot_carry_rules() {
    for name in ["", ".", "..", "a b", "a\"", "x;y", "sixteen-letters-", "ü"] {
        assert_eq!(
            InterfaceName::new(name),
            Err(InvalidInterfaceName(name.to_owned()))
        );
    }
    assert_eq!(InterfaceName::new("k6t-eth0.1").unwrap().as_str(), "k6t-eth0.1");
}

#[test]
fn chains_of_istio_are_recognised_in_a_listing() {
    let listing = "table ip nat {\n\tchain ISTIO_PRERT {\n\t}\n\n\tchain PREROUTING {\n\t\ttype nat hook prerouting \
                   priority dstnat; policy accept;\n\t\tcounter jump ISTIO_PRERT\n\t}\n}\ntable inet \
                   istio-ambient-nat {\n\tchain istio-output {\n\t}\n}\ntable inet adit {\n}\n";
    assert_eq!(
        foreign::in_ruleset(listing),
        [
            "chain ISTIO_PRERT of table ip nat",
            "table inet istio-ambient-nat"
        ]
    );
}

#[test]
fn chains_of_istio_are_recognised_in_legacy_iptables() {
    let listing = "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -j ISTIO_OUTPUT\nCOMMIT\n";
    assert_eq!(
        foreign::in_legacy("iptables-legacy-save", listing),
        ["chain ISTIO_OUTPUT in iptables-legacy-save"]
    );
}

#[test]
fn a_difference_names_both_lines() {
    assert_eq!(expected::difference("a\n\tb\n", "a\n\tb\n"), None);
    assert_eq!(
        expected::difference("a\n\tb\n", "a\n\tc\n").unwrap(),
        "found \"c\" in place of \"b\""
    );
    assert_eq!(expected::difference("a\nb\n", "a\n").unwrap(), "\"b\" is missing");
    assert_eq!(
        expected::difference("a\n", "a\nb\n").unwrap(),
        "\"b\" is too much"
    );
}
