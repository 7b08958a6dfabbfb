use ipnet::IpNet;

use super::{rejected, uid};
use crate::fixtures::{at, ip, joins, key, mesh, pod, service, waypoint_at, waypoint_named};
use crate::registry::{Gateway, Owner, Registry, ResourceName, Update};
use crate::service::{NetworkRange, Service, Visibility};
use crate::workload::NetworkMode;

fn ranges(ranges: &[&str]) -> Box<[NetworkRange]> {
    let range = |range: &&str| NetworkRange {
        network: "".into(),
        range: range.parse::<IpNet>().expect("a range"),
    };
    ranges.iter().map(range).collect()
}

fn ranged(name: &str, of: &[&str]) -> Service {
    service(name, "10.1.0.1", |s| {
        s.addresses = Box::default();
        s.ranges = ranges(of);
    })
}

/// The owner of an address as a client of `namespace` sees it, in words.
fn owner(registry: &Registry, address: &str, namespace: &str) -> String {
    match registry.owner("", ip(address), namespace) {
        Owner::Service(service) => service.key.to_string(),
        Owner::Workload(workload) => workload.name.to_string(),
        Owner::RejectedService(stone) => format!("rejected {}", stone.name),
        Owner::RejectedWorkload(stone) => format!("rejected {}", stone.name),
        Owner::Hidden(service) => format!("hidden {}", service.key),
        Owner::Nobody => "nobody".into(),
    }
}

#[test]
fn the_longest_prefix_counts() {
    let registry = mesh([
        ranged("wide", &["10.0.0.0/8", "fd00::/16"]).into(),
        ranged("narrow", &["10.2.0.0/16"]).into(),
        ranged("narrower", &["10.2.3.0/24", "fd00:1::/32"]).into(),
        service("exact", "10.2.3.4", |_| {}).into(),
        pod("web", "10.2.3.5", |_| {}).into(),
    ]);
    for (address, expected) in [
        ("10.9.9.9", "bank/wide"),
        ("10.2.9.9", "bank/narrow"),
        ("10.2.3.9", "bank/narrower"),
        ("10.2.3.4", "bank/exact"),
        ("10.2.3.5", "web"),
        ("::ffff:10.2.3.5", "web"),
        ("fd00:2::1", "bank/wide"),
        ("fd00:1::1", "bank/narrower"),
        ("11.0.0.1", "nobody"),
        ("fd01::1", "nobody"),
    ] {
        assert_eq!(owner(&registry, address, "bank"), expected, "{address}");
    }
}

#[test]
fn a_range_follows_its_service_through_updates_of_endpoints_and_of_itself() {
    let mut registry = mesh([ranged("egress", &["10.2.0.0/16"]).into()]);
    for n in 0..10 {
        registry.apply([pod(&n.to_string(), "10.0.0.1", |w| joins(w, "egress")).into()]);
    }
    let Owner::Service(found) = registry.owner("", ip("10.2.0.1"), "bank") else {
        panic!("the range is lost");
    };
    assert_eq!(registry.endpoints(&found.key).count(), 10);

    registry.apply([ranged("egress", &["10.3.0.0/16"]).into()]);
    assert_eq!(owner(&registry, "10.2.0.1", "bank"), "nobody");
    assert_eq!(owner(&registry, "10.3.0.1", "bank"), "bank/egress");
    registry.apply([Update::Remove(ResourceName::Service(key("bank/egress")))]);
    assert_eq!(owner(&registry, "10.3.0.1", "bank"), "nobody");
}

#[test]
fn two_services_may_share_a_range() {
    let shop = |canonical| {
        let mut shop = ranged("egress", &["10.2.0.0/16"]);
        (shop.key, shop.canonical) = (key("shop/egress"), canonical);
        shop
    };
    let mut bank = ranged("egress", &["10.2.0.0/16"]);
    bank.canonical = false;
    let mut registry = mesh([bank.into(), shop(true).into()]);
    assert_eq!(owner(&registry, "10.2.0.1", "bank"), "bank/egress");
    assert_eq!(owner(&registry, "10.2.0.1", "other"), "shop/egress");
    registry.apply([Update::Remove(ResourceName::Service(key("shop/egress")))]);
    assert_eq!(owner(&registry, "10.2.0.1", "other"), "bank/egress");
}

#[test]
fn a_pod_owns_an_address_before_anything_else_that_claims_it() {
    let entry = pod("entry", "10.0.0.1", |w| {
        w.uid = "A/networking.istio.io/WorkloadEntry/bank/entry".into()
    });
    let (a, b) = (pod("a", "10.0.0.1", |_| {}), pod("b", "10.0.0.1", |_| {}));
    for order in [[&entry, &a, &b], [&b, &a, &entry], [&a, &entry, &b]] {
        let mut registry = mesh(order.map(|workload| Update::from(workload.clone())));
        assert_eq!(owner(&registry, "10.0.0.1", "bank"), "a");
        registry.apply([Update::Remove(uid("a"))]);
        assert_eq!(owner(&registry, "10.0.0.1", "bank"), "b");
        registry.apply([Update::Remove(uid("b"))]);
        assert_eq!(owner(&registry, "10.0.0.1", "bank"), "entry");
    }
}

