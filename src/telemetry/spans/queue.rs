//! The way of a span from a worker to the exporter: bounded, and a worker never waits in it.
//!
//! The exporter looks at the queue once in a while instead of waiting for the next span, so that a worker does not wake
//! another thread for each; it does so only when there is a whole batch.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::export::Exporter;
use super::sampler::Sampler;
use super::settings::Settings;
use super::span::Span;
use crate::metrics::SpanMetrics;

/// Where connections ask whether they are sampled, and hand their spans to. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Spans {
    /// Which connections are told.
    pub sampler: Sampler,
    sender: Sender<Span>,
    batch: Arc<Notify>,
    size: usize,
    metrics: SpanMetrics,
}

/// The exporter's end.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) spans: Receiver<Span>,
    pub(super) batch: Arc<Notify>,
}

/// A queue, and what empties it once it is run.
pub fn queue(settings: Settings, metrics: SpanMetrics) -> (Spans, Exporter) {
    let (sender, receiver) = channel(settings.batches.queue);
    let batch = Arc::new(Notify::new());
    let spans = Spans {
        sampler: settings.sampler,
        sender,
        batch: batch.clone(),
        size: settings.batches.size,
        metrics: metrics.clone(),
    };
    let waiting = Waiting {
        spans: receiver,
        batch,
    };
    (spans, Exporter::new(settings, waiting, metrics))
}

impl Spans {
    /// Takes the span of a connection that has ended, if there is room, and never waits.
    pub fn tell(&self, span: Span) {
        match self.sender.try_send(span) {
            Ok(()) => {
                let waiting = self.sender.max_capacity() - self.sender.capacity();
                if waiting.is_multiple_of(self.size) {
                    self.batch.notify_one();
                }
            }
            Err(TrySendError::Full(_)) => {
                self.metrics.queue_full.inc();
            }
            // The exporter has ended, because the process does.
            Err(TrySendError::Closed(_)) => {
                self.metrics.shutdown.inc();
            }
        }
    }
}
