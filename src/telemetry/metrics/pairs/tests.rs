use adit_mesh::{TrustDomain, Workload};
use prometheus_client::registry::Registry;

use super::*;
use crate::Direction;
use crate::metrics::SecurityPolicy;

/// The pod `pod` of the workload `name`: pods of one workload share their labels.
fn pod(name: &str, pod: &str) -> Arc<Workload> {
    let uid = Text::from(uid(pod));
    let mut workload = Workload::new(
        uid,
        pod.into(),
        TrustDomain::default(),
        "bank".into(),
        name.into(),
    )
    .expect("valid names");
    workload.workload_name = name.into();
    Arc::new(workload)
}

fn uid(pod: &str) -> String {
    format!("Kubernetes//Pod/bank/{pod}")
}

fn connection(source: &Arc<Workload>, destination: &Arc<Workload>) -> Connection {
    Connection {
        direction: Direction::Outbound,
        security: SecurityPolicy::MutualTls,
        source: Some(Arc::clone(source)),
        source_identity: None,
        destination: Some(Arc::clone(destination)),
        service: None,
    }
}

fn scrape(pairs: &Arc<Pairs>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::clone(pairs)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("into a string");
    text
}

/// The values of a metric as `(response_flags, value)`.
fn values(pairs: &Arc<Pairs>, metric: &str) -> Vec<(String, u64)> {
    let mut values: Vec<_> = scrape(pairs)
        .lines()
        .filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.split_once("} "))
        .map(|(labels, value)| {
            let (_, flags) = labels
                .split_once("response_flags=\"")
                .expect("every series has it");
            let (flags, _) = flags.split_once('"').expect("a quoted value");
            (flags.to_owned(), value.parse().expect("a number"))
        })
        .collect();
    values.sort();
    values
}

fn named(values: &[(&str, u64)]) -> Vec<(String, u64)> {
    values
        .iter()
        .map(|(flags, value)| ((*flags).to_owned(), *value))
        .collect()
}

#[test]
fn counts_connections_under_the_flags_of_their_outcome() {
    let pairs = Arc::new(Pairs::default());
    let pair = pairs.pair(&connection(&pod("web", "web-1"), &pod("ledger", "ledger-1")));
    for _ in 0..4 {
        pair.opened();
    }
    pair.closed(Outcome::Completed);
    pair.closed(Outcome::PolicyChanged);
    pair.closed(Outcome::PolicyDenied);
    pair.failed(Outcome::ConnectFailed);
    pair.failed(Outcome::ConnectTimeout);
    assert_eq!(
        values(&pairs, "istio_tcp_connections_opened_total"),
        named(&[("-", 4)])
    );
    assert_eq!(
        values(&pairs, "istio_tcp_connections_closed_total"),
        named(&[("-", 1), ("DENY", 2)])
    );
    assert_eq!(
        values(&pairs, "istio_tcp_connections_failed_total"),
        named(&[("CONNECT", 2)])
    );
    assert_eq!(pair.live(), 1);
}

#[test]
fn bytes_are_seen_from_the_service_whichever_end_reports() {
    let pairs = Arc::new(Pairs::default());
    let mut connection = connection(&pod("web", "web-1"), &pod("ledger", "ledger-1"));
    for direction in Direction::ALL {
        connection.direction = direction;
        let pair = pairs.pair(&connection);
        pair.request_bytes(84);
        pair.response_bytes(239);
    }
    assert_eq!(
        values(&pairs, "istio_tcp_sent_bytes_total"),
        named(&[("-", 239), ("-", 239)])
    );
    assert_eq!(
        values(&pairs, "istio_tcp_received_bytes_total"),
        named(&[("-", 84), ("-", 84)])
    );
}

#[test]
fn pods_of_one_workload_share_a_series() {
    let pairs = Arc::new(Pairs::default());
    let ledger = pod("ledger", "ledger-1");
    let one = pairs.pair(&connection(&pod("web", "web-1"), &ledger));
    let two = pairs.pair(&connection(&pod("web", "web-2"), &ledger));
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(values(&pairs, "istio_tcp_connections_opened_total").len(), 1);
}

