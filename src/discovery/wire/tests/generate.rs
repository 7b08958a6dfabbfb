//! Whatever a mesh may hold.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use adit_mesh::policy::{self, Action, Clause, Group, Match, PolicyScope, ServiceAccount, StringMatch};
use adit_mesh::service::{
    Balancing, BalancingMode, HealthPolicy, IpFamilies, NetworkRange, PortMap, Scope, Visibility,
};
use adit_mesh::workload::{
    ApplicationProtocol, ApplicationTunnel, GatewayAddress, GatewayDestination, Health, Locality,
    NetworkAddress, NetworkMode, TunnelProtocol, WorkloadType,
};
use adit_mesh::{Identity, Policy, PolicyKey, Service, ServiceKey, Text, TrustDomain, Workload};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::numbers::Numbered;

/// Any of the values that have a number.
fn one<T: Numbered + std::fmt::Debug>() -> impl Strategy<Value = T> {
    select(T::ALL).prop_map(|(value, _)| value)
}

fn text() -> impl Strategy<Value = Text> {
    "[a-z]{0,6}".prop_map(Text::from)
}

fn word() -> impl Strategy<Value = Text> {
    "[a-z]{1,6}".prop_map(Text::from)
}

fn port() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_filter_map("not 0", NonZeroU16::new)
}

fn ip() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>().prop_map(|ip| ip.to_canonical())
}

fn range() -> impl Strategy<Value = IpNet> {
    (ip(), 0..=128_u32).prop_filter_map("a length that fits", |(ip, length)| {
        policy::range(ip, length).ok()
    })
}

fn key() -> impl Strategy<Value = ServiceKey> {
    (word(), word()).prop_map(|(namespace, hostname)| ServiceKey { namespace, hostname })
}

fn ports() -> impl Strategy<Value = PortMap> {
    vec((port(), option::of(port())), 0..4).prop_map(|pairs| pairs.into_iter().collect())
}

fn gateway() -> impl Strategy<Value = GatewayAddress> {
    let destination = prop_oneof![
        key().prop_map(GatewayDestination::Hostname),
        (text(), ip())
            .prop_map(|(network, ip)| GatewayDestination::Address(NetworkAddress::new(network, ip))),
    ];
    (destination, port()).prop_map(|(destination, hbone_port)| GatewayAddress {
        destination,
        hbone_port,
    })
}

fn identity() -> impl Strategy<Value = Identity> {
    let domain = prop_oneof![Just(Text::from(TrustDomain::DEFAULT)), word()];
    (domain, word(), prop_oneof![Just(Text::from("default")), word()]).prop_map(
        |(domain, namespace, account)| {
            let domain = TrustDomain::new(domain).expect("a word is a trust domain");
            Identity::new(domain, namespace, account).expect("words are an identity")
        },
    )
}

prop_compose! {
    fn place()(region in text(), zone in text(), subzone in text()) -> Locality {
        Locality { region, zone, subzone }
    }
}

prop_compose! {
    fn application_tunnel()(
        protocol in one::<ApplicationProtocol>(),
        port in option::of(port()),
    ) -> ApplicationTunnel {
        ApplicationTunnel { protocol, port }
    }
}

pub(super) fn workload() -> impl Strategy<Value = Workload> {
    let names = (
        word(),
        text(),
        text(),
        text(),
        text(),
        text(),
        option::of(word()),
        word(),
    );
    let kinds = (
        one::<TunnelProtocol>(),
        one::<NetworkMode>(),
        one::<Health>(),
        one::<WorkloadType>(),
        any::<bool>(),
        1..=u32::MAX,
    );
    let services = vec((key(), ports()), 0..4);
    let ways = (
        option::of(gateway()),
        option::of(gateway()),
        option::of(application_tunnel()),
        services,
    );
    let rest = (vec(ip(), 0..3), vec((word(), word()), 0..3), place(), identity());
    (names, kinds, ways, rest).prop_map(|(names, kinds, ways, rest)| {
        let (uid, name, network, node, canonical_name, workload_name, hostname, cluster) = names;
        let (protocol, network_mode, health, workload_type, native_tunnel, capacity) = kinds;
        let (waypoint, network_gateway, application_tunnel, services) = ways;
        let (addresses, policies, locality, identity) = rest;
        // In the order of their names, and each once, as a map has them.
        let services: BTreeMap<_, _> = services
            .into_iter()
            .map(|(key, ports)| (key.to_string(), (key, ports)))
            .collect();
        let policies = policies.into_iter();
        Workload {
            uid,
            canonical_revision: name.clone(),
            name,
            identity,
            addresses: addresses.into(),
            hostname,
            network,
            network_gateway: network_gateway.map(Box::new),
            protocol,
            native_tunnel,
            network_mode,
            waypoint: waypoint.map(Box::new),
            application_tunnel,
            services: services.into_values().collect(),
            authorization_policies: policies
                .map(|(namespace, name)| PolicyKey { namespace, name })
                .collect(),
            health,
            capacity,
            node,
            cluster,
            locality,
            canonical_name,
            workload_name,
            workload_type,
        }
    })
}

