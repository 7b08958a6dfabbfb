use std::num::NonZeroU16;

use crate::fixtures::{at, ip, joins, key, mesh, pod, ports, service, socket, waypoint_at, waypoint_named};
use crate::outcome::Outcome;
use crate::registry::{Registry, Rejection, ResourceName, Update};
use crate::route::{Delivery, Refusal, accept, accept_plaintext, attribute};
use crate::service::Visibility;
use crate::workload::{ApplicationProtocol, ApplicationTunnel, NetworkAddress, Workload};

/// `ledger`'s only pod, at 10.0.0.2.
fn local() -> Workload {
    pod("a", "10.0.0.2", |w| joins(w, "ledger"))
}

fn bank() -> Registry {
    mesh([
        service("ledger", "10.1.0.1", |_| {}).into(),
        local().into(),
        pod("b", "10.0.0.3", |_| {}).into(),
    ])
}

fn ask(registry: &Registry, local: &Workload, authority: &str) -> Result<Delivery, Refusal> {
    let authority = authority.parse().expect("an authority");
    accept(registry, local, socket("10.0.0.2:15008"), &authority)
}

fn refused(registry: &Registry, local: &Workload, authority: &str) -> Outcome {
    ask(registry, local, authority).expect_err(authority).outcome
}

fn plain(address: &str) -> Delivery {
    Delivery {
        address: socket(address),
        proxy_header: false,
        destination: socket(address),
        authorized: socket(address),
        service: None,
        loopback: false,
    }
}

#[test]
fn a_pod_is_asked_for_itself() {
    let registry = bank();
    assert_eq!(
        ask(&registry, &local(), "10.0.0.2:8080"),
        Ok(plain("10.0.0.2:8080"))
    );
    let authority = "[::ffff:10.0.0.2]:8080".parse().expect("an authority");
    let mapped = accept(&registry, &local(), socket("[::ffff:10.0.0.2]:15008"), &authority);
    assert_eq!(mapped, Ok(plain("10.0.0.2:8080")));
}

#[test]
fn a_pod_is_no_relay_to_others() {
    let registry = bank();
    for other in [
        "10.0.0.3:80",
        "10.1.0.1:80",
        "8.8.8.8:53",
        "127.0.0.1:80",
        "[::1]:80",
        "0.0.0.0:80",
    ] {
        assert_eq!(
            refused(&registry, &local(), other),
            Outcome::WrongDestination,
            "{other}"
        );
    }
}

#[test]
fn the_tunnels_own_ports_are_refused() {
    let registry = bank();
    for port in [15001, 15006, 15008, 15080] {
        assert_eq!(
            refused(&registry, &local(), &format!("10.0.0.2:{port}")),
            Outcome::Loop
        );
        let plain = accept_plaintext(&registry, &local(), socket(&format!("10.0.0.2:{port}")));
        assert_eq!(plain.expect_err("own port").outcome, Outcome::Loop);
    }
    // Administration and metrics are not in the pod's namespace: a port like others.
    assert!(ask(&registry, &local(), "10.0.0.2:15021").is_ok());
}

#[test]
fn a_target_port_that_is_the_tunnels_own_is_refused_too() {
    let registry = mesh([service("ledger", "10.1.0.1", |s| s.ports = ports(&[(80, 15001)])).into()]);
    let local = pod("a", "10.0.0.2", |w| {
        w.services = Box::new([(key("bank/ledger"), ports(&[]))])
    });
    assert_eq!(refused(&registry, &local, "ledger:80"), Outcome::Loop);
}

#[test]
fn plaintext_is_delivered_where_it_was_addressed() {
    let ask = |address: &str| accept_plaintext(&bank(), &local(), socket(address)).expect("accepted");
    assert_eq!(ask("[::ffff:10.0.0.2]:9999"), plain("10.0.0.2:9999"));
    let for_ledger = ask("10.0.0.2:8080");
    assert_eq!(for_ledger.address, socket("10.0.0.2:8080"));
    assert_eq!(
        for_ledger.service.map(|service| service.key.clone()),
        Some(key("bank/ledger"))
    );
}

