//! One line about every connection, however it ended, with the fields of ztunnel's access log and a few of ours.
//!
//! `bytes_sent` and `bytes_recv` are seen from the pod of this line: what an outbound connection sent is the request,
//! what an inbound one sent is the response. (Istio's metrics are not seen from there: `metrics::pairs`.)
//!
//! The line is written straight into a buffer of the thread, from borrowed values: no fields of `tracing`, no strings
//! of its own. Scope and levels are those of the log, so `access=off` turns it off and `access=error` leaves failures.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use adit_mesh::{Identity, Outcome, Service, Text, Workload};
use tracing::Level;

use crate::Direction;
use crate::log::Writer;
use crate::log::format::{Format, Line};
use crate::log::layer::{level_name, with_buffer};
use crate::outcomes;

/// The scope of the access log, by which its level is set.
pub const SCOPE: &str = "access";

/// Everything that a line says. What is `None` is left out.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Which end we are.
    pub direction: Direction,
    /// How the connection ended.
    pub outcome: Outcome,
    /// Who called.
    pub source: Party<'a>,
    /// Who was called: the endpoint's address, or the addressed one where no endpoint was chosen.
    pub destination: Party<'a>,
    /// What the CONNECT asked for, where HBONE was used.
    pub hbone_address: Option<&'a dyn Display>,
    /// The service that was addressed.
    pub service: Option<&'a Service>,
    /// Bytes from the caller to the called.
    pub request_bytes: u64,
    /// Bytes from the called to the caller.
    pub response_bytes: u64,
    /// From accept to the end.
    pub duration: Duration,
    /// What went wrong, in more detail than the outcome's own words, which stand in where this is `None`.
    pub error: Option<&'a dyn Display>,
    /// The policy, and the rule of it, that decided; or the nearest miss.
    pub policy: Option<&'a dyn Display>,
    /// The trace identifier of `traceparent`.
    pub trace: Option<&'a dyn Display>,
}

/// One end of a connection, as far as it is known.
#[derive(Clone, Copy)]
pub struct Party<'a> {
    /// Its address, where there is one.
    pub address: Option<SocketAddr>,
    /// The workload.
    pub workload: Option<&'a Workload>,
    /// The identity it proved, where mutual TLS was used.
    pub identity: Option<&'a Identity>,
}

impl<'a> Record<'a> {
    /// A record of a connection that ended like this before anything else was known.
    pub fn new(direction: Direction, outcome: Outcome, source: Option<SocketAddr>) -> Self {
        let nobody = Party {
            address: None,
            workload: None,
            identity: None,
        };
        Self {
            direction,
            outcome,
            source: Party {
                address: source,
                ..nobody
            },
            destination: nobody,
            hbone_address: None,
            service: None,
            request_bytes: 0,
            response_bytes: 0,
            duration: Duration::ZERO,
            error: None,
            policy: None,
            trace: None,
        }
    }

    fn level(&self) -> Level {
        if self.outcome.is_success() {
            Level::INFO
        } else {
            Level::ERROR
        }
    }
}

/// Writes access lines.
#[derive(Clone, Debug)]
pub struct AccessLog {
    writer: Writer,
}

impl AccessLog {
    /// Writes to `writer`, in its format.
    pub fn new(writer: Writer) -> Self {
        Self { writer }
    }

    /// Writes the line of a connection that has just ended, unless the level of [`SCOPE`] hides it. Never blocks.
    pub fn write(&self, record: &Record<'_>) {
        let said = match record.level() {
            Level::ERROR => tracing::enabled!(target: SCOPE, Level::ERROR),
            _ => tracing::enabled!(target: SCOPE, Level::INFO),
        };
        if said {
            with_buffer(|buffer| {
                self.writer
                    .append(format(buffer, self.writer.format(), record, SystemTime::now()));
            });
        }
    }
}

/// The line of `record`, in `buffer`.
fn format<'b>(buffer: &'b mut String, format: Format, record: &Record<'_>, now: SystemTime) -> &'b [u8] {
    let mut line = Line::begin(buffer, format, now, level_name(record.level()), SCOPE);
    line.message(if record.outcome.is_success() {
        "connection complete"
    } else {
        "connection failed"
    });
    party(&mut line, &SOURCE, &record.source);
    if let Some(address) = record.destination.address {
        line.plain("dst.addr", address);
    }
    if let Some(address) = record.hbone_address {
        line.plain("dst.hbone_addr", address);
    }
    if let Some(service) = record.service {
        line.quoted("dst.service", &service.key.hostname);
    }
    let destination = Party {
        address: None,
        ..record.destination
    };
    party(&mut line, &DESTINATION, &destination);
    ending(&mut line, record);
    line.end()
}

fn ending(line: &mut Line<'_>, record: &Record<'_>) {
    let (sent, received) = match record.direction {
        Direction::Outbound => (record.request_bytes, record.response_bytes),
        Direction::Inbound => (record.response_bytes, record.request_bytes),
    };
    line.quoted("direction", record.direction);
    line.number("bytes_sent", sent);
    line.number("bytes_recv", received);
    line.quoted("duration", format_args!("{}ms", record.duration.as_millis()));
    let facts = record.outcome.facts();
    if !record.outcome.is_success() {
        match record.error {
            Some(error) => line.quoted("error", error),
            None => line.quoted("error", facts.text),
        }
    }
    line.quoted("outcome", outcomes::name(record.outcome));
    line.quoted("response_flags", facts.response_flags);
    if let Some(policy) = record.policy {
        line.quoted("policy", policy);
    }
    if let Some(trace) = record.trace {
        line.quoted("trace_id", trace);
    }
}

struct Names {
    address: &'static str,
    workload: &'static str,
    namespace: &'static str,
    identity: &'static str,
    cluster: &'static str,
}

const SOURCE: Names = Names {
    address: "src.addr",
    workload: "src.workload",
    namespace: "src.namespace",
    identity: "src.identity",
    cluster: "src.cluster",
};

const DESTINATION: Names = Names {
    address: "dst.addr",
    workload: "dst.workload",
    namespace: "dst.namespace",
    identity: "dst.identity",
    cluster: "dst.cluster",
};

fn party(line: &mut Line<'_>, names: &Names, party: &Party<'_>) {
    if let Some(address) = party.address {
        line.plain(names.address, address);
    }
    if let Some(workload) = party.workload {
        // A workload without a name of its own is still recognised by what it belongs to.
        let name = if workload.name.is_empty() {
            &workload.canonical_name
        } else {
            &workload.name
        };
        known(line, names.workload, name);
        known(line, names.namespace, workload.namespace());
    }
    if let Some(identity) = party.identity {
        line.quoted(names.identity, identity);
    }
    if let Some(workload) = party.workload {
        known(line, names.cluster, &workload.cluster);
    }
}

fn known(line: &mut Line<'_>, name: &str, value: &Text) {
    if !value.is_empty() {
        line.quoted(name, value);
    }
}

#[cfg(test)]
mod tests;
