//! One span about each sampled connection, for a collector that speaks OTLP over gRPC. The table of all that a span
//! says is `SPANS.md` beside this file; a test compares the two.
//!
//! Whether a connection is sampled is decided from its trace id before anything else is known ([`Sampler`]): one that
//! is not costs a comparison, and where no collector is configured there is no [`Spans`] to ask. A sampled connection
//! notes the moments that it passes ([`Recording`]) and, when it ends, hands a value to a bounded queue without
//! waiting. Everything else happens on the control runtime: the [`Exporter`] makes the spans of OpenTelemetry,
//! gathers them in batches and sends them. A collector that is slow or away costs the spans that do not fit, each of
//! them counted, and nothing else. We need none of OpenTelemetry's SDK for that, only the messages of its protocol.

mod backoff;
mod collector;
mod convert;
mod export;
mod queue;
mod sampler;
mod settings;
mod span;

pub use collector::InvalidCollector;
pub use convert::{ATTRIBUTES, EVENTS};
pub use export::Exporter;
pub use queue::{Spans, queue};
pub use sampler::{Ratio, Root, Sampler};
pub use settings::{Batches, Collector, Settings, Tls};
pub use span::{Context, Party, Phase, Recording, Span, cut};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