#[test]
fn a_hostname_is_resolved_to_the_pods_own_port() {
    let registry = bank();
    let delivery = ask(&registry, &local(), "ledger:80").expect("accepted");
    assert_eq!(delivery.address, socket("10.0.0.2:8080"));
    assert_eq!(delivery.authorized, socket("10.0.0.2:8080"));
    assert_eq!(delivery.destination, socket("10.1.0.1:80"));
    assert_eq!(
        delivery.service.map(|service| service.key.clone()),
        Some(key("bank/ledger"))
    );

    let named = pod("a", "10.0.0.2", |w| {
        w.services = Box::new([(key("bank/ledger"), ports(&[(80, 9090)]))])
    });
    let delivery = ask(&registry, &named, "LEDGER:80").expect("accepted");
    assert_eq!(
        delivery.address,
        socket("10.0.0.2:9090"),
        "the endpoint's own map comes first"
    );
}

#[test]
fn a_hostname_that_leads_nowhere_is_refused() {
    let mut registry = bank();
    registry.apply([
        service("cards", "10.1.0.2", |_| {}).into(),
        service("secret", "10.1.0.3", |s| {
            s.key = key("vault/secret");
            s.visibility = Visibility::Namespace;
        })
        .into(),
        Update::Reject(Rejection::new(
            ResourceName::Service(key("bank/broken")),
            "no".into(),
        )),
    ]);
    for (authority, expected) in [
        ("nobody:80", Outcome::NoEndpoint),
        ("secret:80", Outcome::NoEndpoint),
        ("ledger:81", Outcome::NoPort),
        ("broken:80", Outcome::InvalidConfiguration),
        // Known, but this pod is no endpoint of it.
        ("cards:80", Outcome::WrongDestination),
    ] {
        assert_eq!(refused(&registry, &local(), authority), expected, "{authority}");
    }
}

#[test]
fn a_hostname_means_the_pods_own_namespace_first() {
    let mut registry = bank();
    registry.apply([service("ledger", "10.1.0.8", |s| {
        s.key = key("shop/ledger");
        s.ports = ports(&[(80, 1111)]);
    })
    .into()]);
    let delivery = ask(&registry, &local(), "ledger:80").expect("accepted");
    assert_eq!(
        delivery.service.map(|service| service.key.clone()),
        Some(key("bank/ledger"))
    );
}

#[test]
fn a_waypoint_is_asked_for_what_stands_behind_it() {
    for gateway in [
        waypoint_at("10.0.0.2"),
        waypoint_named("bank/guard"),
        waypoint_at("10.1.0.9"),
    ] {
        let local = pod("g", "10.0.0.2", |w| joins(w, "guard"));
        let registry = mesh([
            service("guard", "10.1.0.9", |_| {}).into(),
            local.clone().into(),
            service("ledger", "10.1.0.1", |s| s.waypoint = Some(gateway.clone())).into(),
            pod("b", "10.0.0.3", |w| w.waypoint = Some(gateway.clone().into())).into(),
            service("cards", "10.1.0.2", |_| {}).into(),
            pod("c", "10.0.0.4", |_| {}).into(),
        ]);
        let delivery = ask(&registry, &local, "10.1.0.1:80").expect("a service behind it");
        assert_eq!(
            delivery.address,
            socket("10.0.0.2:80"),
            "the waypoint itself is dialled"
        );
        assert_eq!(delivery.destination, socket("10.1.0.1:80"));
        assert_eq!(
            delivery.service.map(|service| service.key.clone()),
            Some(key("bank/ledger"))
        );
        assert!(
            ask(&registry, &local, "10.0.0.3:80").is_ok(),
            "a workload behind it"
        );
        assert!(
            ask(&registry, &local, "ledger:80").is_ok(),
            "a service behind it, by name"
        );
        for other in ["10.1.0.2:80", "10.0.0.4:80", "8.8.8.8:53", "cards:80"] {
            assert_eq!(
                refused(&registry, &local, other),
                Outcome::WrongDestination,
                "{other}"
            );
        }
    }
}

