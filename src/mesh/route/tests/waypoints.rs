use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::{outcome, refusal, route, route_with, told};
use crate::fixtures::{
    Known, at, identity, joins, key, mesh, pod, ports, service, waypoint_at, waypoint_named,
};
use crate::outcome::Outcome;
use crate::registry::{Registry, Rejection, ResourceName, Update};
use crate::route::{Route, Via};
use crate::service::{BalancingMode, Service};
use crate::workload::{GatewayAddress, Health, Workload};

fn web() -> Workload {
    pod("web", "10.0.0.1", |_| {})
}

/// `ledger` stands behind the waypoint service `guard` (10.1.0.9), of which `g1` and `g2` are the pods.
fn guarded(gateway: GatewayAddress, change: impl FnOnce(&mut Service)) -> Registry {
    mesh([
        service("ledger", "10.1.0.1", |s| {
            s.waypoint = Some(gateway.clone());
            change(s);
        })
        .into(),
        pod("a", "10.0.0.2", |w| {
            joins(w, "ledger");
            w.waypoint = Some(gateway.into());
        })
        .into(),
        service("guard", "10.1.0.9", |s| s.ports = ports(&[(15008, 15008)])).into(),
        guard("g1", "10.0.0.8"),
        guard("g2", "10.0.0.9"),
    ])
}

fn guard(name: &str, address: &str) -> Update {
    guard_pod(name, address, |_| {}).into()
}

fn guard_pod(name: &str, address: &str, change: impl FnOnce(&mut Workload)) -> Workload {
    pod(name, address, |w| {
        w.services = Box::new([(key("bank/guard"), ports(&[]))]);
        change(w);
    })
}

#[test]
fn a_service_is_reached_through_its_waypoint_by_name_or_address() {
    for gateway in [waypoint_named("bank/guard"), waypoint_at("10.1.0.9")] {
        let registry = guarded(gateway, |_| {});
        let Route::Hbone(tunnel) = route(&registry, &web(), "10.1.0.1:80") else {
            panic!("not tunnelled");
        };
        assert_eq!(tunnel.via, Via::Waypoint);
        assert_eq!(tunnel.authority.to_string(), "10.1.0.1:80");
        assert_eq!(tunnel.hop.address.port(), 15008);
        assert!(tunnel.hop.peer.name.starts_with('g'));
        assert_eq!(tunnel.hop.destination, None);
        assert_eq!(
            tunnel.hop.service.map(|service| service.key.clone()),
            Some(key("bank/ledger"))
        );
        assert_eq!(*tunnel.expected, *std::slice::from_ref(&tunnel.hop.peer.identity));
    }
}

#[test]
fn a_workload_is_reached_through_its_own_waypoint_only_by_its_own_address() {
    let registry = guarded(waypoint_named("bank/guard"), |s| s.waypoint = None);
    let through = route(&registry, &web(), "10.0.0.2:9000");
    assert!(told(&through).starts_with("via g"), "{through:?}");
    assert!(told(&through).ends_with("for 10.0.0.2:9000"), "{through:?}");
    let Route::Hbone(tunnel) = through else {
        panic!("not tunnelled");
    };
    assert_eq!(
        tunnel.hop.destination.map(|workload| workload.name.to_string()),
        Some("a".into())
    );
    // Traffic for the service never uses the waypoints of its endpoints.
    assert!(told(&route(&registry, &web(), "10.1.0.1:80")).starts_with("to a"));
}

#[test]
fn a_waypoint_itself_goes_past_itself() {
    let registry = guarded(waypoint_named("bank/guard"), |_| {});
    let own = guard_pod("g1", "10.0.0.8", |_| {});
    assert!(told(&route(&registry, &own, "10.1.0.1:80")).starts_with("to a"));
    assert!(told(&route(&registry, &own, "10.0.0.2:9000")).starts_with("to a"));
    // Its service account alone does not make a pod the waypoint.
    let impostor = pod("impostor", "10.0.0.7", |w| w.identity = identity("bank", "g1"));
    assert!(told(&route(&registry, &impostor, "10.1.0.1:80")).starts_with("via g"));
}

