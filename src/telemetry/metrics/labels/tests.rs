use std::collections::HashSet;

use adit_mesh::TrustDomain;
use adit_mesh::service::ServiceKey;
use adit_mesh::workload::Locality;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::*;

fn workload(name: &str, account: &str) -> Workload {
    let uid = format!("Kubernetes//Pod/bank/{name}-1");
    let pod = format!("{name}-1");
    let mut workload = Workload::new(
        uid.into(),
        pod.into(),
        TrustDomain::default(),
        "bank".into(),
        account.into(),
    )
    .expect("valid names");
    workload.workload_name = name.into();
    workload.canonical_name = format!("{name}-app").into();
    workload.canonical_revision = "v2".into();
    workload.cluster = "Kubernetes".into();
    workload
}

fn service() -> Service {
    let key = ServiceKey {
        namespace: "bank".into(),
        hostname: "ledger.bank.svc.cluster.local".into(),
    };
    Service::new(key, "ledger".into())
}

fn unknown() -> Connection {
    Connection {
        direction: Direction::Inbound,
        security: SecurityPolicy::Unknown,
        source: None,
        source_identity: None,
        destination: None,
        service: None,
    }
}

/// The labels as a scrape shows them, without braces.
fn shown(connection: &Connection, response_flags: &'static str) -> String {
    let labels = ConnectionLabels::new(connection);
    let shown = Shown {
        labels,
        response_flags,
    };
    let family: Family<Shown, Counter> = Family::default();
    family.get_or_create(&shown).inc();
    let mut registry = Registry::default();
    registry.register("x", "A test", family);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("into a string");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("x_total{")?.strip_suffix("} 1"));
    line.expect("one sample").to_owned()
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Shown {
    labels: ConnectionLabels,
    response_flags: &'static str,
}

impl EncodeLabelSet for Shown {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Self {
            labels,
            response_flags,
        } = self;
        SeriesLabels {
            connection: labels,
            response_flags,
        }
        .encode(encoder)
    }
}

#[test]
fn labels_are_exactly_istios() {
    let mut source = workload("web", "web");
    source.locality = Locality {
        region: "eu".into(),
        zone: "eu-1".into(),
        subzone: "rack".into(),
    };
    let connection = Connection {
        direction: Direction::Outbound,
        security: SecurityPolicy::MutualTls,
        source: Some(Arc::new(source)),
        source_identity: None,
        destination: Some(Arc::new(workload("ledger", "ledger"))),
        service: Some(Arc::new(service())),
    };
    let expected = [
        "reporter=\"source\"",
        "source_workload=\"web\"",
        "source_canonical_service=\"web-app\"",
        "source_canonical_revision=\"v2\"",
        "source_workload_namespace=\"bank\"",
        "source_principal=\"spiffe://cluster.local/ns/bank/sa/web\"",
        "source_app=\"web-app\"",
        "source_version=\"v2\"",
        "source_cluster=\"Kubernetes\"",
        "destination_service=\"ledger.bank.svc.cluster.local\"",
        "destination_service_namespace=\"bank\"",
        "destination_service_name=\"ledger\"",
        "destination_workload=\"ledger\"",
        "destination_canonical_service=\"ledger-app\"",
        "destination_canonical_revision=\"v2\"",
        "destination_workload_namespace=\"bank\"",
        "destination_principal=\"spiffe://cluster.local/ns/bank/sa/ledger\"",
        "destination_app=\"ledger-app\"",
        "destination_version=\"v2\"",
        "destination_cluster=\"Kubernetes\"",
        "request_protocol=\"tcp\"",
        "response_flags=\"-\"",
        "connection_security_policy=\"mutual_tls\"",
        "source_region=\"eu\"",
        "source_zone=\"eu-1\"",
    ];
    assert_eq!(shown(&connection, "-"), expected.join(","));
}

#[test]
fn what_is_not_known_is_unknown_and_places_are_left_out() {
    let shown = shown(&unknown(), "TLS_FAILURE");
    for label in shown.split(',') {
        let (name, value) = label.split_once('=').expect("a label");
        let expected = match name {
            "reporter" => "\"destination\"",
            "request_protocol" => "\"tcp\"",
            "response_flags" => "\"TLS_FAILURE\"",
            _ => "\"unknown\"",
        };
        assert_eq!(value, expected, "{name}");
    }
    assert_eq!(shown.split(',').count(), 23);
}

#[test]
fn a_proven_identity_counts_more_than_the_address() {
    let proven = "spiffe://cluster.local/ns/risk/sa/analytics";
    let mut connection = unknown();
    connection.source_identity = proven.parse().ok();
    let shown_unknown = shown(&connection, "-");
    assert!(
        shown_unknown.contains(&format!("source_principal=\"{proven}\"")),
        "{shown_unknown}"
    );
    assert!(
        shown_unknown.contains("source_workload_namespace=\"risk\""),
        "{shown_unknown}"
    );
    connection.source = Some(Arc::new(workload("web", "web")));
    let shown_known = shown(&connection, "-");
    assert!(
        shown_known.contains(&format!("source_principal=\"{proven}\"")),
        "{shown_known}"
    );
    assert!(
        shown_known.contains("source_workload_namespace=\"bank\""),
        "{shown_known}"
    );
}

#[test]
fn a_connection_is_found_by_the_addresses_of_its_parts() {
    let web = Arc::new(workload("web", "web"));
    let of = |source: &Arc<Workload>| Connection {
        source: Some(Arc::clone(source)),
        ..unknown()
    };
    let same = HashSet::from([of(&web), of(&Arc::clone(&web))]);
    assert_eq!(same.len(), 1);
    let other_version = Arc::new(workload("web", "web"));
    assert_ne!(of(&web), of(&other_version));
    assert_ne!(of(&web), unknown());
}

#[test]
fn a_connection_is_outdated_when_nothing_else_holds_a_part_of_it() {
    let web = Arc::new(workload("web", "web"));
    let connection = Connection {
        source: Some(Arc::clone(&web)),
        ..unknown()
    };
    assert!(!connection.is_outdated());
    drop(web);
    assert!(connection.is_outdated());
    assert!(!unknown().is_outdated());
}
