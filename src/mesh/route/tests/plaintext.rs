//! When a connection goes out as it is, and when it must not.

use proptest::prelude::{any, prop_assert, proptest};

use super::{outcome, refusal, route, route_with, told};
use crate::fixtures::{Known, at, ip, joins, key, mesh, pod, service};
use crate::outcome::Outcome;
use crate::registry::{Rejection, ResourceName, Update};
use crate::route::{Route, Via};
use crate::service::{BalancingMode, Service, Visibility};
use crate::workload::{Health, TunnelProtocol, Workload};

fn web() -> Workload {
    pod("web", "10.0.0.1", |_| {})
}

#[test]
fn a_passthrough_service_is_dialled_where_it_was_called() {
    let registry = mesh([
        service("outside", "203.0.113.1", |s| {
            s.balancing.mode = BalancingMode::Passthrough;
            s.addresses = Box::new([at("203.0.113.1"), at("10.0.0.2"), at("10.0.0.3"), at("10.0.0.4")]);
        })
        .into(),
        pod("a", "10.0.0.2", |_| {}).into(),
        pod("plain", "10.0.0.3", |w| w.protocol = TunnelProtocol::Tcp).into(),
        tombstone("Kubernetes//Pod/bank/broken", "10.0.0.4"),
    ]);
    let told = |destination: &str| told(&route(&registry, &web(), destination));
    assert_eq!(told("203.0.113.1:7777"), "pass 203.0.113.1:7777 for bank/outside");
    // Never plaintext to one that is known to speak HBONE, whatever the service says.
    assert_eq!(told("10.0.0.2:7777"), "to a 10.0.0.2:15008 for 10.0.0.2:7777");
    assert_eq!(told("10.0.0.3:7777"), "plain plain 10.0.0.3:7777");
    assert_eq!(
        outcome(&registry, &web(), "10.0.0.4:7777"),
        Outcome::InvalidConfiguration
    );
}

fn tombstone(uid: &str, address: &str) -> Update {
    Update::Reject(Rejection {
        addresses: Box::new([at(address)]),
        ..Rejection::new(ResourceName::Workload(uid.into()), "port 70000".into())
    })
}

#[test]
fn a_tombstone_is_refused_by_name() {
    let registry = mesh([tombstone("Kubernetes//Pod/bank/broken", "10.0.0.7")]);
    let refused = refusal(route(&registry, &web(), "10.0.0.7:80"));
    assert_eq!(refused.outcome, Outcome::InvalidConfiguration);
    assert!(refused.detail.contains("Pod/bank/broken"), "{refused}");
    assert!(refused.detail.contains("port 70000"), "{refused}");

    let service = ResourceName::Service(key("bank/broken"));
    let registry = mesh([Update::Reject(Rejection {
        addresses: Box::new([at("10.1.0.7")]),
        ..Rejection::new(service, "port 70000".into())
    })]);
    assert_eq!(
        outcome(&registry, &web(), "10.1.0.7:80"),
        Outcome::InvalidConfiguration
    );
}

#[test]
fn an_address_of_hidden_services_only_is_refused() {
    let registry = mesh([service("secret", "10.1.0.1", |s| {
        s.key = key("vault/secret");
        s.visibility = Visibility::Namespace;
    })
    .into()]);
    assert_eq!(outcome(&registry, &web(), "10.1.0.1:80"), Outcome::NotVisible);
}

fn any_workload(name: &str, random: &mut fastrand::Rng) -> Workload {
    pod(name, &format!("10.0.0.{}", random.u8(2..6)), |w| {
        w.protocol = match random.u8(..4) {
            0 => TunnelProtocol::Tcp,
            1 => TunnelProtocol::LegacyIstioMtls,
            _ => TunnelProtocol::Hbone,
        };
        if random.bool() {
            joins(w, "ledger");
        }
        if random.u8(..4) == 0 {
            w.health = Health::Unhealthy;
        }
        if random.u8(..4) == 0 {
            w.waypoint = Some(crate::fixtures::waypoint_at(&format!("10.0.0.{}", random.u8(2..8))).into());
        }
    })
}

proptest! {
    /// Whatever the mesh looks like: an address of which a workload or a service is known is never passed through
    /// (but a passthrough service's that is nobody else's), nobody who speaks HBONE is dialled as it is, and who
    /// does not speak it is not sent a CONNECT, unless it is a waypoint.
    #[test]
    fn nothing_that_is_known_becomes_plaintext_by_mistake(seed in any::<u64>(), port in 1_u16..16000) {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut registry = mesh([]);
        for n in 0..random.usize(..6) {
            registry.apply([any_workload(&n.to_string(), random).into()]);
        }
        if random.bool() {
            registry.apply([service("ledger", &format!("10.0.0.{}", random.u8(2..8)), |s| {
                if random.u8(..3) == 0 {
                    s.balancing.mode = BalancingMode::Passthrough;
                }
            }).into()]);
        }
        for last in 2..8 {
            let address = format!("10.0.0.{last}");
            let owned = registry.workload_at("", ip(&address)).is_some();
            let service = registry.service_at("", ip(&address), "bank").cloned();
            let found = route_with(&registry, &web(), &format!("{address}:{port}"), &Known::default(), &[], seed);
            match found {
                Route::Passthrough { .. } => {
                    let passes = |s: &Service| s.balancing.mode == BalancingMode::Passthrough;
                    prop_assert!(!owned && service.as_deref().is_none_or(passes));
                }
                Route::Direct(hop) => prop_assert!(hop.peer.protocol == TunnelProtocol::Tcp),
                Route::Hbone(tunnel) => {
                    let speaks = tunnel.hop.peer.protocol == TunnelProtocol::Hbone;
                    prop_assert!(speaks || tunnel.via == Via::Waypoint);
                    prop_assert!(tunnel.expected.contains(&tunnel.hop.peer.identity));
                }
                Route::Refuse(refusal) => prop_assert!(owned || service.is_some(), "{}", refusal),
            }
        }
    }
}
