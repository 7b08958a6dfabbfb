mod generate;

use std::net::{IpAddr, Ipv4Addr};

use adit_mesh::Interner;
use adit_mesh::policy::PolicyScope;
use adit_mesh::registry::{Rejection, ResourceName, Update};
use adit_mesh::workload::{NetworkAddress, WorkloadType};
use adit_proto::security::{self, Authorization};
use adit_proto::workload as sent;
use adit_proto::workload::{Address, address};
use proptest::prelude::*;
use prost::Message;

use super::*;

const UID: &str = "c1//Pod/bank/ledger-1";
const SERVICE: &str = "bank/ledger.bank.svc.cluster.local";
const POLICY: &str = "bank/ledger";
const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

fn workload() -> sent::Workload {
    sent::Workload {
        uid: UID.to_owned(),
        name: "ledger-1".to_owned(),
        namespace: "bank".to_owned(),
        addresses: vec![IP.octets().to_vec()],
        tunnel_protocol: sent::TunnelProtocol::Hbone.into(),
        ..sent::Workload::default()
    }
}

fn service() -> sent::Service {
    sent::Service {
        name: "ledger".to_owned(),
        namespace: "bank".to_owned(),
        hostname: "ledger.bank.svc.cluster.local".to_owned(),
        addresses: vec![network_address(&IP.octets(), None)],
        ..sent::Service::default()
    }
}

fn network_address(bytes: &[u8], length: Option<u32>) -> sent::NetworkAddress {
    sent::NetworkAddress {
        network: String::new(),
        address: bytes.to_vec(),
        length,
    }
}

fn policy() -> Authorization {
    Authorization {
        name: "ledger".to_owned(),
        namespace: "bank".to_owned(),
        scope: security::Scope::Namespace.into(),
        action: security::Action::Deny.into(),
        groups: vec![security::Group {
            rules: vec![security::Rules {
                matches: vec![security::Match {
                    destination_ports: vec![8080],
                    ..security::Match::default()
                }],
            }],
        }],
        dry_run: false,
    }
}

fn read_workload(workload: sent::Workload) -> Result<Update, Rejection> {
    let message = Address {
        r#type: Some(address::Type::Workload(workload)),
    };
    read_address(UID, &message.encode_to_vec(), &mut Interner::default())
}

fn read_service(service: sent::Service) -> Result<Update, Rejection> {
    let message = Address {
        r#type: Some(address::Type::Service(service)),
    };
    read_address(SERVICE, &message.encode_to_vec(), &mut Interner::default())
}

fn read_policy(bytes: &[u8]) -> Result<Update, Rejection> {
    read_authorization(POLICY, bytes, &mut Interner::default())
}

fn reason(read: Result<Update, Rejection>) -> String {
    read.expect_err("a rejection").reason.to_string()
}

#[test]
fn what_is_absent_has_the_protocols_defaults() {
    let Ok(Update::Workload(read)) = read_workload(workload()) else {
        panic!("a workload");
    };
    assert_eq!(
        read.identity.to_string(),
        "spiffe://cluster.local/ns/bank/sa/default"
    );
    assert_eq!((&*read.cluster, read.capacity), ("Kubernetes", 1));
    assert_eq!(read.workload_type, WorkloadType::Deployment);
    let Ok(Update::Service(read)) = read_service(service()) else {
        panic!("a service");
    };
    assert_eq!(read.addresses[..], [NetworkAddress::new("".into(), IP.into())]);
}

#[test]
fn a_workload_that_cannot_be_is_rejected_by_name_and_claims_its_addresses() {
    type Wrong = fn(&mut sent::Workload);
    let table: [(Wrong, &str); 12] = [
        (|it| it.uid = "other".into(), "it says that its name is \"other\""),
        (|it| it.uid.clear(), "uid: it is empty"),
        (|it| it.namespace.clear(), "namespace"),
        (
            |it| it.addresses.push(vec![1, 2, 3]),
            "addresses[1]: an address of 3 bytes, not of 4 or 16",
        ),
        (
            |it| it.tunnel_protocol = 9,
            "tunnel_protocol: 9 is no tunnel protocol that is known",
        ),
        (
            |it| it.network_mode = 7,
            "network_mode: 7 is no network mode that is known",
        ),
        (|it| it.status = -1, "status: -1 is no status that is known"),
        (|it| it.capacity = Some(0), "capacity: it is 0"),
        (
            |it| it.waypoint = Some(sent::GatewayAddress::default()),
            "waypoint: a gateway without a destination",
        ),
        (
            |it| it.authorization_policies.push("nameless".into()),
            "authorization_policies[0]: \"nameless\" is not <namespace>/<name> of a policy",
        ),
        (
            |it| drop(it.services.insert("ledger".into(), sent::PortList::default())),
            "services: \"ledger\" is not <namespace>/<hostname> of a service",
        ),
        (
            |it| {
                it.application_tunnel = Some(sent::ApplicationTunnel {
                    port: 65536,
                    ..Default::default()
                })
            },
            "application_tunnel.port: 65536 is no port",
        ),
    ];
    for (wrong, says) in table {
        let mut workload = workload();
        wrong(&mut workload);
        let rejection = read_workload(workload).expect_err(says);
        assert_eq!(rejection.name, ResourceName::Workload(UID.into()), "{says}");
        assert!(
            rejection.reason.contains(says),
            "{} is not {says}",
            rejection.reason
        );
        assert_eq!(
            rejection.addresses[..],
            [NetworkAddress::new("".into(), IP.into())],
            "{says}"
        );
    }
}