pub(super) fn service() -> impl Strategy<Value = Service> {
    let addresses = vec(
        (text(), ip()).prop_map(|(network, ip)| NetworkAddress::new(network, ip)),
        0..3,
    );
    let ranges = (text(), range()).prop_filter_map("more than one address", |(network, range)| {
        (range.prefix_len() < range.max_prefix_len()).then_some(NetworkRange { network, range })
    });
    let balancing = (
        one::<BalancingMode>(),
        subsequence(Scope::ALL, 0..=Scope::ALL.len()),
        one::<HealthPolicy>(),
    );
    let kinds = (one::<IpFamilies>(), one::<Visibility>(), any::<bool>(), balancing);
    let ways = (option::of(gateway()), vec((gateway(), any::<u32>()), 0..3));
    let rest = (ports(), vec(identity(), 0..3));
    (key(), word(), (addresses, vec(ranges, 0..3)), kinds, ways, rest).prop_map(
        |(key, name, (addresses, ranges), kinds, ways, rest)| {
            let (ip_families, visibility, canonical, (mode, preferences, health_policy)) = kinds;
            Service {
                addresses: addresses.into(),
                ranges: ranges.into(),
                ports: rest.0,
                subject_alt_names: rest.1.into(),
                waypoint: ways.0,
                weighted_waypoints: ways.1.into(),
                balancing: Balancing {
                    mode,
                    preferences: preferences.into_iter().map(|(scope, _)| scope).collect(),
                    health_policy,
                },
                ip_families,
                canonical,
                visibility,
                ..Service::new(key, name)
            }
        },
    )
}

fn string() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        word().prop_map(StringMatch::Exact),
        word().prop_map(StringMatch::Prefix),
        word().prop_map(StringMatch::Suffix),
        Just(StringMatch::Presence),
    ]
}

fn account() -> impl Strategy<Value = ServiceAccount> {
    (word(), word()).prop_map(|(namespace, name)| ServiceAccount { namespace, name })
}

fn several<T: std::fmt::Debug>(values: impl Strategy<Value = T>) -> impl Strategy<Value = Box<[T]>> {
    vec(values, 0..3).prop_map(Into::into)
}

fn conditions() -> impl Strategy<Value = Match> {
    let strings = (
        several(string()),
        several(string()),
        several(string()),
        several(string()),
    );
    let ranges = (
        several(range()),
        several(range()),
        several(range()),
        several(range()),
    );
    let ports = (several(1..=u16::MAX), several(1..=u16::MAX));
    (strings, ranges, ports, (several(account()), several(account()))).prop_map(
        |(strings, ranges, ports, accounts)| Match {
            namespaces: strings.0,
            not_namespaces: strings.1,
            principals: strings.2,
            not_principals: strings.3,
            source_ips: ranges.0,
            not_source_ips: ranges.1,
            destination_ips: ranges.2,
            not_destination_ips: ranges.3,
            destination_ports: ports.0,
            not_destination_ports: ports.1,
            service_accounts: accounts.0,
            not_service_accounts: accounts.1,
        },
    )
}

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let clause = several(conditions()).prop_map(|matches| Clause { matches });
    let group = several(clause).prop_map(|clauses| Group { clauses });
    let name = (word(), word());
    (
        name,
        one::<PolicyScope>(),
        one::<Action>(),
        several(group),
        any::<bool>(),
    )
        .prop_map(|((namespace, name), scope, action, groups, dry_run)| Policy {
            key: PolicyKey { namespace, name },
            scope,
            action,
            groups,
            dry_run,
        })
}
