use std::sync::Arc;

use super::{outcome, refusal, route, route_with, told};
use crate::fixtures::{Known, at, identity, ip, joins, key, mesh, pod, ports, service, socket};
use crate::outcome::Outcome;
use crate::registry::Registry;
use crate::route::{Authority, Hop, Route, Tunnelled, Via};
use crate::service::{BalancingMode, IpFamilies, Scope, Service};
use crate::text::Text;
use crate::workload::{
    ApplicationProtocol, ApplicationTunnel, Health, NetworkMode, TunnelProtocol, Workload, WorkloadType,
};

fn web() -> Workload {
    pod("web", "10.0.0.1", |_| {})
}

/// `web` calls `ledger` (10.1.0.1:80 -> 8080), of which `a` and `b` are the endpoints.
fn bank() -> Registry {
    mesh([
        web().into(),
        service("ledger", "10.1.0.1", |_| {}).into(),
        pod("a", "10.0.0.2", |w| joins(w, "ledger")).into(),
        pod("b", "10.0.0.3", |w| joins(w, "ledger")).into(),
    ])
}

fn changed(change: impl FnOnce(&mut Workload)) -> Registry {
    mesh([
        service("ledger", "10.1.0.1", |_| {}).into(),
        pod("a", "10.0.0.2", |w| {
            joins(w, "ledger");
            change(w);
        })
        .into(),
    ])
}

#[test]
fn nobodys_address_is_passed_through() {
    assert_eq!(told(&route(&bank(), &web(), "8.8.8.8:53")), "pass 8.8.8.8:53");
    assert_eq!(
        told(&route(&bank(), &web(), "[::ffff:8.8.8.8]:53")),
        "pass 8.8.8.8:53"
    );
}

#[test]
fn a_workload_that_speaks_hbone_is_tunnelled_to() {
    let registry = bank();
    let peer = registry.workload_at("", ip("10.0.0.2")).expect("a").clone();
    let expected = Route::Hbone(Tunnelled {
        hop: Hop {
            address: socket("10.0.0.2:15008"),
            peer: Arc::clone(&peer),
            destination: Some(peer),
            target: socket("10.0.0.2:9000"),
            service: None,
        },
        authority: Authority::Address(socket("10.0.0.2:9000")),
        expected: Arc::new([identity("bank", "a")]),
        via: Via::Direct,
    });
    assert_eq!(route(&registry, &web(), "10.0.0.2:9000"), expected);
    assert_eq!(route(&registry, &web(), "[::ffff:10.0.0.2]:9000"), expected);
}

#[test]
fn a_workload_that_does_not_is_dialled_as_it_is() {
    let registry = changed(|w| w.protocol = TunnelProtocol::Tcp);
    assert_eq!(
        told(&route(&registry, &web(), "10.0.0.2:9000")),
        "plain a 10.0.0.2:9000"
    );
    assert_eq!(
        told(&route(&registry, &web(), "10.1.0.1:80")),
        "plain a 10.0.0.2:8080"
    );
}

#[test]
fn a_service_leads_to_an_endpoint_at_its_target_port() {
    let registry = bank();
    let mut told_routes: Vec<String> = (0..50)
        .map(|seed| {
            told(&route_with(
                &registry,
                &web(),
                "10.1.0.1:80",
                &Known::default(),
                &[],
                seed,
            ))
        })
        .collect();
    told_routes.sort();
    told_routes.dedup();
    assert_eq!(
        told_routes,
        [
            "to a 10.0.0.2:15008 for 10.0.0.2:8080",
            "to b 10.0.0.3:15008 for 10.0.0.3:8080"
        ]
    );
}

#[test]
fn a_service_accepts_its_own_identities_beside_the_endpoints() {
    let registry = mesh([
        service("ledger", "10.1.0.1", |s| {
            s.subject_alt_names = Box::new([identity("bank", "a"), identity("old", "ledger")]);
        })
        .into(),
        pod("a", "10.0.0.2", |w| joins(w, "ledger")).into(),
    ]);
    let Route::Hbone(tunnel) = route(&registry, &web(), "10.1.0.1:80") else {
        panic!("not tunnelled");
    };
    assert_eq!(
        *tunnel.expected,
        [identity("bank", "a"), identity("old", "ledger")]
    );
    assert_eq!(
        tunnel.hop.service.map(|service| service.key.clone()),
        Some(key("bank/ledger"))
    );
}

#[test]
fn a_failed_endpoint_is_followed_by_the_others_and_then_by_a_refusal() {
    let registry = bank();
    let (a, b) = (pod("a", "10.0.0.2", |_| {}).uid, pod("b", "10.0.0.2", |_| {}).uid);
    let go = |tried: &[Text]| route_with(&registry, &web(), "10.1.0.1:80", &Known::default(), tried, 1);
    assert!(told(&go(std::slice::from_ref(&a))).starts_with("to b"));
    assert!(told(&go(std::slice::from_ref(&b))).starts_with("to a"));
    let refused = refusal(go(&[a.clone(), b]));
    assert_eq!(refused.outcome, Outcome::NoEndpoint);
    assert_eq!(
        refused.service.map(|service| service.key.clone()),
        Some(key("bank/ledger"))
    );

    let direct = route_with(&registry, &web(), "10.0.0.2:80", &Known::default(), &[a], 1);
    assert_eq!(refusal(direct).outcome, Outcome::NoEndpoint);
}