#[test]
fn a_waypoint_may_be_a_workload_by_address_or_hostname() {
    for gateway in [waypoint_at("10.0.0.8"), waypoint_named("bank/guard.example")] {
        let registry = mesh([
            service("ledger", "10.1.0.1", |s| s.waypoint = Some(gateway)).into(),
            pod("g1", "10.0.0.8", |w| w.hostname = Some("guard.example".into())).into(),
        ]);
        let found = route(&registry, &web(), "10.1.0.1:80");
        assert_eq!(told(&found), "via g1 10.0.0.8:15008 for 10.1.0.1:80");
        let own = pod("g1", "10.0.0.8", |_| {});
        assert_eq!(
            outcome(&registry, &own, "10.1.0.1:80"),
            Outcome::NoEndpoint,
            "past itself"
        );
    }
}

#[test]
fn the_waypoint_service_may_map_the_port() {
    let mut registry = guarded(waypoint_named("bank/guard"), |_| {});
    registry.apply([service("guard", "10.1.0.9", |s| s.ports = ports(&[(15008, 15009)])).into()]);
    let Route::Hbone(tunnel) = route(&registry, &web(), "10.1.0.1:80") else {
        panic!("not tunnelled");
    };
    assert_eq!(tunnel.hop.address.port(), 15009);

    registry.apply([service("guard", "10.1.0.9", |s| s.ports = ports(&[(80, 80)])).into()]);
    let Route::Hbone(tunnel) = route(&registry, &web(), "10.1.0.1:80") else {
        panic!("not tunnelled");
    };
    assert_eq!(
        tunnel.hop.address.port(),
        15008,
        "as named, where the service does not list it"
    );
}

#[test]
fn the_waypoint_may_prove_its_services_identities() {
    let mut registry = guarded(waypoint_named("bank/guard"), |_| {});
    registry.apply([service("guard", "10.1.0.9", |s| {
        s.subject_alt_names = Box::new([identity("bank", "guard")]);
    })
    .into()]);
    let Route::Hbone(tunnel) = route(&registry, &web(), "10.1.0.1:80") else {
        panic!("not tunnelled");
    };
    assert_eq!(
        *tunnel.expected,
        [tunnel.hop.peer.identity.clone(), identity("bank", "guard")]
    );
}

#[test]
fn a_waypoint_that_cannot_be_reached_is_never_gone_around() {
    let none = guarded(waypoint_named("bank/nobody"), |_| {});
    let rejected = ResourceName::Service(key("bank/nobody"));
    let mut broken = none.clone();
    broken.apply([Update::Reject(Rejection::new(rejected, "no ports".into()))]);
    let mut empty = none.clone();
    empty.apply([service("nobody", "10.1.0.10", |_| {}).into()]);
    let mut ill = none.clone();
    ill.apply([
        service("nobody", "10.1.0.10", |_| {}).into(),
        pod("n", "10.0.0.5", |w| {
            joins(w, "nobody");
            w.health = Health::Unhealthy;
        })
        .into(),
    ]);
    let ill_workload = mesh([
        service("ledger", "10.1.0.1", |s| {
            s.waypoint = Some(waypoint_at("10.0.0.5"))
        })
        .into(),
        pod("n", "10.0.0.5", |w| w.health = Health::Unhealthy).into(),
    ]);
    for (name, registry) in [
        ("unknown", none),
        ("rejected", broken),
        ("without endpoints", empty),
        ("without healthy endpoints", ill),
        ("an unhealthy workload", ill_workload),
    ] {
        let refused = refusal(route(&registry, &web(), "10.1.0.1:80"));
        assert_eq!(refused.outcome, Outcome::NoWaypoint, "{name}: {refused}");
        assert_eq!(
            refused.service.map(|service| service.key.clone()),
            Some(key("bank/ledger")),
            "{name}"
        );
    }
}

#[test]
fn a_waypoint_of_another_network_is_out_of_reach() {
    let mut registry = guarded(waypoint_named("bank/guard"), |_| {});
    let far =
        |name: &str, address: &str| Update::from(guard_pod(name, address, |w| w.network = "far".into()));
    registry.apply([far("g1", "10.0.0.8")]);
    for seed in 0..20 {
        let found = route_with(&registry, &web(), "10.1.0.1:80", &Known::default(), &[], seed);
        assert!(told(&found).starts_with("via g2"), "{found:?}");
    }
    registry.apply([far("g2", "10.0.0.9")]);
    assert_eq!(
        outcome(&registry, &web(), "10.1.0.1:80"),
        Outcome::NetworkUnreachable
    );
}