#[test]
fn a_kind_of_owner_that_is_not_known_yet_ends_nothing() {
    let newer = sent::Workload {
        workload_type: 77,
        ..workload()
    };
    let read = read_workload(newer).expect("a workload");
    assert!(matches!(read, Update::Workload(it) if it.workload_type == WorkloadType::Pod));
}

#[test]
fn a_service_that_cannot_be_is_rejected_by_name_and_claims_its_addresses() {
    type Wrong = fn(&mut sent::Service);
    let table: [(Wrong, &str); 8] = [
        (
            |it| it.hostname = "other".into(),
            "it says that its name is \"bank/other\"",
        ),
        (|it| it.namespace.clear(), "do not name a service"),
        (
            |it| it.visibility = 3,
            "visibility: 3 is no visibility that is known",
        ),
        (
            |it| it.ports.push(sent::Port::default()),
            "ports[0].service_port: it is 0",
        ),
        (
            |it| it.subject_alt_names.push("https://ledger".into()),
            "subject_alt_names[0]: \"https://ledger\"",
        ),
        (
            |it| it.weighted_waypoints.push(sent::WeightedWaypoint::default()),
            "weighted_waypoints[0].destination: there is none",
        ),
        (
            |it| {
                it.load_balancing = Some(sent::LoadBalancing {
                    routing_preference: vec![1, 9],
                    ..Default::default()
                })
            },
            "load_balancing.routing_preference[1]: 9 is no scope that is known",
        ),
        (
            |it| it.addresses.push(network_address(&[10, 0, 0, 0], Some(33))),
            "addresses[1]",
        ),
    ];
    for (wrong, says) in table {
        let mut service = service();
        wrong(&mut service);
        let rejection = read_service(service).expect_err(says);
        assert_eq!(rejection.name, address_name(SERVICE), "{says}");
        assert!(
            rejection.reason.contains(says),
            "{} is not {says}",
            rejection.reason
        );
        assert_eq!(
            rejection.addresses[..],
            [NetworkAddress::new("".into(), IP.into())],
            "{says}"
        );
    }
}

#[test]
fn addresses_mean_the_same_in_every_form() {
    let mapped = IP.to_ipv6_mapped().octets();
    let forms = [
        network_address(&IP.octets(), None),
        network_address(&mapped, None),
        network_address(&IP.octets(), Some(32)),
        network_address(&mapped, Some(128)),
    ];
    for address in forms {
        let service = sent::Service {
            addresses: vec![address],
            ..service()
        };
        let Ok(Update::Service(read)) = read_service(service) else {
            panic!("a service");
        };
        assert_eq!(read.addresses[..], [NetworkAddress::new("".into(), IP.into())]);
        assert!(read.ranges.is_empty());
    }
    let ranges = [
        network_address(&[10, 0, 0, 9], Some(24)),
        network_address(&mapped, Some(120)),
    ];
    for address in ranges {
        let service = sent::Service {
            addresses: vec![address],
            ..service()
        };
        let Ok(Update::Service(read)) = read_service(service) else {
            panic!("a service");
        };
        assert_eq!(read.ranges[0].range.to_string(), "10.0.0.0/24");
        assert!(read.addresses.is_empty());
    }
}

#[test]
fn a_policy_with_anything_that_is_not_known_is_rejected_in_its_scope() {
    // Field 15 with a varint, at the end of each message from the outermost to the innermost.
    const UNKNOWN: [u8; 2] = [15 << 3, 1];
    let mut messages = vec![vec![1 << 3 | 2, 1, b'x']];
    for tag in [1, 2, 1, 5] {
        let inner = messages.last().expect("the first");
        let mut outer = vec![tag << 3 | 2, inner.len() as u8];
        outer.extend(inner);
        messages.push(outer);
    }
    for (depth, known) in messages.iter().enumerate() {
        let mut message = [&known[..], &UNKNOWN].concat();
        for tag in [1, 2, 1, 5].into_iter().skip(depth) {
            let head = [tag << 3 | 2, message.len() as u8];
            message = [&head[..], &message].concat();
        }
        // Name, namespace, and the scope of a namespace.
        let head = b"\x0a\x06ledger\x12\x04bank\x18\x01";
        let bytes = [&head[..], &message].concat();
        Authorization::decode(&bytes[..]).expect("prost passes over what it does not know");
        let rejection = read_policy(&bytes).expect_err("a field that is not known");
        assert_eq!(rejection.scope, Some(PolicyScope::Namespace));
        assert!(rejection.reason.contains("(tag 15)"), "{}", rejection.reason);
    }
    assert!(read_policy(&policy().encode_to_vec()).is_ok());
}

