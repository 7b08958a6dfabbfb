//! Metrics that are a view of something: read when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use adit_mesh::{Identity, Outcome};
use nix::sys::resource::{Resource, getrlimit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::labels::Displayed;
use super::{Build, PoolMetrics, SpanMetrics};
use crate::Direction;
use crate::log;
use crate::outcomes;
use crate::runtime::panics;
use crate::runtime::threads::WorkerHandle;

const OUTCOMES: usize = Outcome::ALL.len();

/// Refused connections: an array, since both labels are closed lists. Series appear when they are first counted.
#[derive(Debug)]
pub(super) struct Refusals {
    counts: [[AtomicU64; OUTCOMES]; Direction::ALL.len()],
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }
}

impl Refusals {
    pub(super) fn count(&self, outcome: Outcome, direction: Direction) {
        self.counts[direction as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Collector for Refusals {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Connections refused, by outcome.";
        let name = "adit_refused_connections";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for direction in Direction::ALL {
            for outcome in Outcome::ALL {
                let count = self.counts[direction as usize][outcome as usize].load(Ordering::Relaxed);
                if count > 0 {
                    let labels = [
                        ("outcome", outcomes::name(outcome)),
                        ("direction", direction.as_str()),
                    ];
                    counter(&mut family, &labels, count)?;
                }
            }
        }
        Ok(())
    }
}

/// The certificates that are held at the moment of the question, each with its expiry.
pub type HeldCertificates = dyn Fn() -> Vec<(Identity, SystemTime)> + Send + Sync;

/// When each certificate expires. Asked at every scrape, so that it is never out of date.
#[derive(Default)]
pub(super) struct Certificates {
    held: OnceLock<Box<HeldCertificates>>,
}

impl Certificates {
    pub(super) fn watch(&self, held: Box<HeldCertificates>) {
        // The first stays: a process has one certificate manager.
        let _ = self.held.set(held);
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "When the certificate of an identity expires, in Unix time.";
        let name = "adit_certificate_expiry_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (identity, expiry) in self.held.get().map(|held| held()).unwrap_or_default() {
            let seconds = expiry
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64();
            gauge(&mut family, &[("identity", Displayed(&identity))], seconds)?;
        }
        Ok(())
    }
}

/// What is known about each source of configuration.
#[derive(Default, Debug)]
pub(super) struct Configurations {
    sources: Mutex<BTreeMap<&'static str, Configuration>>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Configuration {
    applied: Option<Instant>,
    errors: u64,
}

impl Configurations {
    pub(super) fn applied(&self, source: &'static str, now: Instant) {
        lock(&self.sources).entry(source).or_default().applied = Some(now);
    }

    pub(super) fn error(&self, source: &'static str) {
        lock(&self.sources).entry(source).or_default().errors += 1;
    }
}

impl Collector for Configurations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sources = lock(&self.sources).clone();
        let help = "Seconds since configuration of a source was last applied.";
        let name = "adit_configuration_age_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (source, Configuration { applied, .. }) in &sources {
            if let Some(applied) = applied {
                gauge(
                    &mut family,
                    &[("source", *source)],
                    applied.elapsed().as_secs_f64(),
                )?;
            }
        }
        let help = "Configuration that could not be read, and resources that were rejected.";
        let name = "adit_configuration_errors";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (source, Configuration { errors, .. }) in &sources {
            counter(&mut family, &[("source", *source)], *errors)?;
        }
        Ok(())
    }
}

/// The worker threads and their runtimes.
#[derive(Default, Debug)]
pub(super) struct Workers {
    handles: Mutex<Vec<WorkerHandle>>,
    control: Mutex<Option<tokio::runtime::Handle>>,
}

/// A metric of one worker.
type OfWorker = (&'static str, &'static str, fn(&WorkerHandle) -> f64);

/// Tokio's own names, without `_total`, are what ztunnel's dashboards know; hence the type `unknown`.
const PER_WORKER: [OfWorker; 3] = [
    (
        "tokio_worker_total_busy_duration_seconds",
        "Time that a worker was busy.",
        |worker| {
            worker
                .runtime()
                .metrics()
                .worker_total_busy_duration(0)
                .as_secs_f64()
        },
    ),
    (
        "tokio_worker_park_count",
        "Times that a worker waited for work.",
        |worker| worker.runtime().metrics().worker_park_count(0) as f64,
    ),
    (
        "tokio_worker_park_unpark_count",
        "Times that a worker waited or was woken.",
        |worker| worker.runtime().metrics().worker_park_unpark_count(0) as f64,
    ),
];

