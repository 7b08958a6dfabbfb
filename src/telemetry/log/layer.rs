//! What `tracing` speaks to: formats an event and hands its bytes to the writer.
//!
//! Spans are not kept: what a line has to say about its connection stands in its own fields.

use std::cell::RefCell;
use std::fmt;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::format::Line;
use super::writer::Writer;

thread_local! {
    static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes events as lines.
#[derive(Debug)]
pub struct LogLayer {
    writer: Writer,
}

impl LogLayer {
    /// Writes to `writer`, in its format.
    pub fn new(writer: Writer) -> Self {
        Self { writer }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        with_buffer(|buffer| {
            let metadata = event.metadata();
            let mut line = Line::begin(
                buffer,
                self.writer.format(),
                SystemTime::now(),
                level_name(*metadata.level()),
                scope(metadata.target()),
            );
            // Text has the message first, wherever it stands among the fields of the event.
            event.record(&mut Message(&mut line));
            event.record(&mut Fields(&mut line));
            self.writer.append(line.end());
        });
    }
}

/// Lends this thread's line buffer. A line that is made while another one is (a `Display` that logs), or while the
/// thread ends, gets a buffer of its own.
pub(crate) fn with_buffer(write: impl FnOnce(&mut String)) {
    let mut write = Some(write);
    // Both errors leave `write` where it is.
    let _ = BUFFER.try_with(|buffer| {
        if let Ok(mut buffer) = buffer.try_borrow_mut()
            && let Some(write) = write.take()
        {
            write(&mut buffer);
        }
    });
    if let Some(write) = write {
        write(&mut String::new());
    }
}

/// The name of a level in Istio's spelling.
pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The module without the package's prefix: `adit_tunnel::pods` is `tunnel::pods`.
fn scope(target: &str) -> &str {
    target.strip_prefix("adit_").unwrap_or(target)
}

const MESSAGE: &str = "message";

struct Message<'a, 'b>(&'a mut Line<'b>);

impl Visit for Message<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            self.0.message(format_args!("{value:?}"));
        }
    }
}

struct Fields<'a, 'b>(&'a mut Line<'b>);

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != MESSAGE {
            self.0.plain(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != MESSAGE {
            self.0.quoted(field.name(), value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.quoted(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.number(field.name(), value);
    }
}

#[cfg(test)]
mod tests;