#[test]
fn a_policy_that_cannot_be_obeyed_as_it_is_written_is_rejected() {
    type Wrong = fn(&mut Authorization);
    let table: [(Wrong, &str); 6] = [
        (
            |it| it.name = "other".into(),
            "it says that its name is \"bank/other\"",
        ),
        (|it| it.action = 5, "action: 5 is no action that is known"),
        (|it| it.scope = 5, "scope: 5 is no scope that is known"),
        (
            |it| condition(it).destination_ports.push(70_000),
            "groups[0].rules[0].matches[0].destination_ports[1]",
        ),
        (
            |it| condition(it).principals.push(security::StringMatch::default()),
            "groups[0].rules[0].matches[0].principals[0]: a condition without a kind",
        ),
        (
            |it| condition(it).source_ips.push(security::Address::default()),
            "groups[0].rules[0].matches[0].source_ips[0]: an address of 0 bytes, not of 4 or 16",
        ),
    ];
    fn condition(policy: &mut Authorization) -> &mut security::Match {
        &mut policy.groups[0].rules[0].matches[0]
    }
    for (wrong, says) in table {
        let mut policy = policy();
        wrong(&mut policy);
        let told = reason(read_policy(&policy.encode_to_vec()));
        assert!(told.contains(says), "{told} is not {says}");
    }
}

#[test]
fn nonsense_is_rejected_by_name() {
    let mut texts = Interner::default();
    let rejection = read_address(UID, b"\xff\xff", &mut texts).expect_err("nonsense");
    assert_eq!(rejection.name, ResourceName::Workload(UID.into()));
    let rejection = read_address(SERVICE, b"", &mut texts).expect_err("nothing");
    assert_eq!(rejection.name, address_name(SERVICE));
    let rejection = read_authorization(POLICY, b"\xff", &mut texts).expect_err("nonsense");
    assert_eq!(
        (rejection.scope, rejection.name),
        (None, ResourceName::Policy(policy_name(POLICY)))
    );
}

#[test]
fn names_tell_workloads_from_services() {
    for uid in [
        UID,
        "c1/networking.istio.io/WorkloadEntry/bank/vm",
        "net1/SplitHorizonWorkload/gw/bank/ledger.bank.svc.cluster.local",
        "nonsense",
        "/nonsense",
        "",
    ] {
        assert_eq!(address_name(uid), ResourceName::Workload(uid.into()));
    }
    assert!(matches!(address_name(SERVICE), ResourceName::Service(key) if key.to_string() == SERVICE));
}

proptest! {
    #[test]
    fn workloads_read_as_they_were_written(workload in generate::workload()) {
        let bytes = write_workload(&workload);
        let read = read_address(&workload.uid, &bytes, &mut Interner::default());
        prop_assert_eq!(read, Ok(Update::Workload(workload.into())));
    }

    #[test]
    fn services_read_as_they_were_written(service in generate::service()) {
        let bytes = write_service(&service);
        let read = read_address(&service.key.to_string(), &bytes, &mut Interner::default());
        prop_assert_eq!(read, Ok(Update::Service(service.into())));
    }

    #[test]
    fn policies_read_as_they_were_written(policy in generate::policy()) {
        let bytes = write_policy(&policy);
        let read = read_authorization(&policy.key.to_string(), &bytes, &mut Interner::default());
        prop_assert_eq!(read, Ok(Update::Policy(policy.into())));
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>(), name in "[a-z/]{0,12}") {
        let mut texts = Interner::default();
        let _ = read_address(&name, &bytes, &mut texts);
        let _ = read_authorization(&name, &bytes, &mut texts);
    }
}

/// What no generator below makes: an IPv6 address of a workload that is a mapped one.
#[test]
fn a_mapped_address_is_the_address_that_it_stands_for() {
    let mapped = sent::Workload {
        addresses: vec![IP.to_ipv6_mapped().octets().to_vec()],
        ..workload()
    };
    let read = read_workload(mapped).expect("a workload");
    assert!(matches!(read, Update::Workload(it) if it.addresses[..] == [IpAddr::from(IP)]));
}
