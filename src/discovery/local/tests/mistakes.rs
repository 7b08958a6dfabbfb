//! What is said of a mistake, and what becomes of the resource and of the file that it stands in.

use adit_mesh::policy::PolicyScope;

use super::*;

#[test]
fn a_mistake_is_named_with_its_place_its_value_and_what_is_allowed() {
    let in_workload = |text: &str| format!("workloads: [{{uid: u, namespace: bank, {text}}}]");
    let in_service = |text: &str| format!("services: [{{namespace: bank, hostname: h, {text}}}]");
    let in_match = |text: &str| {
        format!("policies: [{{name: p, namespace: b, scope: Global, action: Deny, rules: [[[{{{text}}}]]]}}]")
    };
    let cases = [
        (
            in_workload("workloadIps: [10.0.0.1, 10.0.0]"),
            "workloads[0].workloadIps[1]: \"10.0.0\" is not an IPv4 or IPv6 address",
        ),
        (
            in_workload("protocol: hbone"),
            "workloads[0].protocol: \"hbone\" is not one of TCP, HBONE, LEGACY_ISTIO_MTLS",
        ),
        (
            in_workload("capacity: 0"),
            "workloads[0].capacity: 0 is not a capacity, 1 to 4294967295",
        ),
        (
            in_workload("capacity: -1"),
            "workloads[0].capacity: -1 is not a whole number",
        ),
        (
            in_workload("services: {\"bank/l.x\": {80: 65536}}"),
            "workloads[0].services[\"bank/l.x\"][\"80\"]: 65536 is not a port, 1 to 65535",
        ),
        (
            in_workload("services: {ledger: {}}"),
            "workloads[0].services.ledger: \"ledger\" is not <namespace>/<hostname> of a service",
        ),
        (
            in_workload("waypoint: {destination: /w}"),
            "workloads[0].waypoint.destination: \"w\" is not an address, and there is no namespace",
        ),
        (
            in_workload("authorizationPolicies: [strict]"),
            "workloads[0].authorizationPolicies[0]: \"strict\" is not <namespace>/<name> of a policy",
        ),
        (
            in_workload("canonicalRevision: 2"),
            "workloads[0].canonicalRevision: 2 is not a string; put it in quotes",
        ),
        (
            in_workload("nativeTunnel: 1"),
            "workloads[0].nativeTunnel: 1 is not true or false",
        ),
        (
            in_workload("serviceAccount: a/b"),
            "workloads[0]: a namespace or service account may not hold '/' (allowed: a-z A-Z 0-9 . - _)",
        ),
        (
            in_service("vips: [10.0.0.1]"),
            "services[0].vips[0]: \"10.0.0.1\" is not <network>/<address>, with nothing before the / where there is one \
             network",
        ),
        (
            in_service("cidrVips: [{cidr: 10.0.0.0/33}]"),
            "services[0].cidrVips[0].cidr: \"10.0.0.0/33\" is not a range of addresses such as 10.0.0.0/8",
        ),
        (
            in_service("ports: {0: 80}"),
            "services[0].ports[\"0\"]: the key \"0\" is not a port, 1 to 65535",
        ),
        (
            in_service("subjectAltNames: [ledger]"),
            "services[0].subjectAltNames[0]: \"ledger\": a SPIFFE ID starts with \"spiffe://\", in lower case",
        ),
        (
            in_match("sourceIps: [10.0.0.1]"),
            "policies[0].rules[0][0][0].sourceIps[0]: \"10.0.0.1\" is not a range of addresses such as 10.0.0.0/8",
        ),
        (
            in_match("destinationPorts: [65616]"),
            "policies[0].rules[0][0][0].destinationPorts[0]: 65616 is not a port (allowed: 1 to 65535)",
        ),
        (
            in_match("principals: [{Exact: ''}]"),
            "policies[0]: rules[0][0][0].principals[0]: the string is empty (\"is there one at all\" is written as \
             presence)",
        ),
        (
            in_match("principals: [{Contains: a}]"),
            "policies[0].rules[0][0][0].principals[0]: a mapping is not one of {Exact: ...}, {Prefix: ...}, \
             {Suffix: ...}, {Presence: []}",
        ),
        (
            "policies: [{name: p, namespace: b, scope: Global, action: Deny}]".to_owned(),
            "policies[0]: \"rules\" is missing",
        ),
    ];
    for (yaml, expected) in cases {
        assert_eq!(
            &*rejection(&yaml).reason,
            format!("mesh.yaml: {expected}"),
            "{yaml}"
        );
    }
}

#[test]
fn an_unknown_key_rejects_a_policy_wherever_it_stands() {
    let head = "name: p, namespace: b, scope: Global, action: Allow";
    let cases = [
        format!("policies: [{{{head}, rules: [], selector: {{}}}}]"),
        format!("policies: [{{{head}, rules: [[[{{destinationPorts: [80], methods: [GET]}}]]]}}]"),
        format!(
            "policies: [{{{head}, rules: [[[{{serviceAccounts: [{{namespace: a, serviceAccount: x, td: t}}]}}]]]}}]"
        ),
    ];
    for yaml in cases {
        let rejection = rejection(&yaml);
        assert_eq!(rejection.name, ResourceName::Policy(policy_key("b", "p")));
        assert!(rejection.reason.contains("unknown key"), "{}", rejection.reason);
    }
}

