//! From a connection to a span of OpenTelemetry: pure, so that tests compare values.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions where those have one (`source.*`,
//! `destination.*`, `network.*`, `tls.*`, `service.peer.*`, `error.type`), and `adit.*` where they have none. Everything
//! with a length that a peer chooses is cut.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_mesh::{Text, Workload};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Message, SpanFlags, Status};

use super::span::{Party, Phase, Span, cut};
use crate::Direction;
use crate::outcomes;

/// The flag of W3C Trace Context for what is sampled.
const SAMPLED: u32 = 1;

/// Every attribute of a span, as `SPANS.md` lists them.
pub const ATTRIBUTES: [&str; 32] = [
    "network.transport",
    "network.type",
    "network.peer.address",
    "network.peer.port",
    "source.address",
    "source.port",
    "destination.address",
    "destination.port",
    "tls.established",
    "tls.protocol.version",
    "service.peer.name",
    "service.peer.namespace",
    "error.type",
    "adit.outcome",
    "adit.response_flags",
    "adit.policy",
    "adit.tunnel.reused",
    "adit.request_bytes",
    "adit.response_bytes",
    "adit.source.identity",
    "adit.source.workload",
    "adit.source.namespace",
    "adit.source.cluster",
    "adit.source.service",
    "adit.source.revision",
    "adit.destination.identity",
    "adit.destination.workload",
    "adit.destination.namespace",
    "adit.destination.cluster",
    "adit.destination.service",
    "adit.destination.revision",
    "adit.destination.hostname",
];

/// Every event of a span, as `SPANS.md` lists them.
pub const EVENTS: [&str; 6] = [
    "adit.routed",
    "adit.authorized",
    "adit.tcp_connected",
    "adit.tls_established",
    "adit.connect_answered",
    "adit.first_byte",
];

