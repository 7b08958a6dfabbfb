//! Everything that is counted, under Istio's names where Istio has one, and `adit_` where it has none. The table of
//! all of it is `METRICS.md` beside this file; a test compares the two.
//!
//! Two kinds of metrics, for two kinds of readers. Those of a connection are found through a worker's [`PairCache`] and
//! are plain atomics from then on. The rest are fields of [`Metrics`], registered once; what can be read from where it
//! is anyway (descriptors, runtimes, ages) is read at the scrape and costs nothing between.

pub mod exposition;
pub mod labels;
pub mod latency;
pub mod limits;
pub mod pairs;
mod state;

use std::sync::Arc;
use std::time::Instant;

use adit_mesh::Outcome;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::Direction;
use crate::log;
use crate::runtime::threads::WorkerHandle;

pub use exposition::Exposition;
pub use labels::{Connection, ConnectionLabels, SecurityPolicy};
pub use latency::{ByDirection, Latency};
pub use limits::Limit;
pub use pairs::{PairCache, PairMetrics};

use limits::Limits;
use pairs::Pairs;
pub use state::HeldCertificates;
use state::{Certificates, Configurations, DroppedSpans, Process, Refusals, Stalls, Workers};

/// What a metrics registry says about the program it belongs to, in `istio_build`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Build {
    /// The kind of process, as Istio's dashboards know it: `ztunnel` for the tunnel.
    pub component: &'static str,
    /// The version.
    pub tag: String,
}

/// The metrics of a process. Made once and shared.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pairs: Arc<Pairs>,
    refusals: Arc<Refusals>,
    limits: Limits,
    certificates: Arc<Certificates>,
    configurations: Arc<Configurations>,
    workers: Arc<Workers>,
    /// Sockets of applications that are open now.
    pub sockets_open: ByDirection<Gauge>,
    /// Connections refused or cut because a certificate is revoked.
    pub revoked: ByDirection<Counter>,
    /// From the start of a dial to the connected socket.
    pub connect: ByDirection<Latency>,
    /// From the connected or accepted socket to the end of the TLS handshake.
    pub tls_handshake: ByDirection<Latency>,
    /// From the accepted connection to the first byte of the called.
    pub first_byte: ByDirection<Latency>,
    /// The pods that are served.
    pub pods: PodMetrics,
    /// The HBONE connections.
    pub pool: PoolMetrics,
    /// What became of spans.
    pub spans: SpanMetrics,
}

/// The pods of this node, under the names of ztunnel's workload manager.
#[derive(Clone, Default, Debug)]
pub struct PodMetrics {
    /// Pods that are served now.
    pub active: Gauge,
    /// Pods that are known and not served yet.
    pub pending: Gauge,
    /// Pods whose serving began.
    pub started: Counter,
    /// Pods whose serving ended.
    pub stopped: Counter,
}

/// HBONE connections and the streams in them.
#[derive(Clone, Default, Debug)]
pub struct PoolMetrics {
    /// Client connections that are open.
    pub connections: Gauge,
    /// Streams in client connections.
    pub streams: Gauge,
    /// Client connections that were dialled.
    pub dials: Counter,
    /// Times that a stream had data and had to wait for a window of HTTP/2.
    pub stream_stalls: Counter,
    /// Times that a stream had data and had to wait because the TCP connection below took no more.
    pub connection_stalls: Counter,
}

/// What became of the spans of sampled connections.
#[derive(Clone, Default, Debug)]
pub struct SpanMetrics {
    /// Spans that the collector has taken.
    pub exported: Counter,
    /// Spans that found the queue full.
    pub queue_full: Counter,
    /// Spans of batches that were refused, or not taken in time.
    pub export_failed: Counter,
    /// Spans that the collector did not want, of batches that it took.
    pub rejected: Counter,
    /// Spans that were not taken before the process ended.
    pub shutdown: Counter,
}