#[test]
fn a_series_goes_an_hour_after_its_last_pod() {
    let pairs = Arc::new(Pairs::default());
    let ledger = pod("ledger", "ledger-1");
    for web in ["web-1", "web-2"] {
        pairs.pair(&connection(&pod("web", web), &ledger));
    }
    let start = Instant::now();
    pairs.forget(&uid("web-1"), start);
    assert_eq!(
        pairs.expire(start + 2 * KEPT_AFTER_PODS_ARE_GONE),
        0,
        "web-2 is still there"
    );
    let last = start + KEPT_AFTER_PODS_ARE_GONE;
    pairs.forget(&uid("web-2"), last);
    let almost = last + KEPT_AFTER_PODS_ARE_GONE - Duration::from_secs(1);
    assert_eq!(pairs.expire(almost), 0);
    assert_eq!(pairs.expire(last + KEPT_AFTER_PODS_ARE_GONE), 1);
    assert!(!scrape(&pairs).contains("web"));
    let table = pairs.lock();
    assert!(
        table.series.is_empty() && table.by_pod.is_empty(),
        "nothing is left behind"
    );
}

#[test]
fn a_series_goes_when_the_pods_of_either_end_have_gone() {
    let pairs = Arc::new(Pairs::default());
    pairs.pair(&connection(&pod("web", "web-1"), &pod("ledger", "ledger-1")));
    let now = Instant::now();
    pairs.forget(&uid("ledger-1"), now);
    pairs.forget("nobody", now);
    assert_eq!(pairs.expire(now + KEPT_AFTER_PODS_ARE_GONE), 1);
}

#[test]
fn a_new_connection_revives_a_series() {
    let pairs = Arc::new(Pairs::default());
    let mut cache = PairCache::new(Arc::clone(&pairs));
    let connection = connection(&pod("web", "web-1"), &pod("ledger", "ledger-1"));
    let before = cache.pair(&connection);
    before.opened();
    before.closed(Outcome::Completed);
    let now = Instant::now();
    pairs.forget(&uid("web-1"), now);
    let after = cache.pair(&connection);
    assert!(Arc::ptr_eq(&before, &after), "the counters go on");
    assert_eq!(pairs.expire(now + KEPT_AFTER_PODS_ARE_GONE), 0);
}

#[test]
fn a_series_with_a_live_connection_stays_and_a_cached_one_is_not_used_after_it_went() {
    let pairs = Arc::new(Pairs::default());
    let mut cache = PairCache::new(Arc::clone(&pairs));
    let connection = connection(&pod("web", "web-1"), &pod("ledger", "ledger-1"));
    let old = cache.pair(&connection);
    old.opened();
    let now = Instant::now();
    pairs.forget(&uid("web-1"), now);
    let later = now + KEPT_AFTER_PODS_ARE_GONE;
    assert_eq!(pairs.expire(later), 0, "a connection lives");
    old.closed(Outcome::PodGone);
    assert_eq!(pairs.expire(later), 1);
    let new = cache.pair(&connection);
    assert!(!Arc::ptr_eq(&old, &new));
    new.opened();
    assert_eq!(
        values(&pairs, "istio_tcp_connections_opened_total"),
        named(&[("-", 1)])
    );
}

#[test]
fn a_worker_finds_known_pairs_without_the_table() {
    let pairs = Arc::new(Pairs::default());
    let mut cache = PairCache::new(Arc::clone(&pairs));
    let connection = connection(&pod("web", "web-1"), &pod("ledger", "ledger-1"));
    let first = cache.pair(&connection);
    let locked = pairs.lock();
    // With the table locked, only the cache can answer.
    let second = cache.pair(&connection);
    drop(locked);
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn a_cache_forgets_snapshots_of_the_past() {
    let pairs = Arc::new(Pairs::default());
    let mut cache = PairCache::new(Arc::clone(&pairs));
    let (web, ledger) = (pod("web", "web-1"), pod("ledger", "ledger-1"));
    cache.pair(&connection(&web, &ledger));
    cache.pair(&connection(&pod("web", "web-1"), &ledger));
    assert_eq!(cache.known.len(), 2);
    cache.sweep();
    assert_eq!(cache.known.len(), 1);
    for n in 0..2 * PairCache::LARGEST {
        cache.pair(&connection(&pod("web", &format!("web-{n}")), &ledger));
    }
    assert!(cache.known.len() <= PairCache::LARGEST);
}
