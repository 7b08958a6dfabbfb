//! What a tunnel says about connections from some moment on: access-log lines, and by how much a counter rose.

use adit::lab::observe::{Mark, Metrics};
use anyhow::ensure;
use serde_json::Value;

use crate::harness::tunnels::Tunnel;

/// Connections opened.
pub const OPENED: &str = "istio_tcp_connections_opened_total";
/// Connections that were opened and have ended.
pub const CLOSED: &str = "istio_tcp_connections_closed_total";
/// Connections that could not be established.
pub const FAILED: &str = "istio_tcp_connections_failed_total";

/// A tunnel that is watched since some moment.
#[derive(Debug)]
pub struct Watch<'a> {
    tunnel: &'a Tunnel,
    mark: Mark,
    before: Metrics,
}

impl<'a> Watch<'a> {
    /// Watches a tunnel from now on.
    ///
    /// # Errors
    /// Its log or its metrics cannot be read.
    pub fn begin(tunnel: &'a Tunnel) -> anyhow::Result<Self> {
        Ok(Self {
            tunnel,
            mark: tunnel.mark()?,
            before: tunnel.metrics()?,
        })
    }

    /// Waits for the line of a connection that ended in order.
    ///
    /// # Errors
    /// There is none in time.
    pub fn completed(&self, direction: &str, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
        let line = self.line(direction, "completed", fields)?;
        ensure!(
            line["response_flags"] == "-" && line["error"].is_null(),
            "an error in {line}"
        );
        Ok(line)
    }

    /// Waits for the line of a connection that ended like this.
    ///
    /// # Errors
    /// There is none in time.
    pub fn line(&self, direction: &str, outcome: &str, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
        let both = [("direction", direction), ("outcome", outcome)];
        let all: Vec<_> = both.iter().chain(fields).copied().collect();
        self.tunnel.access(self.mark, &all)
    }

    /// Waits for the line of a connection that ended like this, and says this in its error. Lines of what went before may
    /// still come in: they say something else.
    ///
    /// # Errors
    /// There is none in time.
    pub fn line_that_says(&self, direction: &str, outcome: &str, says: &str) -> anyhow::Result<Value> {
        let direction = format!("\"direction\":\"{direction}\"");
        let outcome = format!("\"outcome\":\"{outcome}\"");
        let words = ["\"scope\":\"access\"", &direction, &outcome, says];
        let line: Value = serde_json::from_str(&self.tunnel.line(self.mark, &words)?)?;
        let error = line["error"].as_str().unwrap_or_default();
        ensure!(error.contains(says), "the reason does not say {says:?}: {line}");
        Ok(line)
    }

    /// Waits until a counter has risen by at least so much.
    ///
    /// # Errors
    /// It has not in time.
    pub fn risen(&self, counter: &str, labels: &[(&str, &str)], by: u32) -> anyhow::Result<()> {
        let before = self.before.sum(counter, labels);
        self.tunnel.wait_metric(counter, labels, before + f64::from(by))
    }

    /// By how much a counter has risen so far.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub fn rise(&self, counter: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
        Ok(self.tunnel.metrics()?.sum(counter, labels) - self.before.sum(counter, labels))
    }
}

/// A field of an access line that has to be there.
///
/// # Errors
/// It is another, or missing: the error shows the line.
pub fn expect(line: &Value, fields: &[(&str, &str)]) -> anyhow::Result<()> {
    for (name, value) in fields {
        ensure!(line[name] == *value, "{name} is not {value:?} in {line}");
    }
    Ok(())
}
