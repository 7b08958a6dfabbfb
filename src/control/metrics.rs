//! Metrics, with istiod's names where it has them.

use std::sync::Mutex;
use std::time::Duration;

use adit_discovery::xds::server::Observer;
use adit_discovery::xds::{Clients, Kind};
use adit_proto::discovery::DeltaDiscoveryResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::graph::Event;
use crate::objects;

/// From a millisecond to half a minute.
const SECONDS: [f64; 11] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0, 30.0];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Type {
    r#type: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct EventLabels {
    r#type: &'static str,
    event: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Error {
    error: &'static str,
}

/// All metrics of the control plane.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    pushes: Family<Type, Counter>,
    sent_bytes: Family<Type, Counter>,
    rejects: Family<Type, Counter>,
    denied: Family<Error, Counter>,
    push_time: Histogram,
    propagation: Histogram,
    clients: Gauge,
    events: Family<EventLabels, Counter>,
    /// What is in the catalog.
    resources: Family<Type, Gauge>,
    /// The authority's.
    pub certificates: CertificateMetrics,
}

/// The authority's metrics.
#[derive(Default, Debug)]
pub struct CertificateMetrics {
    /// Requests.
    pub requests: Counter,
    /// Callers who did not prove who they are.
    pub unauthenticated: Counter,
    /// Certificates.
    pub issued: Counter,
    refusals: Family<Error, Counter>,
    root_expiry: Gauge,
}

impl CertificateMetrics {
    /// A certificate was refused.
    pub fn refused(&self, error: &'static str) {
        self.refusals.get_or_create(&Error { error }).inc();
    }

    /// When the signing certificate ends, in seconds since 1970.
    pub fn authority_ends(&self, seconds: i64) {
        self.root_expiry.set(seconds);
    }
}

impl Metrics {
    /// Metrics of a new process.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            pushes: Family::default(),
            sent_bytes: Family::default(),
            rejects: Family::default(),
            denied: Family::default(),
            push_time: Histogram::new(SECONDS),
            propagation: Histogram::new(SECONDS),
            clients: Gauge::default(),
            events: Family::default(),
            resources: Family::default(),
            certificates: CertificateMetrics::default(),
        };
        let mut registry = Registry::default();
        let build = [("component", "pilot"), ("tag", env!("CARGO_PKG_VERSION"))];
        registry.register("istio_build", "The version that runs", Info::new(build));
        registry.register("pilot_xds", "Clients that are connected", metrics.clients.clone());
        registry.register("pilot_xds_pushes", "Responses sent", metrics.pushes.clone());
        registry.register(
            "pilot_xds_push_time",
            "Seconds to make a response",
            metrics.push_time.clone(),
        );
        registry.register(
            "pilot_total_xds_rejects",
            "Responses that clients refused",
            metrics.rejects.clone(),
        );
        registry.register(
            "pilot_k8s_reg_events",
            "Events of objects",
            metrics.events.clone(),
        );
        registry.register(
            "adit_xds_sent_bytes",
            "Bytes of resources sent",
            metrics.sent_bytes.clone(),
        );
        registry.register(
            "adit_xds_denied",
            "Clients that were not served",
            metrics.denied.clone(),
        );
        registry.register(
            "adit_xds_propagation_seconds",
            "Seconds from an event to a client's acceptance of what follows from it",
            metrics.propagation.clone(),
        );
        registry.register(
            "adit_xds_resources",
            "Resources that are served",
            metrics.resources.clone(),
        );
        let certificates = &metrics.certificates;
        for (name, what, counter) in [
            (
                "citadel_server_csr_count",
                "Requests for certificates",
                &certificates.requests,
            ),
            (
                "citadel_server_authentication_failure_count",
                "Requests of callers who did not prove who they are",
                &certificates.unauthenticated,
            ),
            (
                "citadel_server_success_cert_issuance_count",
                "Certificates issued",
                &certificates.issued,
            ),
        ] {
            registry.register(name, what, counter.clone());
        }
        registry.register(
            "citadel_server_csr_sign_err_count",
            "Certificates refused",
            certificates.refusals.clone(),
        );
        registry.register(
            "citadel_server_root_cert_expiry_timestamp",
            "When the signing certificate ends, in seconds since 1970",
            certificates.root_expiry.clone(),
        );
        Self {
            registry: Mutex::new(registry),
            ..metrics
        }
    }

    /// An event was taken in.
    pub fn event(&self, event: &Event) {
        let (kind, event) = match event {
            Event::Put(object) => (object.key().kind, "put"),
            Event::Gone(key) => (key.kind, "delete"),
        };
        let labels = EventLabels {
            r#type: objects::Kind::name(kind),
            event,
        };
        self.events.get_or_create(&labels).inc();
    }

    /// A catalog was published.
    pub fn published(&self, catalog: &adit_discovery::xds::Catalog) {
        for kind in [Kind::Address, Kind::Authorization] {
            let count = i64::try_from(catalog.len(kind)).unwrap_or(i64::MAX);
            self.resources
                .get_or_create(&Type { r#type: kind.name() })
                .set(count);
        }
    }

    /// All of them as text, for Prometheus.
    pub fn encode(&self, clients: &Clients) -> String {
        self.clients.set(i64::try_from(clients.len()).unwrap_or(i64::MAX));
        let registry = self
            .registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Metrics {
    fn sent(&self, kind: Kind, response: &DeltaDiscoveryResponse, took: Duration) {
        let labels = Type { r#type: kind.name() };
        self.pushes.get_or_create(&labels).inc();
        let bytes: usize = response.resources.iter().map(bytes::Bytes::len).sum();
        self.sent_bytes.get_or_create(&labels).inc_by(bytes as u64);
        self.push_time.observe(took.as_secs_f64());
    }

    fn accepted(&self, _: Kind, after: Duration) {
        self.propagation.observe(after.as_secs_f64());
    }

    fn refused(&self, kind: Kind) {
        self.rejects.get_or_create(&Type { r#type: kind.name() }).inc();
    }

    fn denied(&self, reason: &'static str) {
        self.denied.get_or_create(&Error { error: reason }).inc();
    }
}