#[test]
fn an_unknown_key_elsewhere_is_a_warning() {
    let mesh = mesh(
        r#"
workloads: [{uid: u, namespace: b, workloadIp: 10.0.0.1, waypoint: {destination: /10.0.0.2, port: 15009}}]
services: [{namespace: b, hostname: h, vip: x}]
"#,
    );
    assert!(mesh.rejected.is_empty());
    assert_eq!(
        mesh.warnings,
        [
            "workloads[0]: unknown key \"workloadIp\" is passed over",
            "workloads[0].waypoint: unknown key \"port\" is passed over",
            "services[0]: unknown key \"vip\" is passed over",
        ]
    );
}

#[test]
fn a_rejection_claims_what_could_be_read() {
    let found =
        rejection("workloads: [{uid: u, namespace: b, network: n, workloadIps: [10.0.0.1, x, 10.0.0.2]}]");
    let claimed = ["n/10.0.0.1", "n/10.0.0.2"];
    assert_eq!(
        found
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        claimed
    );
    let found =
        rejection("services: [{hostname: h, vips: [/10.0.0.1, x], cidrVips: [{cidr: 10.0.0.0/8}, {}]}]");
    assert_eq!(found.name, ResourceName::Service(service_key("services[0]", "h")));
    assert_eq!((found.addresses.len(), found.ranges.len()), (1, 1));
    let found = rejection("policies: [{namespace: b, scope: Namespace}]");
    assert_eq!(found.name, ResourceName::Policy(policy_key("b", "policies[0]")));
    assert_eq!(found.scope, Some(PolicyScope::Namespace));
}

#[test]
fn a_policy_of_no_readable_namespace_counts_for_the_whole_mesh() {
    let unnamed = "{name: p, namespace: '', scope: Namespace, action: Deny, rules: []}";
    let unnamed = format!("policies: [{unnamed}]");
    for yaml in [
        "policies: [{name: p, scope: Namespace}]",
        "policies: [nonsense]",
        &unnamed,
    ] {
        assert_eq!(rejection(yaml).scope, Some(PolicyScope::Global), "{yaml}");
    }
}

#[test]
fn two_resources_of_one_name_reject_each_other() {
    let one = "{uid: u, namespace: b, workloadIps: [10.0.0.1]}";
    let other = "{uid: u, namespace: b, workloadIps: [10.0.0.2]}";
    let found = rejection(&format!("workloads: [{one}, {other}]"));
    assert_eq!(found.addresses.len(), 2);
    assert!(
        found.reason.contains("workload u stands twice"),
        "{}",
        found.reason
    );
}

#[test]
fn two_policies_of_one_name_refuse_as_widely_as_the_wider_of_them() {
    let with = |scope: &str| format!("{{name: p, namespace: b, scope: {scope}, action: Allow, rules: []}}");
    let cases = [
        ("WorkloadSelector", "Global", Some(PolicyScope::Global)),
        ("Namespace", "WorkloadSelector", Some(PolicyScope::Namespace)),
        ("WorkloadSelector", "Unreadable", None),
    ];
    for (one, other, expected) in cases {
        let found = rejection(&format!("policies: [{}, {}]", with(one), with(other)));
        assert_eq!(found.scope, expected, "{one} {other}");
    }
}

#[test]
fn a_wrong_top_level_is_an_error_of_the_file() {
    let cases = [
        (
            "",
            "the document: it is empty; a mesh without anything is written as \"workloads: []\"",
        ),
        (
            "# nothing",
            "the document: it is empty; a mesh without anything is written as \"workloads: []\"",
        ),
        (
            "[]",
            "the document: it is empty; a mesh without anything is written as \"workloads: []\"",
        ),
        (
            "[1]",
            "the document: a list is not a mapping with the keys workloads, services and policies",
        ),
        (
            "polices: []",
            "the document: unknown key \"polices\" (allowed: workloads, services, policies)",
        ),
        ("workloads: {a: 1}", "workloads: a mapping is not a list"),
    ];
    for (yaml, expected) in cases {
        let document = document::parse(yaml).expect("is YAML");
        let error = convert::read(&document, "mesh.yaml", &mut Interner::default()).expect_err(yaml);
        assert_eq!(error.to_string(), expected, "{yaml}");
    }
    let empty = mesh("workloads: []\nservices: null\n");
    assert!(empty.resources.is_empty());
}

#[test]
fn what_is_not_yaml_is_named_with_its_line() {
    let error = document::parse("workloads:\n- uid: a\n  name: [b\n").expect_err("not closed");
    assert!(error.line >= 3, "{error:?}");
    let error = document::parse("services:\n- name: a\n  name: b\n").expect_err("a key twice");
    assert_eq!(error.line, 3, "{error:?}");
    let bomb = format!("workloads: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(document::parse(&bomb).is_err());
    let mut repeating = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let item = format!("*a{}, ", level - 1);
        repeating.push_str(&format!("a{level}: &a{level} [{}]\n", item.repeat(10)));
    }
    assert!(document::parse(&repeating).is_err());
}