#[test]
fn the_tunnels_own_ports_lead_back_only_at_home() {
    let registry = bank();
    for port in [15001, 15006, 15008, 15080] {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "10.0.0.1",
            "[::ffff:127.0.0.1]",
        ] {
            let destination = format!("{host}:{port}");
            assert_eq!(
                outcome(&registry, &web(), &destination),
                Outcome::Loop,
                "{destination}"
            );
        }
        // Elsewhere they are ports like others; the other side refuses them.
        let elsewhere = route(&registry, &web(), &format!("10.0.0.2:{port}"));
        assert_eq!(
            told(&elsewhere),
            format!("to a 10.0.0.2:15008 for 10.0.0.2:{port}")
        );
        assert_eq!(
            told(&route(&registry, &web(), &format!("9.9.9.9:{port}"))),
            format!("pass 9.9.9.9:{port}")
        );
    }
    assert_eq!(
        told(&route(&registry, &web(), "127.0.0.1:80")),
        "pass 127.0.0.1:80"
    );
    assert_eq!(
        told(&route(&registry, &web(), "10.0.0.1:80")),
        "to web 10.0.0.1:15008 for 10.0.0.1:80"
    );
}

#[test]
fn an_address_that_is_both_is_the_services() {
    let registry = mesh([
        service("ledger", "10.0.0.9", |_| {}).into(),
        pod("a", "10.0.0.2", |w| joins(w, "ledger")).into(),
        pod("other", "10.0.0.9", |_| {}).into(),
    ]);
    assert!(told(&route(&registry, &web(), "10.0.0.9:80")).starts_with("to a"));
}