#[test]
fn a_waypoint_that_failed_is_followed_by_its_other_pods_and_then_by_a_refusal() {
    let registry = guarded(waypoint_named("bank/guard"), |_| {});
    let uid = |name: &str| guard_pod(name, "10.0.0.8", |_| {}).uid;
    let go = |tried: &[_]| route_with(&registry, &web(), "10.1.0.1:80", &Known::default(), tried, 1);
    assert!(told(&go(&[uid("g1")])).starts_with("via g2"));
    assert!(told(&go(&[uid("g2")])).starts_with("via g1"));
    assert_eq!(refusal(go(&[uid("g1"), uid("g2")])).outcome, Outcome::NoWaypoint);
}

/// Two waypoints, workloads by address, with these shares; the fallback is `g3`.
fn weighted(first: u32, second: u32) -> Registry {
    mesh([
        service("ledger", "10.1.0.1", |s| {
            s.weighted_waypoints = Box::new([
                (waypoint_at("10.0.0.7"), first),
                (waypoint_at("10.0.0.8"), second),
            ]);
            s.waypoint = Some(waypoint_at("10.0.0.9"));
        })
        .into(),
        pod("a", "10.0.0.2", |w| joins(w, "ledger")).into(),
        pod("g1", "10.0.0.7", |_| {}).into(),
        pod("g2", "10.0.0.8", |_| {}).into(),
        pod("g3", "10.0.0.9", |_| {}).into(),
    ])
}

#[test]
fn weighted_waypoints_get_their_shares() {
    let count = |registry: &Registry| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..1000 {
            match route_with(registry, &web(), "10.1.0.1:80", &Known::default(), &[], seed) {
                Route::Hbone(tunnel) => *counts.entry(tunnel.hop.peer.name.to_string()).or_default() += 1,
                other => panic!("{other:?}"),
            }
        }
        counts
    };
    let counts = count(&weighted(90, 10));
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!((60..140).contains(&counts["g2"]), "{counts:?}");
    assert_eq!(count(&weighted(0, 1)), BTreeMap::from([("g2".into(), 1000)]));
    assert_eq!(
        count(&weighted(0, 0)),
        BTreeMap::from([("g3".into(), 1000)]),
        "no shares: the single one"
    );
}

#[test]
fn none_of_several_waypoints_goes_through_another() {
    let registry = weighted(90, 10);
    for (name, address) in [("g1", "10.0.0.7"), ("g2", "10.0.0.8"), ("g3", "10.0.0.9")] {
        let own = pod(name, address, |_| {});
        for seed in 0..20 {
            let found = route_with(&registry, &own, "10.1.0.1:80", &Known::default(), &[], seed);
            assert!(told(&found).starts_with("to a"), "{name}: {found:?}");
        }
    }
}

#[test]
fn a_passthrough_service_with_a_waypoint_goes_through_it() {
    let registry = guarded(waypoint_named("bank/guard"), |s| {
        s.balancing.mode = BalancingMode::Passthrough;
        s.addresses = Box::new([at("203.0.113.1")]);
    });
    let found = route(&registry, &web(), "203.0.113.1:443");
    assert!(told(&found).starts_with("via g"), "{found:?}");
    assert!(told(&found).ends_with("for 203.0.113.1:443"), "{found:?}");
}

#[test]
fn the_waypoint_decides_about_ports() {
    let registry = guarded(waypoint_named("bank/guard"), |_| {});
    assert!(told(&route(&registry, &web(), "10.1.0.1:4711")).starts_with("via g"));
}

#[test]
fn the_port_of_the_reference_counts() {
    let mut gateway = waypoint_at("10.0.0.8");
    gateway.hbone_port = NonZeroU16::new(15009).expect("not 0");
    let registry = mesh([
        pod("a", "10.0.0.2", |w| w.waypoint = Some(gateway.into())).into(),
        pod("g1", "10.0.0.8", |_| {}).into(),
    ]);
    assert_eq!(
        told(&route(&registry, &web(), "10.0.0.2:80")),
        "via g1 10.0.0.8:15009 for 10.0.0.2:80"
    );
}
