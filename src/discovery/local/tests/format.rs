//! What the format means, key by key.

use std::num::NonZeroU16;

use adit_mesh::Identity;
use adit_mesh::policy::{Action, Match, PolicyScope, ServiceAccount, StringMatch};
use adit_mesh::service::{Balancing, BalancingMode, HealthPolicy, IpFamilies, Scope, Visibility};
use adit_mesh::workload::{
    ApplicationProtocol, ApplicationTunnel, GatewayAddress, GatewayDestination, Health, Locality,
    NetworkAddress, NetworkMode, TunnelProtocol, WorkloadType,
};

use super::*;

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("not zero")
}

#[test]
fn reads_one_of_each() {
    let mesh = mesh(SMALL);
    assert_eq!(
        (mesh.counts, mesh.rejected, mesh.warnings),
        ([1, 1, 1], vec![], vec![])
    );
}

#[test]
fn reads_every_key_of_a_workload() {
    let workload = workload(
        r#"
workloads:
- uid: c//Pod/bank/ledger-0
  name: ledger-0
  namespace: bank
  serviceAccount: ledger
  trustDomain: bank.example
  workloadIps: ["10.0.1.5", "fd00::5", "::ffff:10.0.1.6"]
  hostname: ledger.example
  network: west
  networkGateway: {destination: west/192.0.2.1, hboneMtlsPort: 15009}
  protocol: LEGACY_ISTIO_MTLS
  nativeTunnel: true
  networkMode: HostNetwork
  waypoint: {destination: bank/waypoint.bank.svc.cluster.local}
  applicationTunnel: {protocol: PROXY, port: 15088}
  services: {"bank/ledger": {80: 8080, "443": 0}, bank/empty: null}
  authorizationPolicies: [bank/ledger, root/strict]
  status: Unhealthy
  capacity: 3
  node: one
  clusterId: c
  locality: {region: r, zone: z, subzone: s}
  canonicalName: ledger
  canonicalRevision: "2"
  workloadName: ledger
  workloadType: cronjob
"#,
    );
    let gateway = |destination, hbone_port| {
        Some(Box::new(GatewayAddress {
            destination,
            hbone_port: port(hbone_port),
        }))
    };
    let address = "192.0.2.1".parse().expect("an address");
    let expected = Workload {
        addresses: ["10.0.1.5", "fd00::5", "10.0.1.6"]
            .map(|ip| ip.parse().expect("an address"))
            .into(),
        hostname: Some("ledger.example".into()),
        network: "west".into(),
        network_gateway: gateway(
            GatewayDestination::Address(NetworkAddress::new("west".into(), address)),
            15009,
        ),
        protocol: TunnelProtocol::LegacyIstioMtls,
        native_tunnel: true,
        network_mode: NetworkMode::HostNetwork,
        waypoint: gateway(
            GatewayDestination::Hostname(service_key("bank", "waypoint.bank.svc.cluster.local")),
            15008,
        ),
        application_tunnel: Some(ApplicationTunnel {
            protocol: ApplicationProtocol::Proxy,
            port: Some(port(15088)),
        }),
        services: [
            (service_key("bank", "empty"), [].into_iter().collect()),
            (
                service_key("bank", "ledger"),
                [(port(80), Some(port(8080))), (port(443), None)]
                    .into_iter()
                    .collect(),
            ),
        ]
        .into(),
        authorization_policies: [policy_key("bank", "ledger"), policy_key("root", "strict")].into(),
        health: Health::Unhealthy,
        capacity: 3,
        node: "one".into(),
        cluster: "c".into(),
        locality: Locality {
            region: "r".into(),
            zone: "z".into(),
            subzone: "s".into(),
        },
        canonical_name: "ledger".into(),
        canonical_revision: "2".into(),
        workload_name: "ledger".into(),
        workload_type: WorkloadType::CronJob,
        ..Workload::new(
            "c//Pod/bank/ledger-0".into(),
            "ledger-0".into(),
            "bank.example".parse().expect("a trust domain"),
            "bank".into(),
            "ledger".into(),
        )
        .expect("well formed")
    };
    assert_eq!(workload, expected);
}

#[test]
fn what_a_workload_leaves_out_is_as_in_istio() {
    let workload = workload("workloads: [{namespace: bank, name: p, workloadIps: [10.0.0.1]}]");
    assert_eq!(workload.uid, "Kubernetes//Pod/bank/p");
    assert_eq!(
        workload.identity.to_string(),
        "spiffe://cluster.local/ns/bank/sa/default"
    );
    assert_eq!(workload.cluster, "Kubernetes");
    assert_eq!((workload.capacity, workload.protocol), (1, TunnelProtocol::Tcp));
    assert_eq!((workload.health, workload.waypoint), (Health::Healthy, None));
}

