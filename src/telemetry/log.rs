//! The log: every line of the process, its own and those of connections, in Istio's format.
//!
//! A line is formatted by the thread that has something to say, into a buffer which that thread keeps; [`writer`]
//! takes the bytes to their destination on a thread of its own and drops, counted, what does not fit. [`format`]
//! knows the two shapes of a line, [`layer`] is what `tracing` speaks to, [`levels`] decides what is said at all.

pub mod format;
pub mod layer;
pub mod levels;
pub mod writer;

use std::io::Write;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use format::Format;
pub use levels::{InvalidLevels, Levels};
pub use writer::{Flush, Writer};

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `RUST_LOG` cannot be understood.
    #[error("RUST_LOG: {0}")]
    Levels(#[from] InvalidLevels),
    /// No thread for the writer.
    #[error("the log's writer thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
    /// Something else already takes the events of this process.
    #[error("the log of this process was already started")]
    Started,
}

/// The log of a process.
#[derive(Debug)]
pub struct Log {
    /// Where lines go.
    pub writer: Writer,
    /// What is said; can be changed at any time.
    pub levels: Levels,
    /// Writes what is left when it is dropped: keep it until the very end of `main`.
    pub flush: Flush,
}

impl Log {
    /// Starts the log of this process. `directives` are those of `RUST_LOG`, or `None` for the default.
    ///
    /// # Errors
    /// Those of [`LogError`].
    pub fn start(
        format: Format,
        directives: Option<&str>,
        sink: impl Write + Send + 'static,
    ) -> Result<Self, LogError> {
        let (filter, levels) = Levels::new(directives)?;
        let (writer, flush) = Writer::start(format, sink).map_err(LogError::Thread)?;
        tracing_subscriber::registry()
            .with(filter)
            .with(layer::LogLayer::new(writer.clone()))
            .try_init()
            .map_err(|_| LogError::Started)?;
        Ok(Self {
            writer,
            levels,
            flush,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_with_levels_that_are_none_does_not_start() {
        let error = Log::start(Format::Text, Some("info,loud"), std::io::sink()).expect_err("no level");
        assert_eq!(
            error.to_string(),
            "RUST_LOG: \"loud\" is no level: give off, error, warn, info, debug or trace, or <scope>=<level>"
        );
    }
}