#[test]
fn an_address_of_the_node_is_not_the_pods() {
    let on_host = pod("agent", "192.168.0.1", |w| {
        w.network_mode = NetworkMode::HostNetwork
    });
    assert_eq!(owner(&mesh([on_host.into()]), "192.168.0.1", "bank"), "nobody");
}

#[test]
fn a_network_is_part_of_an_address() {
    let registry = mesh([pod("far", "10.0.0.1", |w| w.network = "far".into()).into()]);
    assert_eq!(owner(&registry, "10.0.0.1", "bank"), "nobody");
    assert!(registry.workload_at("far", ip("10.0.0.1")).is_some());
}

#[test]
fn what_a_client_may_not_see_is_looked_past() {
    let private = |name: &str, namespace: &str| {
        service(name, "10.1.0.1", |s| {
            s.key.namespace = namespace.into();
            s.visibility = Visibility::Namespace;
        })
    };
    let mut registry = mesh([private("a", "shop").into()]);
    assert_eq!(owner(&registry, "10.1.0.1", "shop"), "shop/a");
    assert_eq!(owner(&registry, "10.1.0.1", "bank"), "hidden shop/a");
    assert!(registry.service_by_hostname("a", "bank").is_none());
    assert!(registry.service_at("", ip("10.1.0.1"), "bank").is_none());

    registry.apply([service("b", "10.1.0.2", |s| {
        s.addresses = Box::default();
        s.ranges = ranges(&["10.1.0.0/16"]);
    })
    .into()]);
    assert_eq!(
        owner(&registry, "10.1.0.1", "bank"),
        "bank/b",
        "a range around it"
    );
    registry.apply([pod("web", "10.1.0.1", |_| {}).into()]);
    assert_eq!(
        owner(&registry, "10.1.0.1", "bank"),
        "web",
        "a workload of that address"
    );
    registry.apply([service("c", "10.1.0.1", |s| s.key.namespace = "zoo".into()).into()]);
    assert_eq!(
        owner(&registry, "10.1.0.1", "bank"),
        "zoo/c",
        "another service of that address"
    );
    assert_eq!(owner(&registry, "10.1.0.1", "shop"), "shop/a");
}

#[test]
fn hidden_ranges_are_looked_past_to_wider_ones() {
    let mut private = ranged("private", &["10.1.1.0/24"]);
    private.key.namespace = "shop".into();
    private.visibility = Visibility::Namespace;
    let mut registry = mesh([private.into(), ranged("wide", &["10.1.0.0/16"]).into()]);
    assert_eq!(owner(&registry, "10.1.1.1", "bank"), "bank/wide");
    assert_eq!(owner(&registry, "10.1.1.1", "shop"), "shop/private");
    registry.apply([Update::Remove(ResourceName::Service(key("bank/wide")))]);
    assert_eq!(owner(&registry, "10.1.1.1", "bank"), "hidden shop/private");
}

#[test]
fn a_tombstone_stands_where_the_resource_would() {
    let registry = mesh([
        rejected(uid("broken"), "10.0.0.1"),
        rejected(ResourceName::Service(key("bank/broken")), "10.1.0.1"),
        pod("behind", "10.1.0.1", |_| {}).into(),
    ]);
    let stone = format!("rejected {}", pod("broken", "10.0.0.1", |_| {}).uid);
    assert_eq!(owner(&registry, "10.0.0.1", "bank"), stone);
    assert_eq!(owner(&registry, "10.1.0.1", "other"), "rejected bank/broken");
    assert!(registry.workload_at("", ip("10.0.0.1")).is_none());
}

#[test]
fn gateways_are_found_by_service_then_by_workload() {
    let registry = mesh([
        service("waypoint", "10.1.0.9", |_| {}).into(),
        pod("proxy", "10.0.0.9", |w| w.hostname = Some("proxy.example".into())).into(),
        pod("shadowed", "10.1.0.9", |w| w.hostname = Some("waypoint".into())).into(),
        rejected(ResourceName::Service(key("bank/broken")), "10.1.0.8"),
    ]);
    let find = |gateway: crate::workload::GatewayAddress| match registry.gateway(&gateway.destination) {
        Gateway::Service(service) => service.key.to_string(),
        Gateway::Workload(workload) => workload.name.to_string(),
        Gateway::Rejected(reason) => format!("rejected: {reason}"),
        Gateway::Unknown => "unknown".into(),
    };
    assert_eq!(find(waypoint_named("bank/waypoint")), "bank/waypoint");
    assert_eq!(find(waypoint_named("shop/waypoint")), "unknown");
    assert_eq!(find(waypoint_named("bank/proxy.example")), "proxy");
    assert_eq!(find(waypoint_at("10.1.0.9")), "bank/waypoint");
    assert_eq!(find(waypoint_at("10.0.0.9")), "proxy");
    assert_eq!(find(waypoint_at("10.0.0.8")), "unknown");
    assert_eq!(find(waypoint_named("bank/broken")), "rejected: a port of 70000");
    assert_eq!(find(waypoint_at("10.1.0.8")), "rejected: a port of 70000");
    assert_eq!(at("10.1.0.8").to_string(), "/10.1.0.8");
}
