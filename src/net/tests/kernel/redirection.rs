//! The rules, tried on connections.

use std::net::SocketAddr;

use adit_net::constants::{PROBE_ADDRESS_V4, PROBE_ADDRESS_V6};
use adit_net::rules::{self, InterfaceName, Options};
use adit_net::socket::original_destination;
use adit_net::{Source, link, policy_routing};

use crate::support::{self, Pair, as_root};

fn redirected() -> Pair {
    let pair = Pair::new();
    rules::apply(&pair.pod, &Options::default()).unwrap();
    policy_routing::apply(&pair.pod, true).unwrap();
    pair
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn what_the_pod_opens_comes_to_the_outbound_port_and_its_destination_is_known() {
    as_root(|| {
        let pair = redirected();
        let tunnel = support::listener(&pair.pod, 15001);
        for destination in ["10.9.8.7:1234", "[fd99::7]:1234"] {
            let mut client = support::dial(&pair.pod, destination).unwrap();
            let (mut accepted, _) = support::accept(&tunnel);
            assert_eq!(original_destination(&accepted).unwrap(), address(destination));
            support::assert_talk(&mut client, &mut accepted);
        }
    });
}

#[test]
fn plaintext_to_the_pod_comes_to_the_inbound_port() {
    as_root(|| {
        let pair = redirected();
        let tunnel = support::listener(&pair.pod, 15006);
        for (destination, client) in ["10.0.0.1:80", "[fd00::1]:80"].into_iter().zip(Pair::OUTSIDE) {
            let mut stream = support::dial(&pair.outside, destination).unwrap();
            let (mut accepted, peer) = support::accept(&tunnel);
            assert_eq!(original_destination(&accepted).unwrap(), address(destination));
            assert_eq!(peer.to_string(), client);
            support::assert_talk(&mut stream, &mut accepted);
        }
    });
}

#[test]
fn hbone_to_the_pod_is_left_alone() {
    as_root(|| {
        let pair = redirected();
        let hbone = support::listener(&pair.pod, 15008);
        for destination in ["10.0.0.1:15008", "[fd00::1]:15008"] {
            let mut stream = support::dial(&pair.outside, destination).unwrap();
            let (mut accepted, _) = support::accept(&hbone);
            assert_eq!(original_destination(&accepted).unwrap(), address(destination));
            support::assert_talk(&mut stream, &mut accepted);
        }
    });
}

#[test]
fn the_tunnels_own_connections_leave_the_pod() {
    as_root(|| {
        let pair = redirected();
        let server = support::listener(&pair.outside, 80);
        for destination in ["10.0.0.2:80", "[fd00::2]:80"] {
            let mut stream = support::dial_marked(&pair.pod, Source::Any, destination);
            let (mut accepted, _) = support::accept(&server);
            support::assert_talk(&mut stream, &mut accepted);
        }
    });
}

#[test]
fn probes_of_the_kubelet_reach_the_application() {
    as_root(|| {
        let pair = redirected();
        let application = support::listener(&pair.pod, 8080);
        for (probe, length, destination) in [
            (PROBE_ADDRESS_V4.to_string(), 32, "10.0.0.1:8080"),
            (PROBE_ADDRESS_V6.to_string(), 128, "[fd00::1]:8080"),
        ] {
            let held = format!("{probe}/{length}").parse().unwrap();
            link::add_address(&pair.outside, "eth0", held).unwrap();
            let source = Source::Bind(probe.parse().unwrap());
            let mut stream = support::dial_marked(&pair.outside, source, destination);
            let (mut accepted, peer) = support::accept(&application);
            assert_eq!(peer.to_string(), probe);
            support::assert_talk(&mut stream, &mut accepted);
        }
    });
}

#[test]
fn a_pod_reaches_itself_without_the_tunnel() {
    as_root(|| {
        let pair = redirected();
        let application = support::listener(&pair.pod, 8080);
        for destination in ["127.0.0.1:8080", "10.0.0.1:8080", "[::1]:8080", "[fd00::1]:8080"] {
            let mut stream = support::dial(&pair.pod, destination).unwrap();
            let (mut accepted, _) = support::accept(&application);
            support::assert_talk(&mut stream, &mut accepted);
        }
    });
}

#[test]
fn the_application_sees_the_clients_address_and_its_replies_come_back_to_the_tunnel() {
    as_root(|| {
        let pair = redirected();
        let application = support::listener(&pair.pod, 8080);
        // Both a client that exists on the link, whom replies could reach, and one that is nowhere.
        for (client, destination) in [
            ("10.0.0.2", "10.0.0.1:8080"),
            ("192.0.2.55", "10.0.0.1:8080"),
            ("fd00::2", "[fd00::1]:8080"),
            ("2001:db8::55", "[fd00::1]:8080"),
        ] {
            let source = Source::Transparent(client.parse().unwrap());
            let mut stream = support::dial_marked(&pair.pod, source, destination);
            let (mut accepted, peer) = support::accept(&application);
            assert_eq!(peer.to_string(), client);
            support::assert_talk(&mut stream, &mut accepted);
        }
    });
}

#[test]
fn a_connection_that_is_open_survives_the_rules() {
    as_root(|| {
        let pair = Pair::new();
        let outside = support::listener(&pair.outside, 80);
        let inside = support::listener(&pair.pod, 80);
        let mut open = Vec::new();
        for (from, destination, server) in [
            (&pair.pod, "10.0.0.2:80", &outside),
            (&pair.pod, "[fd00::2]:80", &outside),
            (&pair.outside, "10.0.0.1:80", &inside),
            (&pair.outside, "[fd00::1]:80", &inside),
        ] {
            let client = support::dial(from, destination).unwrap();
            open.push((client, support::accept(server).0));
        }

        rules::apply(&pair.pod, &Options::default()).unwrap();
        policy_routing::apply(&pair.pod, true).unwrap();

        for (client, server) in &mut open {
            support::assert_talk(client, server);
            support::assert_talk(server, client);
        }
        // And new ones are redirected: nobody listens on the tunnel's port.
        assert!(support::dial(&pair.pod, "10.0.0.2:80").is_err());
    });
}

#[test]
fn an_ingress_gateway_is_reached_directly() {
    as_root(|| {
        let pair = Pair::new();
        let options = Options {
            ingress: true,
            ..Options::default()
        };
        rules::apply(&pair.pod, &options).unwrap();
        let application = support::listener(&pair.pod, 443);
        let mut stream = support::dial(&pair.outside, "10.0.0.1:443").unwrap();
        let (mut accepted, _) = support::accept(&application);
        support::assert_talk(&mut stream, &mut accepted);
    });
}

#[test]
fn what_comes_from_a_virtual_machine_in_the_pod_goes_out_through_the_tunnel() {
    as_root(|| {
        let pair = Pair::new();
        let options = Options {
            virtual_interfaces: [InterfaceName::new("eth0").unwrap()].into(),
            ..Options::default()
        };
        rules::apply(&pair.pod, &options).unwrap();
        let tunnel = support::listener(&pair.pod, 15001);
        for destination in ["192.0.2.7:1234", "[2001:db8::7]:1234"] {
            let _stream = support::dial(&pair.outside, destination).unwrap();
            let (accepted, _) = support::accept(&tunnel);
            assert_eq!(original_destination(&accepted).unwrap(), address(destination));
        }
    });
}

#[test]
fn a_pod_without_ipv6_is_redirected_all_the_same() {
    as_root(|| {
        let pair = Pair::new();
        link::set(&pair.pod, "ipv6/conf/all/disable_ipv6", "1").unwrap();
        let ipv6 = adit_net::socket::ipv6_available(Some(&pair.pod)).unwrap();
        assert!(!ipv6);
        let options = Options {
            ipv6,
            ..Options::default()
        };
        rules::apply(&pair.pod, &options).unwrap();
        policy_routing::apply(&pair.pod, ipv6).unwrap();
        let tunnel = support::listener(&pair.pod, 15001);
        let mut stream = support::dial(&pair.pod, "10.9.8.7:1234").unwrap();
        let (mut accepted, _) = support::accept(&tunnel);
        assert_eq!(original_destination(&accepted).unwrap(), address("10.9.8.7:1234"));
        support::assert_talk(&mut stream, &mut accepted);
    });
}
