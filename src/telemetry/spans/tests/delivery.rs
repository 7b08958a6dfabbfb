//! From the queue to the collector, and what is counted on the way.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic::transport::{Identity, ServerTlsConfig};

use super::super::fixtures::{outbound, settings};
use super::super::{Settings, Spans, Tls, queue};
use super::receiver::{self, Manner};
use crate::metrics::SpanMetrics;
use crate::runtime::drain;

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An exporter that runs.
struct Running {
    spans: Spans,
    metrics: SpanMetrics,
    drain: drain::DrainTrigger,
}

fn run(settings: Settings) -> Running {
    let metrics = SpanMetrics::default();
    let (spans, exporter) = queue(settings, metrics.clone());
    let (drain, draining) = drain::channel();
    tokio::spawn(exporter.run(draining));
    Running {
        spans,
        metrics,
        drain,
    }
}

impl Running {
    fn tell(&self, spans: usize) {
        (0..spans).for_each(|_| self.spans.tell(outbound()));
    }

    /// Waits until so many spans are accounted for, in the metric that `counted` picks.
    async fn wait(&self, counted: impl Fn(&SpanMetrics) -> u64, expected: u64) {
        let reached = async {
            while counted(&self.metrics) < expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let result = timeout(PATIENCE, reached).await;
        assert!(
            result.is_ok() && counted(&self.metrics) == expected,
            "{expected} expected of {:?}",
            self.metrics
        );
    }
}

fn length(request: &ExportTraceServiceRequest) -> usize {
    request.resource_spans[0].scope_spans[0].spans.len()
}

#[tokio::test]
async fn batches_arrive_with_their_headers_and_their_resource() {
    let (address, mut arrived) = receiver::start(Manner::Takes, None).await;
    for gzip in [false, true] {
        let mut settings = settings(&format!("http://{address}"));
        settings.collector.gzip = gzip;
        settings
            .collector
            .headers
            .insert("x-tenant", "bank".parse().expect("a value"));
        let running = run(settings);
        running.tell(6);
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < 6 {
            let (metadata, request) = arrived.recv().await.expect("the collector runs");
            assert_eq!(metadata.get("x-tenant").expect("sent"), "bank");
            let agent = metadata.get("user-agent").expect("sent").to_str().expect("text");
            assert!(agent.starts_with("OTel-OTLP-Exporter-Adit/"), "{agent}");
            let accepts = metadata
                .get("grpc-accept-encoding")
                .and_then(|value| value.to_str().ok());
            assert_eq!(
                accepts.is_some_and(|accepts| accepts.contains("gzip")),
                gzip,
                "{accepts:?}"
            );
            let resource = request.resource_spans[0].resource.as_ref().expect("sent");
            assert_eq!(resource.attributes[0].key, "service.name");
            lengths.push(length(&request));
        }
        assert!(lengths.iter().all(|length| *length <= 4), "{lengths:?}");
        running.wait(|metrics| metrics.exported.get(), 6).await;
    }
}

#[tokio::test]
async fn spans_that_a_collector_does_not_want_are_counted() {
    let (address, _arrived) = receiver::start(Manner::Rejects(1), None).await;
    let running = run(settings(&format!("http://{address}")));
    running.tell(4);
    running.wait(|metrics| metrics.rejected.get(), 1).await;
    running.wait(|metrics| metrics.exported.get(), 3).await;
}

#[tokio::test]
async fn a_batch_that_is_refused_for_good_is_not_sent_again() {
    let (address, mut arrived) = receiver::start(Manner::Refuses(Code::Unauthenticated), None).await;
    let running = run(settings(&format!("http://{address}")));
    running.tell(4);
    running.wait(|metrics| metrics.export_failed.get(), 4).await;
    assert!(arrived.recv().await.is_some() && arrived.try_recv().is_err());
}

#[tokio::test]
async fn a_batch_that_may_be_taken_later_is_sent_again_until_it_is_too_old() {
    let (address, mut arrived) = receiver::start(Manner::Refuses(Code::Unavailable), None).await;
    let mut settings = settings(&format!("http://{address}"));
    // The third attempt would be after three seconds.
    settings.batches.timeout = Duration::from_millis(2900);
    let running = run(settings);
    running.tell(4);
    running.wait(|metrics| metrics.export_failed.get(), 4).await;
    let mut attempts = 0;
    while arrived.try_recv().is_ok() {
        attempts += 1;
    }
    assert_eq!(attempts, 2, "at once, and after a second");
}

/// The collector of this test accepts connections and never says anything: the queue and one batch are all that waits.
#[tokio::test]
async fn a_collector_that_hangs_costs_what_does_not_fit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut settings = settings(&format!("http://{address}"));
    settings.collector.timeout = Duration::from_secs(3600);
    let running = run(settings);
    running.tell(4);
    // It has the batch in hand once it has connected.
    let (_silent, _) = listener.accept().await.expect("the exporter connects");
    running.tell(8);
    assert_eq!(running.metrics.queue_full.get(), 0, "there is room for these");
    running.tell(100);
    assert_eq!(running.metrics.queue_full.get(), 100);
    // Nobody waits for it at the end either.
    running.drain.start(Instant::now() + Duration::from_millis(300));
    timeout(PATIENCE, running.drain.finished())
        .await
        .expect("the exporter ends by its deadline");
    assert_eq!(running.metrics.shutdown.get(), 12);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_collector_is_left_alone_for_longer_and_longer() {
    // A port that was free a moment ago refuses connections.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let running = run(settings(&format!("http://{address}")));
    let begun = Instant::now();
    for batch in 1..=3 {
        running.tell(4);
        running
            .wait(|metrics| metrics.export_failed.get(), batch * 4)
            .await;
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(running.metrics.exported.get(), 0);
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end() {
    let (address, mut arrived) = receiver::start(Manner::Takes, None).await;
    let mut settings = settings(&format!("http://{address}"));
    settings.batches.delay = Duration::from_secs(3600);
    let running = run(settings);
    // Not a whole batch, so that nothing is sent before.
    running.tell(3);
    running.drain.start(Instant::now() + PATIENCE);
    running.drain.finished().await;
    assert_eq!(running.metrics.exported.get(), 3);
    let (_, request) = arrived.recv().await.expect("sent");
    assert_eq!(length(&request), 3);
    // And nobody takes what comes now.
    running.tell(1);
    assert_eq!(running.metrics.shutdown.get(), 1);
}

/// An authority of the name in a directory, and a certificate of it for 127.0.0.1: the file of the one, and the other.
fn authority(directory: &tempfile::TempDir, name: &str) -> (PathBuf, Identity) {
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let path = directory.path().join(name);
    std::fs::write(&path, issuer.pem()).expect("written");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()])
        .and_then(|params| params.signed_by(&key, &issuer))
        .expect("signed");
    (path, Identity::from_pem(leaf.pem(), key.serialize_pem()))
}

#[tokio::test]
async fn a_collector_is_verified_by_the_authority_that_was_given() {
    let directory = tempfile::tempdir().expect("a directory");
    let (roots, identity) = authority(&directory, "roots.pem");
    let (others, _) = authority(&directory, "others.pem");
    let tls = ServerTlsConfig::new().identity(identity);
    let (address, mut arrived) = receiver::start(Manner::Takes, Some(tls)).await;
    let with = |roots: PathBuf| {
        let mut settings = settings(&format!("https://{address}"));
        settings.collector.tls = Some(Tls { roots, client: None });
        settings.batches.timeout = Duration::from_millis(500);
        settings
    };
    let strict = run(with(others));
    strict.tell(4);
    strict.wait(|metrics| metrics.export_failed.get(), 4).await;
    assert!(arrived.try_recv().is_err(), "nothing reaches a stranger");
    let running = run(with(roots));
    running.tell(4);
    running.wait(|metrics| metrics.exported.get(), 4).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_before_the_first_connection() {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing").expect("written");
    for (file, problem) in [
        (directory.path().join("missing.pem"), "missing.pem cannot be read"),
        (empty, "empty.pem has no certificate in PEM form"),
    ] {
        let mut settings = settings("https://127.0.0.1:4317");
        settings.collector.tls = Some(Tls {
            roots: file,
            client: None,
        });
        let (_, exporter) = queue(settings, SpanMetrics::default());
        let error = exporter.check().await.expect_err("not usable").to_string();
        assert!(error.contains(problem), "{error}");
    }
}
