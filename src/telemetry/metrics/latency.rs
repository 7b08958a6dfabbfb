//! Values with more than one counter behind them: a histogram without a lock, and a metric per direction.
//!
//! The histogram of `prometheus-client` takes a mutex for every observation. Workers would meet there on every
//! connection, so this one is an array of atomics; a scrape may see an observation in the sum and not yet in its
//! bucket, which Prometheus' arithmetic does not notice.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::Direction;

/// Upper bounds in seconds: from a hop within the node to the longest deadline of a connection's set-up.
const BOUNDS: [f64; 13] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// A histogram of durations. Clones are the same histogram.
#[derive(Clone, Default, Debug)]
pub struct Latency {
    shared: Arc<Counts>,
}

#[derive(Default, Debug)]
struct Counts {
    /// One per bound, and one for what is above all of them.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Latency {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.shared.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.shared.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut count = 0;
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds
            .zip(&self.shared.buckets)
            .map(|(bound, bucket)| {
                let observed = bucket.load(Ordering::Relaxed);
                count += observed;
                (bound, observed)
            })
            .collect();
        let sum = Duration::from_nanos(self.shared.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// A metric for each direction, with the label `reporter`.
#[derive(Clone, Default, Debug)]
pub struct ByDirection<M> {
    outbound: M,
    inbound: M,
}

impl<M> Index<Direction> for ByDirection<M> {
    type Output = M;

    fn index(&self, direction: Direction) -> &M {
        match direction {
            Direction::Outbound => &self.outbound,
            Direction::Inbound => &self.inbound,
        }
    }
}

impl<M: EncodeMetric> EncodeMetric for ByDirection<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for direction in Direction::ALL {
            let labels = [("reporter", direction.reporter())];
            self[direction].encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.outbound.metric_type()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn counts_a_duration_in_its_bucket_and_in_all_above() {
        let latency = Latency::default();
        let mut registry = Registry::default();
        registry.register("x", "A test", latency.clone());
        for milliseconds in [1, 3, 20_000] {
            latency.observe(Duration::from_millis(milliseconds));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("into a string");
        for line in [
            "x_sum 20.004",
            "x_count 3",
            "x_bucket{le=\"0.0005\"} 0",
            "x_bucket{le=\"0.001\"} 1",
            "x_bucket{le=\"0.005\"} 2",
            "x_bucket{le=\"10.0\"} 2",
            "x_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