impl Workers {
    pub(super) fn watch(&self, workers: &[WorkerHandle]) {
        *lock(&self.handles) = workers.to_vec();
        *lock(&self.control) = tokio::runtime::Handle::try_current().ok();
    }
}

impl Collector for Workers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let workers = lock(&self.handles).clone();
        let sum = |count: fn(&WorkerHandle) -> usize| workers.iter().map(count).sum::<usize>() as f64;
        let totals = [
            ("tokio_num_workers", "Worker threads.", workers.len() as f64),
            (
                "tokio_global_queue_depth",
                "Tasks that wait in the workers' injection queues.",
                { sum(|worker| worker.runtime().metrics().global_queue_depth()) },
            ),
            ("tokio_num_alive_tasks", "Tasks of the workers.", {
                sum(|worker| worker.runtime().metrics().num_alive_tasks())
            }),
        ];
        for (name, help, value) in totals {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&value)?;
        }
        let control = lock(&self.control)
            .as_ref()
            .map(|control| control.metrics().num_alive_tasks());
        let help = "Tasks of the control runtime, that of the scrape included.";
        let mut metric = encoder.encode_descriptor("adit_control_tasks", help, None, MetricType::Gauge)?;
        metric.encode_gauge(&(control.unwrap_or(0) as f64))?;
        for (name, help, value) in PER_WORKER {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
            for worker in &workers {
                let labels = [("worker", worker.index())];
                family.encode_family(&labels)?.encode_gauge(&value(worker))?;
            }
        }
        let help = "Load that a worker carries, in pods and connections.";
        let mut family = encoder.encode_descriptor("adit_worker_load", help, None, MetricType::Gauge)?;
        for worker in &workers {
            gauge(&mut family, &[("worker", worker.index())], worker.active() as f64)?;
        }
        Ok(())
    }
}

/// The process itself.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) build: Build,
    pub(super) log: log::Writer,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Always 1; the labels say what runs.";
        let mut family = encoder.encode_descriptor("istio_build", help, None, MetricType::Gauge)?;
        let labels = [
            ("component", self.build.component),
            ("tag", self.build.tag.as_str()),
        ];
        family.encode_family(&labels)?.encode_gauge(&1u64)?;
        // One descriptor is the listing's own.
        let open = std::fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1));
        if let Ok(open) = open {
            let help = "Descriptors that are open.";
            let mut metric = encoder.encode_descriptor("process_open_fds", help, None, MetricType::Gauge)?;
            metric.encode_gauge(&(open as u64))?;
        }
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let help = "Descriptors that may be open.";
            let mut metric = encoder.encode_descriptor("process_max_fds", help, None, MetricType::Gauge)?;
            metric.encode_gauge(&(soft as f64))?;
        }
        let counters = [
            (
                "adit_log_lines_dropped",
                "Log lines lost because the log could not keep up.",
                self.log.dropped(),
            ),
            ("adit_panics", "Defects that ended a task.", panics::count()),
        ];
        for (name, help, value) in counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}

/// Flow-control stalls by level.
#[derive(Debug)]
pub(super) struct Stalls(pub(super) PoolMetrics);

impl EncodeMetric for Stalls {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let levels = [
            ("stream", &self.0.stream_stalls),
            ("connection", &self.0.connection_stalls),
        ];
        for (level, stalls) in levels {
            stalls.encode(encoder.encode_family(&[("level", level)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// Spans that were lost, by the reason.
#[derive(Debug)]
pub(super) struct DroppedSpans(pub(super) SpanMetrics);

impl EncodeMetric for DroppedSpans {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let reasons = [
            ("queue_full", &self.0.queue_full),
            ("export_failed", &self.0.export_failed),
            ("rejected", &self.0.rejected),
            ("shutdown", &self.0.shutdown),
        ];
        for (reason, dropped) in reasons {
            dropped.encode(encoder.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

fn counter(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(labels)?)
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
