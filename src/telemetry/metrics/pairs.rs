//! The counters of each pair of workloads, looked up once and then held.
//!
//! A data path that hashes 27 strings for every connection (or worse, every read) spends more on counting than on
//! moving bytes. So a worker asks its own [`PairCache`], whose key is a few addresses; only when that does not know
//! the pair are labels built and looked up in the table of the process. What comes back are plain atomics.
//!
//! Many pods can share one series (labels name the workload, not the pod). A series therefore knows how many pods stand
//! behind either end; when the last one of an end has gone, the series goes an hour later, unless a new connection of
//! such a pod revives it. The hour lets a last scrape, and the `rate()` over it, see the final values.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adit_mesh::{Outcome, Text};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::labels::{Connection, ConnectionLabels, SeriesLabels};

/// How long the series of a pair stay after the pods of one end have gone.
pub const KEPT_AFTER_PODS_ARE_GONE: Duration = Duration::from_secs(3600);

/// The counters of all connections with the same labels. Shared by all workers; every method is an atomic addition,
/// but the end of a connection that failed, which takes a lock of this pair.
#[derive(Debug)]
pub struct PairMetrics {
    labels: ConnectionLabels,
    opened: AtomicU64,
    completed: AtomicU64,
    requested_bytes: AtomicU64,
    answered_bytes: AtomicU64,
    ended: Mutex<Vec<Ended>>,
    /// Its pods have gone: a new connection has to go through the table, which brings the series back.
    dormant: AtomicBool,
}

/// Connections that ended with other `response_flags` than `-`.
#[derive(Clone, Debug)]
struct Ended {
    response_flags: &'static str,
    closed: u64,
    failed: u64,
}

impl PairMetrics {
    fn new(labels: ConnectionLabels) -> Self {
        Self {
            labels,
            opened: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            requested_bytes: AtomicU64::new(0),
            answered_bytes: AtomicU64::new(0),
            ended: Mutex::default(),
            dormant: AtomicBool::new(false),
        }
    }