/// A batch as the protocol has it, with what is said about this process.
pub(super) fn batch(resource: &[(String, String)], spans: Vec<Message>) -> ResourceSpans {
    let attributes = resource
        .iter()
        .map(|(name, value)| attribute(name, Value::StringValue(value.clone())))
        .collect();
    ResourceSpans {
        resource: Some(Resource {
            attributes,
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "adit".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

/// The span of a connection.
pub(super) fn span(span: &Span) -> Message {
    let context = &span.context;
    let start = nanoseconds(span.started);
    let mut flags = SAMPLED;
    if context.parent.is_some() {
        // It came over the network.
        flags |= SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32;
    }
    Message {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: context.span.to_be_bytes().to_vec(),
        parent_span_id: context
            .parent
            .map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
        flags,
        name: name(span),
        kind: match span.direction {
            Direction::Outbound => SpanKind::Client,
            Direction::Inbound => SpanKind::Server,
        } as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: after(start, span.duration),
        attributes: attributes(span),
        events: span.phases.iter().map(|passed| event(start, *passed)).collect(),
        status: status(span),
        ..Message::default()
    }
}

/// Of few different values, so that tools can group by it: the service, else the workload's.
fn name(span: &Span) -> String {
    let called = match (&span.service, &span.destination.workload) {
        (Some(service), _) => service.key.hostname.as_str(),
        (None, Some(workload)) => workload.canonical_name.as_str(),
        (None, None) => "",
    };
    match called {
        "" => "tcp".to_owned(),
        called => format!("tcp {}", cut(called)),
    }
}

/// Nothing is said about success: that is for the application to say (Trace API, "Set Status").
fn status(span: &Span) -> Option<Status> {
    if span.outcome.is_success() {
        return None;
    }
    let text = span.outcome.facts().text;
    Some(Status {
        message: cut(span.error.as_deref().unwrap_or(text)).to_owned(),
        code: StatusCode::Error as i32,
    })
}

fn event(start: u64, (phase, passed): (Phase, Duration)) -> Event {
    Event {
        time_unix_nano: after(start, passed),
        name: EVENTS[phase as usize].to_owned(),
        ..Event::default()
    }
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::with_capacity(ATTRIBUTES.len()));
    network(&mut all, span);
    all.text("adit.outcome", outcomes::name(span.outcome));
    all.text("adit.response_flags", span.outcome.response_flags());
    if !span.outcome.is_success() {
        all.text("error.type", outcomes::name(span.outcome));
    }
    if let Some(policy) = &span.policy {
        all.shown("adit.policy", policy);
    }
    if let Some(reused) = span.tunnel_reused {
        all.push("adit.tunnel.reused", Value::BoolValue(reused));
    }
    all.number("adit.request_bytes", span.request_bytes);
    all.number("adit.response_bytes", span.response_bytes);
    if let Some(service) = &span.service {
        all.text("adit.destination.hostname", &service.key.hostname);
    }
    party(&mut all, &SOURCE, &span.source);
    party(&mut all, &DESTINATION, &span.destination);
    let peer = match span.direction {
        Direction::Outbound => &span.destination,
        Direction::Inbound => &span.source,
    };
    if let Some(workload) = &peer.workload {
        all.known("service.peer.name", &workload.canonical_name);
        all.known("service.peer.namespace", workload.namespace());
    }
    all.0
}

fn network(all: &mut Attributes, span: &Span) {
    all.text("network.transport", "tcp");
    let peer = match span.direction {
        Direction::Outbound => span.tunnel.or(span.destination.address),
        Direction::Inbound => span.source.address,
    };
    if let Some(peer) = peer {
        let family = match peer.ip().to_canonical() {
            IpAddr::V4(_) => "ipv4",
            IpAddr::V6(_) => "ipv6",
        };
        all.text("network.type", family);
        all.socket("network.peer.address", "network.peer.port", peer);
    }
    if let Some(source) = span.source.address {
        all.socket("source.address", "source.port", source);
    }
    if let Some(destination) = span.destination.address {
        all.socket("destination.address", "destination.port", destination);
    }
    let tls = span.tunnel.is_some() && span.source.identity.is_some();
    all.push("tls.established", Value::BoolValue(tls));
    if tls {
        // The mesh speaks no other.
        all.text("tls.protocol.version", "1.3");
    }
}

struct Names {
    identity: &'static str,
    workload: &'static str,
    namespace: &'static str,
    cluster: &'static str,
    service: &'static str,
    revision: &'static str,
}

const SOURCE: Names = Names {
    identity: "adit.source.identity",
    workload: "adit.source.workload",
    namespace: "adit.source.namespace",
    cluster: "adit.source.cluster",
    service: "adit.source.service",
    revision: "adit.source.revision",
};

const DESTINATION: Names = Names {
    identity: "adit.destination.identity",
    workload: "adit.destination.workload",
    namespace: "adit.destination.namespace",
    cluster: "adit.destination.cluster",
    service: "adit.destination.service",
    revision: "adit.destination.revision",
};

fn party(all: &mut Attributes, names: &Names, party: &Party) {
    if let Some(identity) = &party.identity {
        all.shown(names.identity, identity);
    }
    if let Some(workload) = &party.workload {
        all.known(names.workload, workload_name(workload));
        all.known(names.namespace, workload.namespace());
        all.known(names.cluster, &workload.cluster);
        all.known(names.service, &workload.canonical_name);
        all.known(names.revision, &workload.canonical_revision);
    }
}

/// A workload without a name of its own is still recognised by what it belongs to, as in the access log.
fn workload_name(workload: &Workload) -> &Text {
    if workload.name.is_empty() {
        &workload.canonical_name
    } else {
        &workload.name
    }
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn push(&mut self, name: &'static str, value: Value) {
        self.0.push(attribute(name, value));
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.push(name, Value::StringValue(cut(value).to_owned()));
    }

    fn shown(&mut self, name: &'static str, value: &impl Display) {
        self.text(name, &value.to_string());
    }

    fn known(&mut self, name: &'static str, value: &Text) {
        if !value.is_empty() {
            self.text(name, value);
        }
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.push(name, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn socket(&mut self, address: &'static str, port: &'static str, socket: SocketAddr) {
        self.shown(address, &socket.ip().to_canonical());
        self.number(port, u64::from(socket.port()));
    }
}

fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Since 1970; a clock that stands before it counts as standing at it.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    after(0, since)
}

fn after(start: u64, duration: Duration) -> u64 {
    start.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