fn sandwiched(protocol: ApplicationProtocol, port: Option<u16>) -> Workload {
    pod("g", "10.0.0.2", |w| {
        w.application_tunnel = Some(ApplicationTunnel {
            protocol,
            port: port.and_then(NonZeroU16::new),
        });
    })
}

#[test]
fn an_application_tunnel_takes_any_address_and_is_told_which() {
    let local = sandwiched(ApplicationProtocol::Proxy, Some(15088));
    let delivery = ask(&bank(), &local, "10.1.0.1:80").expect("accepted");
    assert_eq!(delivery.address, socket("10.0.0.2:15088"));
    assert_eq!(delivery.destination, socket("10.1.0.1:80"));
    assert_eq!(delivery.authorized, socket("10.0.0.2:15088"));
    assert!(delivery.proxy_header);
    assert_eq!(delivery.dial(true), socket("127.0.0.1:15088"));
    assert_eq!(delivery.dial(false), socket("10.0.0.2:15088"));
    // The port that was asked for is not the one that is dialled.
    assert!(ask(&bank(), &local, "10.1.0.1:15008").is_ok());
}

#[test]
fn an_application_tunnel_without_a_protocol_or_port() {
    let plain = ask(
        &bank(),
        &sandwiched(ApplicationProtocol::None, Some(9000)),
        "10.1.0.1:80",
    )
    .expect("ok");
    assert!(!plain.proxy_header);
    assert_eq!(
        (plain.address, plain.dial(true)),
        (socket("10.0.0.2:9000"), socket("10.0.0.2:9000"))
    );
    let same_port = ask(
        &bank(),
        &sandwiched(ApplicationProtocol::Proxy, None),
        "10.1.0.1:80",
    )
    .expect("ok");
    assert_eq!(same_port.address, socket("10.0.0.2:80"));
    let own = sandwiched(ApplicationProtocol::Proxy, None);
    assert_eq!(refused(&bank(), &own, "10.1.0.1:15008"), Outcome::Loop);
}

#[test]
fn a_proxy_header_tells_a_virtual_address_of_the_hostname() {
    let elsewhere = |address: &str| NetworkAddress::new("far".into(), ip(address));
    let local = sandwiched(ApplicationProtocol::Proxy, Some(15088));
    let told = |addresses: Vec<NetworkAddress>| {
        let registry = mesh([service("ledger", "10.1.0.1", |s| s.addresses = addresses.into()).into()]);
        ask(&registry, &local, "ledger:80").map(|delivery| delivery.destination)
    };
    assert_eq!(
        told(vec![elsewhere("10.9.0.1"), at("fd01::1"), at("10.1.0.1")]),
        Ok(socket("10.1.0.1:80"))
    );
    assert_eq!(told(vec![elsewhere("10.9.0.1")]), Ok(socket("10.9.0.1:80")));
    assert_eq!(told(vec![at("fd01::1")]), Ok(socket("[fd01::1]:80")));
    assert_eq!(
        told(vec![]).expect_err("nothing to tell").outcome,
        Outcome::NoAddress
    );
}

#[test]
fn traffic_counts_for_the_named_service_or_else_for_the_first_that_fits() {
    let registry = mesh([
        service("ledger", "10.1.0.1", |_| {}).into(),
        service("audit", "10.1.0.2", |s| s.ports = ports(&[(443, 8080)])).into(),
        service("other", "10.1.0.3", |_| {}).into(),
    ]);
    let local = pod("a", "10.0.0.2", |w| {
        w.services = Box::new([(key("bank/ledger"), ports(&[])), (key("bank/audit"), ports(&[]))]);
    });
    let counts = |port: u16, named: Option<&str>| {
        attribute(&registry, &local, port, named).map(|service| service.key.hostname.to_string())
    };
    assert_eq!(counts(8080, Some("ledger")).as_deref(), Some("ledger"));
    assert_eq!(
        counts(8080, Some("other")).as_deref(),
        Some("audit"),
        "not an endpoint of it"
    );
    assert_eq!(counts(8080, None).as_deref(), Some("audit"), "the first by name");
    assert_eq!(counts(9999, None), None);
}
