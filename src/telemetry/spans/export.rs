//! Empties the queue: gathers batches, and tries each until it is taken, refused, or too old.
//!
//! While a batch is tried the queue fills, up to its bound, and then drops what comes: so a collector that is away
//! costs the memory of one queue and one batch. At the end of the process what waits is sent once more, until the
//! deadline of the drain.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::Span as Message;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tonic::transport::Channel;

use super::backoff::Backoff;
use super::collector::{Failed, InvalidCollector};
use super::convert;
use super::queue::Waiting;
use super::settings::Settings;
use crate::metrics::SpanMetrics;
use crate::runtime::drain::DrainWatcher;

/// What the last attempt leaves of the drain's time to tell about it.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Sends spans to the collector, once it is run.
#[derive(Debug)]
pub struct Exporter {
    settings: Settings,
    waiting: Waiting,
    metrics: SpanMetrics,
    client: Option<TraceServiceClient<Channel>>,
    /// Taken from the queue and not delivered yet.
    batch: Vec<Message>,
    backoff: Backoff,
}

impl Exporter {
    pub(super) fn new(settings: Settings, waiting: Waiting, metrics: SpanMetrics) -> Self {
        Self {
            settings,
            waiting,
            metrics,
            client: None,
            batch: Vec::new(),
            backoff: Backoff::default(),
        }
    }

    /// Checks what can be known before the first connection.
    ///
    /// # Errors
    /// A file of certificates that cannot be used.
    pub async fn check(&self) -> Result<(), InvalidCollector> {
        self.settings.collector.check().await
    }

    /// Runs until the drain, and then sends what waits until shortly before its deadline.
    pub async fn run(mut self, mut draining: DrainWatcher) {
        let deadline = tokio::select! {
            deadline = draining.started() => deadline,
            never = self.export() => match never {},
        };
        let until = deadline.checked_sub(LAST_WORDS).unwrap_or(deadline);
        // What an interrupted attempt had in hand is still in the batch.
        let _ = timeout_at(until, self.flush()).await;
        let lost = self.batch.len() + self.waiting.spans.len();
        if lost > 0 {
            self.metrics.shutdown.inc_by(lost as u64);
            tracing::warn!(
                spans = lost,
                "spans lost: the collector did not take them in time"
            );
        }
    }

    async fn export(&mut self) -> std::convert::Infallible {
        loop {
            self.gather().await;
            self.deliver().await;
        }
    }

    async fn flush(&mut self) {
        loop {
            self.fill();
            if self.batch.is_empty() || self.attempt().await.is_err() {
                return;
            }
        }
    }

    /// Waits until a span has waited for long enough, or a batch is complete.
    async fn gather(&mut self) {
        loop {
            if self.waiting.spans.len() < self.settings.batches.size {
                tokio::select! {
                    () = sleep(self.settings.batches.delay) => {}
                    () = self.waiting.batch.notified() => {}
                }
            }
            self.fill();
            if !self.batch.is_empty() {
                return;
            }
        }
    }

    fn fill(&mut self) {
        while self.batch.len() < self.settings.batches.size
            && let Ok(span) = self.waiting.spans.try_recv()
        {
            self.batch.push(convert::span(&span));
        }
    }

    /// Until the batch is taken, refused, or too old. Leaves none.
    async fn deliver(&mut self) {
        let given_up = Instant::now() + self.settings.batches.timeout;
        loop {
            let next = self.backoff.until().unwrap_or_else(Instant::now);
            sleep_until(next.min(given_up)).await;
            if next > given_up {
                return self.give_up();
            }
            match self.attempt().await {
                Ok(()) => return,
                Err(failed) if failed.retry => {}
                Err(_) => return self.give_up(),
            }
        }
    }

    fn give_up(&mut self) {
        self.metrics.export_failed.inc_by(self.batch.len() as u64);
        self.batch.clear();
    }

    /// Once, within its time. A connection on which it failed is not used again.
    async fn attempt(&mut self) -> Result<(), Failed> {
        let within = self.settings.collector.timeout;
        let result = timeout(within, self.send())
            .await
            .unwrap_or_else(|_| Err(Failed::later(format!("no answer within {within:?}"))));
        match result {
            Ok(rejected) => {
                let all = self.batch.len() as u64;
                let rejected = rejected.min(all);
                self.metrics.exported.inc_by(all - rejected);
                self.metrics.rejected.inc_by(rejected);
                self.batch.clear();
                if self.backoff.is_failing() {
                    tracing::info!(collector = %self.settings.collector.endpoint, "spans are exported again");
                }
                self.backoff.succeeded();
                Ok(())
            }
            Err(failed) => {
                self.client = None;
                self.tell(&failed);
                self.backoff.failed(Instant::now());
                Err(failed)
            }
        }
    }

    async fn send(&mut self) -> Result<u64, Failed> {
        let collector = &self.settings.collector;
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(collector.connect().await?),
        };
        let resource = convert::batch(&self.settings.resource, self.batch.clone());
        let request = ExportTraceServiceRequest {
            resource_spans: vec![resource],
        };
        collector.export(client, request).await
    }

    /// Aloud when it begins; an operator who knows is not told every few seconds.
    fn tell(&self, Failed { problem, .. }: &Failed) {
        let collector = &self.settings.collector.endpoint;
        if self.backoff.is_failing() {
            tracing::debug!(%collector, problem, "spans still cannot be exported");
        } else {
            tracing::warn!(%collector, problem, "spans cannot be exported; they are dropped once the queue is full, and counted");
        }
    }
}