#[test]
fn reads_every_key_of_a_service() {
    let service = service(
        r#"
services:
- name: ledger
  namespace: bank
  hostname: ledger.example
  vips: [/10.96.0.10, "west/fd00::10"]
  cidrVips: [{cidr: 240.240.1.1/16}, {cidr: 192.0.2.9/32, network: west}]
  ports: {80: 8080, 443: 0}
  endpoints: {}
  subjectAltNames: [spiffe://cluster.local/ns/bank/sa/ledger]
  waypoint: {destination: /10.96.0.11, hboneMtlsPort: 15008}
  weightedWaypoints:
  - {destination: {destination: bank/canary}, weight: 0}
  loadBalancer: {mode: Failover, routingPreferences: [Network, Region], healthPolicy: AllowAll}
  ipFamilies: IPv6
  canonical: true
  visibility: Namespace
"#,
    );
    let address =
        |network: &str, ip: &str| NetworkAddress::new(network.into(), ip.parse().expect("an address"));
    let waypoint = |destination| GatewayAddress {
        destination,
        hbone_port: port(15008),
    };
    let san: Identity = "spiffe://cluster.local/ns/bank/sa/ledger"
        .parse()
        .expect("well formed");
    let expected = Service {
        addresses: [
            address("", "10.96.0.10"),
            address("west", "fd00::10"),
            address("west", "192.0.2.9"),
        ]
        .into(),
        ranges: [adit_mesh::service::NetworkRange {
            network: "".into(),
            range: "240.240.0.0/16".parse().expect("a range"),
        }]
        .into(),
        ports: [(port(80), Some(port(8080))), (port(443), None)]
            .into_iter()
            .collect(),
        subject_alt_names: [san].into(),
        waypoint: Some(waypoint(GatewayDestination::Address(address("", "10.96.0.11")))),
        weighted_waypoints: [(
            waypoint(GatewayDestination::Hostname(service_key("bank", "canary"))),
            0,
        )]
        .into(),
        balancing: Balancing {
            mode: BalancingMode::Failover,
            preferences: [Scope::Network, Scope::Region].into(),
            health_policy: HealthPolicy::AllowAll,
        },
        ip_families: IpFamilies::V6Only,
        canonical: true,
        visibility: Visibility::Namespace,
        ..Service::new(service_key("bank", "ledger.example"), "ledger".into())
    };
    assert_eq!(service, expected);
}

#[test]
fn reads_every_key_of_a_policy() {
    let policy = policy(
        r#"
policies:
- name: ledger
  namespace: bank
  scope: WorkloadSelector
  action: Deny
  dryRun: true
  rules:
  - []
  - - - namespaces: [{Exact: a}]
        notNamespaces: [{Prefix: b}]
        serviceAccounts: [{namespace: a, serviceAccount: x}]
        notServiceAccounts: [{namespace: a, serviceAccount: y}]
        principals: [{Suffix: c}]
        notPrincipals: [{Presence: []}]
        sourceIps: [10.0.0.0/8]
        notSourceIps: [10.1.2.3/16]
        destinationIps: ["fd00::/8"]
        notDestinationIps: [0.0.0.0/0]
        destinationPorts: [80, 443]
        notDestinationPorts: [9999]
      - {}
    - []
"#,
    );
    assert_eq!(
        (&policy.key, policy.scope),
        (&policy_key("bank", "ledger"), PolicyScope::WorkloadSelector)
    );
    assert_eq!((policy.action, policy.dry_run), (Action::Deny, true));
    let account = |name: &str| ServiceAccount {
        namespace: "a".into(),
        name: name.into(),
    };
    let range = |range: &str| range.parse().expect("a range");
    let expected = Match {
        namespaces: [StringMatch::Exact("a".into())].into(),
        not_namespaces: [StringMatch::Prefix("b".into())].into(),
        service_accounts: [account("x")].into(),
        not_service_accounts: [account("y")].into(),
        principals: [StringMatch::Suffix("c".into())].into(),
        not_principals: [StringMatch::Presence].into(),
        source_ips: [range("10.0.0.0/8")].into(),
        not_source_ips: [range("10.1.0.0/16")].into(),
        destination_ips: [range("fd00::/8")].into(),
        not_destination_ips: [range("0.0.0.0/0")].into(),
        destination_ports: [80, 443].into(),
        not_destination_ports: [9999].into(),
    };
    let [all, some] = &*policy.groups else {
        panic!("{policy:?}")
    };
    assert!(all.clauses.is_empty());
    let [clause, empty] = &*some.clauses else {
        panic!("{policy:?}")
    };
    assert_eq!(*clause.matches, [expected, Match::default()]);
    assert!(empty.matches.is_empty());
}

#[test]
fn a_dump_of_stock_ztunnel_has_the_ports_of_endpoints_at_the_service() {
    let mesh = mesh(
        r#"{
  "workloads": [{"uid": "u", "name": "p", "namespace": "bank", "workloadIps": ["10.0.0.1"], "services": ["bank/ledger"]}],
  "services": [{"name": "ledger", "namespace": "bank", "hostname": "ledger", "vips": [], "ports": {"80": 8080},
    "endpoints": {"u": {"workloadUid": "u", "port": {"80": 9090}, "status": "Healthy"}}}],
  "policies": [], "certificates": [], "workloadState": {}
}"#,
    );
    let Some(Update::Workload(workload)) = mesh.resources.get(&uid("u")) else {
        panic!("{mesh:?}")
    };
    let ports = [(port(80), Some(port(9090)))].into_iter().collect();
    assert_eq!(*workload.services, [(service_key("bank", "ledger"), ports)]);
}