impl Metrics {
    /// Registers everything. `log` tells how many lines it dropped.
    pub fn new(build: &Build, log: &log::Writer) -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::default(),
            pairs: Arc::default(),
            refusals: Arc::default(),
            limits: Limits::default(),
            certificates: Arc::default(),
            configurations: Arc::default(),
            workers: Arc::default(),
            sockets_open: ByDirection::default(),
            revoked: ByDirection::default(),
            connect: ByDirection::default(),
            tls_handshake: ByDirection::default(),
            first_byte: ByDirection::default(),
            pods: PodMetrics::default(),
            pool: PoolMetrics::default(),
            spans: SpanMetrics::default(),
        };
        metrics.register_istio();
        metrics.register_ours();
        metrics.registry.register_collector(Box::new(Process {
            build: build.clone(),
            log: log.clone(),
        }));
        Arc::new(metrics)
    }

    fn register_istio(&mut self) {
        let Self {
            registry,
            pairs,
            sockets_open,
            revoked,
            pods,
            ..
        } = self;
        registry.register_collector(Box::new(Arc::clone(pairs)));
        registry.register(
            "istio_tcp_sockets_open",
            "Sockets of applications that are open",
            sockets_open.clone(),
        );
        let help = "Connections refused or cut because a certificate is revoked";
        registry.register("istio_crl_policy_rejections", help, revoked.clone());
        let pod_manager = registry.sub_registry_with_prefix("workload_manager");
        pod_manager.register("active_proxy_count", "Pods that are served", pods.active.clone());
        pod_manager.register(
            "pending_proxy_count",
            "Pods that are known, not served yet",
            pods.pending.clone(),
        );
        pod_manager.register(
            "proxies_started",
            "Pods whose serving began",
            pods.started.clone(),
        );
        pod_manager.register(
            "proxies_stopped",
            "Pods whose serving ended",
            pods.stopped.clone(),
        );
    }

    fn register_ours(&mut self) {
        let Self { registry, pool, .. } = self;
        let latencies = [
            (
                "adit_connect_duration_seconds",
                "Duration of a TCP connect",
                &self.connect,
            ),
            (
                "adit_tls_handshake_duration_seconds",
                "Duration of a TLS handshake",
                &self.tls_handshake,
            ),
            (
                "adit_first_byte_duration_seconds",
                "From accept to the called's first byte",
                &self.first_byte,
            ),
        ];
        for (name, help, latency) in latencies {
            registry.register(name, help, latency.clone());
        }
        registry.register(
            "adit_pool_connections",
            "HBONE client connections open",
            pool.connections.clone(),
        );
        registry.register(
            "adit_pool_streams",
            "Streams in HBONE client connections",
            pool.streams.clone(),
        );
        registry.register(
            "adit_pool_dials",
            "HBONE client connections dialled",
            pool.dials.clone(),
        );
        let stalls = Stalls(pool.clone());
        registry.register(
            "adit_flow_control_stalls",
            "Times that data had to wait to be sent",
            stalls,
        );
        registry.register(
            "adit_spans_exported",
            "Spans that the collector has taken",
            self.spans.exported.clone(),
        );
        let dropped = DroppedSpans(self.spans.clone());
        registry.register(
            "adit_spans_dropped",
            "Spans that were lost, by the reason",
            dropped,
        );
        registry.register(
            "adit_limits_reached",
            "Times that a limit of the tunnel said no",
            self.limits.clone(),
        );
        registry.register_collector(Box::new(Arc::clone(&self.refusals)));
        registry.register_collector(Box::new(Arc::clone(&self.certificates)));
        registry.register_collector(Box::new(Arc::clone(&self.configurations)));
        registry.register_collector(Box::new(Arc::clone(&self.workers)));
    }

    /// A cache of pairs for one worker.
    pub fn pair_cache(&self) -> PairCache {
        PairCache::new(Arc::clone(&self.pairs))
    }

    /// The counters of `connection`, looked up by its labels; workers use a [`PairCache`].
    pub fn pair(&self, connection: &Connection) -> Arc<PairMetrics> {
        self.pairs.pair(connection)
    }

    /// The workload `uid` has gone at `now`. Its series stay for an hour.
    pub fn forget(&self, uid: &str, now: Instant) {
        self.pairs.forget(uid, now);
    }

    /// Workloads that are not `known` any more have gone at `now`, as if each had been given to [`Metrics::forget`].
    pub fn forget_unless(&self, known: impl Fn(&str) -> bool, now: Instant) {
        for uid in self.pairs.pods() {
            if !known(&uid) {
                self.forget(&uid, now);
            }
        }
    }

    /// Removes the series whose pods went an hour before `now` or earlier and that carry no connection any more;
    /// returns how many pairs those were. Call it every few minutes.
    pub fn expire(&self, now: Instant) -> usize {
        self.pairs.expire(now)
    }

    /// Counts a connection that was refused, however early: also before it is known who speaks.
    pub fn refused(&self, outcome: Outcome, direction: Direction) {
        self.refusals.count(outcome, direction);
    }

    /// Counts what a limit of the tunnel did not let happen.
    pub fn limited(&self, limit: Limit) {
        self.limits.count(limit);
    }

    /// Where certificates and their expiries are asked for at every scrape. Only the first call counts.
    pub fn watch_certificates(&self, held: Box<HeldCertificates>) {
        self.certificates.watch(held);
    }

    /// Configuration of `source` (such as `file` or `xds`) was applied at `now`.
    pub fn configuration_applied(&self, source: &'static str, now: Instant) {
        self.configurations.applied(source, now);
    }

    /// Configuration of `source` could not be read, or a resource of it was rejected.
    pub fn configuration_error(&self, source: &'static str) {
        self.configurations.error(source);
    }

    /// Reports these workers from now on, and the runtime that this is called in as the control runtime.
    pub fn watch_workers(&self, workers: &[WorkerHandle]) {
        self.workers.watch(workers);
    }

    /// The text of a scrape.
    pub fn encode(&self, exposition: Exposition) -> String {
        exposition::encode(&self.registry, exposition)
    }
}

#[cfg(test)]
mod tests;
