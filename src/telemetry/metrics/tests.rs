use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use adit_mesh::Identity;

use super::*;
use crate::log::Format;
use crate::runtime::threads;

fn metrics() -> Arc<Metrics> {
    let (log, _flush) = log::Writer::start(Format::Text, std::io::sink()).expect("a thread");
    let build = Build {
        component: "ztunnel",
        tag: "1.2.3".to_owned(),
    };
    Metrics::new(&build, &log)
}

/// Whether a scrape has exactly this line.
fn has(metrics: &Metrics, line: &str) -> bool {
    let text = metrics.encode(Exposition::Text);
    text.lines().any(|found| found == line)
}

#[test]
fn every_metric_stands_in_the_table_and_the_table_has_no_other() {
    let metrics = metrics();
    let registered: BTreeSet<(String, String)> = metrics
        .encode(Exposition::Text)
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.replace("untyped", "unknown")))
        .collect();
    let documented: BTreeSet<(String, String)> = include_str!("../METRICS.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(name, rest)| Some((name.to_owned(), rest.split(" |").next()?.to_owned())))
        .collect();
    let missing: Vec<_> = registered.difference(&documented).collect();
    let surplus: Vec<_> = documented.difference(&registered).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "not documented: {missing:?}; not registered: {surplus:?}"
    );
    assert!(registered.len() > 30);
}

#[test]
fn the_two_formats_have_the_same_samples() {
    let metrics = metrics();
    metrics.refused(Outcome::TlsFailed, Direction::Inbound);
    let samples = |exposition| -> Vec<String> {
        let text = metrics.encode(exposition);
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("process_"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(samples(Exposition::OpenMetrics), samples(Exposition::Text));
    assert!(metrics.encode(Exposition::OpenMetrics).ends_with("# EOF\n"));
}

#[test]
fn says_what_runs_and_what_it_may_use() {
    let metrics = metrics();
    assert!(has(
        &metrics,
        "istio_build{component=\"ztunnel\",tag=\"1.2.3\"} 1"
    ));
    let text = metrics.encode(Exposition::Text);
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("a sample").parse().expect("a number")
    };
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
}

#[test]
fn refusals_are_counted_by_outcome_and_direction() {
    let metrics = metrics();
    metrics.refused(Outcome::PolicyDenied, Direction::Inbound);
    metrics.refused(Outcome::PolicyDenied, Direction::Inbound);
    metrics.refused(Outcome::Loop, Direction::Outbound);
    let line = "adit_refused_connections_total{outcome=\"policy_denied\",direction=\"inbound\"} 2";
    assert!(has(&metrics, line));
    assert!(has(
        &metrics,
        "adit_refused_connections_total{outcome=\"loop\",direction=\"outbound\"} 1"
    ));
    assert!(
        !metrics.encode(Exposition::Text).contains("not_ready"),
        "nothing was refused for that"
    );
}

#[test]
fn certificates_are_asked_for_at_every_scrape() {
    let metrics = metrics();
    let web: Identity = "spiffe://td/ns/bank/sa/web".parse().expect("identity");
    let held = Arc::new(Mutex::new(vec![(
        web,
        UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    )]));
    let asked = Arc::clone(&held);
    metrics.watch_certificates(Box::new(move || asked.lock().expect("not poisoned").clone()));
    let line = "adit_certificate_expiry_seconds{identity=\"spiffe://td/ns/bank/sa/web\"} 1700000000.0";
    assert!(metrics.encode(Exposition::Text).contains(line));
    held.lock().expect("not poisoned").clear();
    assert!(!metrics.encode(Exposition::Text).contains(line));
}

#[test]
fn the_age_of_a_configuration_starts_when_it_is_applied() {
    let metrics = metrics();
    metrics.configuration_error("file");
    assert!(has(
        &metrics,
        "adit_configuration_errors_total{source=\"file\"} 1"
    ));
    let age = || {
        let text = metrics.encode(Exposition::Text);
        let name = "adit_configuration_age_seconds{source=\"file\"} ";
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok())
    };
    assert_eq!(age(), None, "never applied");
    metrics.configuration_applied("file", Instant::now());
    assert!(age().is_some_and(|age| (0.0..60.0).contains(&age)));
}

#[test]
fn metrics_of_both_ends_carry_the_reporter() {
    let metrics = metrics();
    metrics.sockets_open[Direction::Outbound].inc();
    metrics.revoked[Direction::Inbound].inc();
    metrics.connect[Direction::Outbound].observe(Duration::from_millis(2));
    metrics.pool.connection_stalls.inc();
    metrics.pods.started.inc();
    for line in [
        "istio_tcp_sockets_open{reporter=\"source\"} 1",
        "istio_tcp_sockets_open{reporter=\"destination\"} 0",
        "istio_crl_policy_rejections_total{reporter=\"destination\"} 1",
        "adit_connect_duration_seconds_count{reporter=\"source\"} 1",
        "adit_connect_duration_seconds_bucket{le=\"0.0025\",reporter=\"source\"} 1",
        "adit_flow_control_stalls_total{level=\"connection\"} 1",
        "workload_manager_proxies_started_total 1",
    ] {
        assert!(
            has(&metrics, line),
            "{line} in\n{}",
            metrics.encode(Exposition::Text)
        );
    }
}

#[test]
fn workers_are_reported_each() {
    let metrics = metrics();
    let workers = threads::Workers::start(NonZeroUsize::new(2).expect("not 0"), "test").expect("threads");
    metrics.watch_workers(workers.handles());
    let _carried = workers.handles()[1].carry();
    assert!(
        has(&metrics, "tokio_num_workers 2.0"),
        "{}",
        metrics.encode(Exposition::Text)
    );
    assert!(has(&metrics, "adit_worker_load{worker=\"0\"} 0.0"));
    assert!(has(&metrics, "adit_worker_load{worker=\"1\"} 1.0"));
    assert!(
        metrics
            .encode(Exposition::Text)
            .contains("tokio_worker_park_count{worker=\"1\"} ")
    );
    workers.join();
}

#[tokio::test]
async fn the_runtime_that_workers_are_reported_from_is_the_control_runtime() {
    let metrics = metrics();
    assert!(has(&metrics, "adit_control_tasks 0.0"));
    metrics.watch_workers(&[]);
    let left = tokio::spawn(std::future::pending::<()>());
    assert!(has(&metrics, "adit_control_tasks 1.0"));
    left.abort();
    assert!(left.await.is_err_and(|ended| ended.is_cancelled()));
    assert!(has(&metrics, "adit_control_tasks 0.0"));
}

#[test]
fn workloads_that_left_the_mesh_are_forgotten_and_their_series_go_an_hour_later() {
    let metrics = metrics();
    let workload = |name: &str| {
        let uid = adit_mesh::Text::from(format!("Kubernetes//Pod/bank/{name}"));
        let domain = adit_mesh::TrustDomain::default();
        let made = adit_mesh::Workload::new(uid, name.into(), domain, "bank".into(), name.into());
        Some(Arc::new(made.expect("valid names")))
    };
    for source in ["web", "intruder"] {
        metrics.pair(&Connection {
            direction: Direction::Outbound,
            security: SecurityPolicy::MutualTls,
            source: workload(source),
            source_identity: None,
            destination: workload("ledger"),
            service: None,
        });
    }
    let now = Instant::now();
    metrics.forget_unless(|uid| !uid.ends_with("intruder"), now);
    assert_eq!(metrics.expire(now), 0);
    assert_eq!(metrics.expire(now + pairs::KEPT_AFTER_PODS_ARE_GONE), 1);
}