    /// A connection was opened. Every one of these needs one [`Self::closed`] later.
    pub fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// `bytes` went from the caller to the called: Istio's `istio_tcp_received_bytes_total`, whichever end reports.
    pub fn request_bytes(&self, bytes: u64) {
        self.requested_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `bytes` went from the called to the caller: Istio's `istio_tcp_sent_bytes_total`, whichever end reports.
    pub fn response_bytes(&self, bytes: u64) {
        self.answered_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A connection that was opened has ended.
    pub fn closed(&self, outcome: Outcome) {
        if outcome.is_success() {
            self.completed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.ended(outcome, |ended| ended.closed += 1);
        }
    }

    /// A connection could not be established. It counts as opened and closed only if the caller says so too.
    pub fn failed(&self, outcome: Outcome) {
        self.ended(outcome, |ended| ended.failed += 1);
    }

    /// How many connections are open.
    pub fn live(&self) -> u64 {
        let closed: u64 = self.lock_ended().iter().map(|ended| ended.closed).sum();
        let completed = self.completed.load(Ordering::Relaxed);
        self.opened
            .load(Ordering::Relaxed)
            .saturating_sub(closed + completed)
    }

    fn ended(&self, outcome: Outcome, count: impl FnOnce(&mut Ended)) {
        let response_flags = outcome.response_flags();
        let mut all = self.lock_ended();
        match all
            .iter_mut()
            .find(|ended| ended.response_flags == response_flags)
        {
            Some(ended) => count(ended),
            None => {
                let mut ended = Ended {
                    response_flags,
                    closed: 0,
                    failed: 0,
                };
                count(&mut ended);
                all.push(ended);
            }
        }
    }

    fn lock_ended(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table of all pairs of the process.
#[derive(Default, Debug)]
pub(super) struct Pairs {
    table: Mutex<Table>,
}

#[derive(Default, Debug)]
struct Table {
    series: HashMap<ByLabels, Pods>,
    by_pod: HashMap<Text, PodSeries>,
}

/// How many pods stand behind the ends of a series.
#[derive(Default, Debug)]
struct Pods {
    sources: usize,
    destinations: usize,
    gone_since: Option<Instant>,
}

/// The series that a pod takes part in.
#[derive(Default, Debug)]
struct PodSeries {
    as_source: Vec<Arc<PairMetrics>>,
    as_destination: Vec<Arc<PairMetrics>>,
}

/// A series that is found by its labels, which exist only once.
#[derive(Debug)]
struct ByLabels(Arc<PairMetrics>);

impl Pairs {
    pub(super) fn pair(&self, connection: &Connection) -> Arc<PairMetrics> {
        let labels = ConnectionLabels::new(connection);
        let mut table = self.lock();
        let Table { series, by_pod } = &mut *table;
        let pair = match series.get_key_value(&labels) {
            Some((known, _)) => Arc::clone(&known.0),
            None => Arc::new(PairMetrics::new(labels)),
        };
        let pods = series.entry(ByLabels(Arc::clone(&pair))).or_default();
        if let Some(source) = &connection.source {
            let pod = by_pod.entry(source.uid.clone()).or_default();
            pods.sources += usize::from(enlist(&mut pod.as_source, &pair));
        }
        if let Some(destination) = &connection.destination {
            let pod = by_pod.entry(destination.uid.clone()).or_default();
            pods.destinations += usize::from(enlist(&mut pod.as_destination, &pair));
        }
        pods.gone_since = None;
        pair.dormant.store(false, Ordering::Relaxed);
        pair
    }

    /// The pods that take part in series.
    pub(super) fn pods(&self) -> Vec<Text> {
        self.lock().by_pod.keys().cloned().collect()
    }

    pub(super) fn forget(&self, uid: &str, now: Instant) {
        let mut table = self.lock();
        let Some(pod) = table.by_pod.remove(uid) else {
            return;
        };
        let ends = [
            (
                pod.as_source,
                (|pods| &mut pods.sources) as fn(&mut Pods) -> &mut usize,
            ),
            (pod.as_destination, |pods| &mut pods.destinations),
        ];
        for (series, end) in ends {
            for pair in series {
                if let Some(pods) = table.series.get_mut(&pair.labels) {
                    let left = end(pods);
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        pods.gone_since.get_or_insert(now);
                        pair.dormant.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    pub(super) fn expire(&self, now: Instant) -> usize {
        let mut table = self.lock();
        let Table { series, by_pod } = &mut *table;
        let before = series.len();
        series.retain(|ByLabels(pair), pods| {
            let over = |since| now.saturating_duration_since(since) >= KEPT_AFTER_PODS_ARE_GONE;
            !(pods.gone_since.is_some_and(over) && pair.live() == 0)
        });
        let expired = before - series.len();
        if expired > 0 {
            by_pod.retain(|_, pod| {
                pod.as_source.retain(|pair| series.contains_key(&pair.labels));
                pod.as_destination
                    .retain(|pair| series.contains_key(&pair.labels));
                !(pod.as_source.is_empty() && pod.as_destination.is_empty())
            });
        }
        expired
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds `pair` to a pod's series; false if it was there.
fn enlist(series: &mut Vec<Arc<PairMetrics>>, pair: &Arc<PairMetrics>) -> bool {
    let new = !series.iter().any(|known| Arc::ptr_eq(known, pair));
    if new {
        series.push(Arc::clone(pair));
    }
    new
}

impl Borrow<ConnectionLabels> for ByLabels {
    fn borrow(&self) -> &ConnectionLabels {
        &self.0.labels
    }
}

impl PartialEq for ByLabels {
    fn eq(&self, other: &Self) -> bool {
        self.0.labels == other.0.labels
    }
}

impl Eq for ByLabels {}

impl Hash for ByLabels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.labels.hash(state);
    }
}

/// A counter that is never split by how connections ended.
type Counted = fn(&PairMetrics) -> &AtomicU64;

impl Collector for Pairs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Cloned, so that a worker with a new pair never waits for a scrape.
        let all: Vec<_> = self
            .lock()
            .series
            .keys()
            .map(|series| Arc::clone(&series.0))
            .collect();
        let plain: [(&str, &str, Counted); 3] = [
            (
                "istio_tcp_connections_opened",
                "TCP connections opened.",
                |pair| &pair.opened,
            ),
            (
                "istio_tcp_sent_bytes",
                "Bytes sent to the caller, in responses.",
                |pair| &pair.answered_bytes,
            ),
            (
                "istio_tcp_received_bytes",
                "Bytes received from the caller, in requests.",
                |pair| &pair.requested_bytes,
            ),
        ];
        for (name, help, counter) in plain {
            write_family(&mut encoder, name, help, &all, |pair, write| {
                write("-", counter(pair).load(Ordering::Relaxed))
            })?;
        }
        let closed = "TCP connections closed, by how they ended.";
        write_family(
            &mut encoder,
            "istio_tcp_connections_closed",
            closed,
            &all,
            |pair, write| {
                write("-", pair.completed.load(Ordering::Relaxed))?;
                let ended = pair.lock_ended().clone();
                ended
                    .iter()
                    .filter(|e| e.closed > 0)
                    .try_for_each(|e| write(e.response_flags, e.closed))
            },
        )?;
        let failed = "TCP connections that could not be established, by the reason.";
        write_family(
            &mut encoder,
            "istio_tcp_connections_failed",
            failed,
            &all,
            |pair, write| {
                let ended = pair.lock_ended().clone();
                ended
                    .iter()
                    .filter(|e| e.failed > 0)
                    .try_for_each(|e| write(e.response_flags, e.failed))
            },
        )
    }
}

/// Writes one family: `values` calls its second argument with the flags and value of each series of a pair.
fn write_family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    pairs: &[Arc<PairMetrics>],
    values: impl Fn(&PairMetrics, &mut dyn FnMut(&'static str, u64) -> fmt::Result) -> fmt::Result,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for pair in pairs {
        values(pair, &mut |response_flags, value| {
            let labels = SeriesLabels {
                connection: &pair.labels,
                response_flags,
            };
            ConstCounter::new(value).encode(family.encode_family(&labels)?)
        })?;
    }
    Ok(())
}

/// The pairs that one worker has met lately. Belongs to that worker, hence not `Send`.
#[derive(Debug)]
pub struct PairCache {
    pairs: Arc<Pairs>,
    known: HashMap<Connection, Arc<PairMetrics>>,
    stays: PhantomData<*const ()>,
}

impl PairCache {
    /// About 1 MiB; more pairs than most nodes ever have at once.
    const LARGEST: usize = 4096;

    pub(super) fn new(pairs: Arc<Pairs>) -> Self {
        Self {
            pairs,
            known: HashMap::new(),
            stays: PhantomData,
        }
    }

    /// The counters of `connection`, without a lock if this worker knows them.
    pub fn pair(&mut self, connection: &Connection) -> Arc<PairMetrics> {
        if let Some(pair) = self.known.get(connection)
            && !pair.dormant.load(Ordering::Relaxed)
        {
            return Arc::clone(pair);
        }
        if self.known.len() >= Self::LARGEST {
            self.sweep();
        }
        let pair = self.pairs.pair(connection);
        self.known.insert(connection.clone(), Arc::clone(&pair));
        pair
    }

    /// Drops what belongs to snapshots of the past; if that is not enough, everything.
    pub fn sweep(&mut self) {
        self.known
            .retain(|connection, pair| !connection.is_outdated() && !pair.dormant.load(Ordering::Relaxed));
        if self.known.len() > Self::LARGEST / 2 {
            self.known.clear();
        }
    }
}

#[cfg(test)]
mod tests;