#[test]
fn each_reason_not_to_reach_an_endpoint_has_its_own_outcome() {
    type Case = (&'static str, fn(&mut Workload), Outcome);
    let cases: [Case; 9] = [
        ("unhealthy", |w| w.health = Health::Unhealthy, Outcome::NoEndpoint),
        (
            "another network",
            |w| w.network = "far".into(),
            Outcome::NetworkUnreachable,
        ),
        ("no address", |w| w.addresses = Box::default(), Outcome::NoAddress),
        (
            "only a hostname",
            |w| {
                w.addresses = Box::default();
                w.hostname = Some("ledger.example".into());
            },
            Outcome::NoAddress,
        ),
        (
            "sidecar",
            |w| w.protocol = TunnelProtocol::LegacyIstioMtls,
            Outcome::UnsupportedProtocol,
        ),
        (
            "no such endpoint",
            |w| w.services = Box::default(),
            Outcome::NoEndpoint,
        ),
        (
            "a job's pod is as good as any",
            |w| w.workload_type = WorkloadType::Job,
            Outcome::Completed,
        ),
        (
            "host network",
            |w| w.network_mode = NetworkMode::HostNetwork,
            Outcome::Completed,
        ),
        (
            "own port map lacks it",
            |w| w.services = Box::new([(key("bank/ledger"), ports(&[]))]),
            Outcome::Completed,
        ),
    ];
    for (name, change, expected) in cases {
        let registry = changed(change);
        match route(&registry, &web(), "10.1.0.1:80") {
            Route::Refuse(refusal) => {
                assert_eq!(refusal.outcome, expected, "{name}: {refusal}");
                assert!(refusal.service.is_some(), "{name}");
                assert!(!refusal.detail.is_empty(), "{name}");
            }
            _ => assert_eq!(expected, Outcome::Completed, "{name}"),
        }
    }
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_looked_past_while_another_can() {
    for change in [
        (|w: &mut Workload| w.network = "far".into()) as fn(&mut Workload),
        |w| w.addresses = Box::default(),
        |w| w.protocol = TunnelProtocol::LegacyIstioMtls,
    ] {
        let mut registry = bank();
        registry.apply([pod("a", "10.0.0.2", |w| {
            joins(w, "ledger");
            change(w);
        })
        .into()]);
        for seed in 0..20 {
            let found = route_with(&registry, &web(), "10.1.0.1:80", &Known::default(), &[], seed);
            assert!(told(&found).starts_with("to b"), "{found:?}");
        }
    }
}

#[test]
fn workloads_that_are_called_by_their_address_are_refused_for_the_same_reasons() {
    let far = changed(|w| w.network = "far".into());
    assert_eq!(
        told(&route(&far, &web(), "10.0.0.2:80")),
        "pass 10.0.0.2:80",
        "another network's address"
    );
    let sidecar = changed(|w| w.protocol = TunnelProtocol::LegacyIstioMtls);
    assert_eq!(
        outcome(&sidecar, &web(), "10.0.0.2:80"),
        Outcome::UnsupportedProtocol
    );
    // Health is for choosing; who calls one pod means that pod.
    let ill = changed(|w| w.health = Health::Unhealthy);
    assert!(told(&route(&ill, &web(), "10.0.0.2:80")).starts_with("to a"));
}

#[test]
fn a_strict_service_without_an_endpoint_in_scope_is_refused() {
    let strict = |s: &mut Service| {
        s.balancing.mode = BalancingMode::Strict;
        s.balancing.preferences = Box::new([Scope::Node]);
    };
    let mut registry = changed(|w| w.node = "node-2".into());
    registry.apply([service("ledger", "10.1.0.1", strict).into()]);
    assert_eq!(outcome(&registry, &web(), "10.1.0.1:80"), Outcome::NoEndpoint);
    registry.apply([pod("b", "10.0.0.3", |w| joins(w, "ledger")).into()]);
    assert!(told(&route(&registry, &web(), "10.1.0.1:80")).starts_with("to b"));
}

#[test]
fn a_port_that_the_service_does_not_have_is_refused() {
    let refused = refusal(route(&bank(), &web(), "10.1.0.1:81"));
    assert_eq!(refused.outcome, Outcome::NoPort);
    assert!(refused.workload.is_some());
}

#[test]
fn target_ports_come_from_the_endpoint_then_from_the_service() {
    let registry = |service_ports: &'static [(u16, u16)], endpoint_ports: &'static [(u16, u16)]| {
        mesh([
            service("ledger", "10.1.0.1", |s| s.ports = ports(service_ports)).into(),
            pod("a", "10.0.0.2", |w| {
                w.services = Box::new([(key("bank/ledger"), ports(endpoint_ports))]);
            })
            .into(),
        ])
    };
    for (of_service, of_endpoint, expected) in [
        (&[(80, 8080)][..], &[][..], Some(8080)),
        (&[(80, 8080)], &[(80, 9090)], Some(9090)),
        // A target of 0 is a named port that only the endpoint can resolve.
        (&[(80, 0)], &[(80, 9090)], Some(9090)),
        (&[(80, 0)], &[], None),
        (&[(80, 0)], &[(80, 0)], None),
        (&[], &[(80, 9090)], Some(9090)),
        (&[(81, 8080)], &[(81, 9090)], None),
    ] {
        match route(&registry(of_service, of_endpoint), &web(), "10.1.0.1:80") {
            Route::Hbone(tunnel) => assert_eq!(Some(tunnel.hop.target.port()), expected),
            Route::Refuse(refusal) => {
                assert_eq!(expected, None, "{of_service:?} {of_endpoint:?}");
                assert_eq!(refusal.outcome, Outcome::NoPort);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_proxy_that_takes_everything_on_one_port_needs_no_map() {
    let registry = mesh([
        service("proxy", "10.1.0.1", |s| s.ports = ports(&[])).into(),
        pod("a", "10.0.0.2", |w| {
            w.services = Box::new([(key("bank/proxy"), ports(&[]))]);
            w.application_tunnel = Some(ApplicationTunnel {
                protocol: ApplicationProtocol::Proxy,
                port: std::num::NonZeroU16::new(15088),
            });
        })
        .into(),
    ]);
    assert_eq!(
        told(&route(&registry, &web(), "10.1.0.1:443")),
        "to a 10.0.0.2:15008 for 10.0.0.2:443"
    );
}

#[test]
fn the_address_of_the_called_family_is_dialled() {
    let registry = |families: IpFamilies| {
        mesh([
            service("ledger", "10.1.0.1", |s| {
                s.addresses = Box::new([at("10.1.0.1"), at("fd01::1")]);
                s.ip_families = families;
            })
            .into(),
            pod("a", "10.0.0.2", |w| {
                joins(w, "ledger");
                w.addresses = Box::new([ip("10.0.0.2"), ip("fd00::2")]);
            })
            .into(),
        ])
    };
    for (families, called, dialled) in [
        (IpFamilies::Automatic, "10.1.0.1:80", "10.0.0.2:8080"),
        (IpFamilies::Automatic, "[fd01::1]:80", "[fd00::2]:8080"),
        (IpFamilies::Dual, "[fd01::1]:80", "[fd00::2]:8080"),
        (IpFamilies::V4Only, "[fd01::1]:80", "10.0.0.2:8080"),
        (IpFamilies::V6Only, "10.1.0.1:80", "[fd00::2]:8080"),
    ] {
        let Route::Hbone(tunnel) = route(&registry(families), &web(), called) else {
            panic!("{families:?} {called}");
        };
        assert_eq!(tunnel.hop.target, socket(dialled), "{families:?} {called}");
        assert_eq!(tunnel.authority.to_string(), dialled);
    }
    let v6_only = mesh([
        service("ledger", "10.1.0.1", |s| s.ip_families = IpFamilies::V6Only).into(),
        pod("a", "10.0.0.2", |w| joins(w, "ledger")).into(),
    ]);
    assert_eq!(outcome(&v6_only, &web(), "10.1.0.1:80"), Outcome::NoAddress);
}
