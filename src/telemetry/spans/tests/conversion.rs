//! From a connection to a span of OpenTelemetry.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Message;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::super::fixtures::{TRACE, denied, outbound, socket};
use super::super::{ATTRIBUTES, EVENTS, Party, Span, convert};

fn attributes(message: &Message) -> BTreeMap<&str, String> {
    let value = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(is) => is.to_string(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    message
        .attributes
        .iter()
        .map(|attribute| {
            let any = attribute.value.as_ref().expect("a value");
            (
                attribute.key.as_str(),
                value(any.value.as_ref().expect("a value")),
            )
        })
        .collect()
}

#[test]
fn an_outbound_connection_is_the_root_of_its_trace_and_tells_everything() {
    let message = convert::span(&outbound());
    assert_eq!(message.trace_id, TRACE.to_be_bytes());
    assert_eq!(message.span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    assert!(message.parent_span_id.is_empty());
    assert_eq!(message.flags, 1);
    assert_eq!(message.kind(), SpanKind::Client);
    assert_eq!(message.name, "tcp ledger.bank.svc.cluster.local");
    assert_eq!(message.start_time_unix_nano, 1_800_000_000_000_000_000);
    assert_eq!(message.end_time_unix_nano, 1_800_000_000_020_000_000);
    assert_eq!(message.status, None);
    let expected = [
        ("network.transport", "tcp"),
        ("network.type", "ipv4"),
        ("network.peer.address", "10.0.2.3"),
        ("network.peer.port", "15008"),
        ("source.address", "10.0.1.2"),
        ("source.port", "40000"),
        ("destination.address", "10.0.2.3"),
        ("destination.port", "8080"),
        ("tls.established", "true"),
        ("tls.protocol.version", "1.3"),
        ("service.peer.name", "ledger"),
        ("service.peer.namespace", "bank"),
        ("adit.outcome", "completed"),
        ("adit.response_flags", "-"),
        ("adit.tunnel.reused", "false"),
        ("adit.request_bytes", "100"),
        ("adit.response_bytes", "2000"),
        ("adit.source.identity", "spiffe://cluster.local/ns/bank/sa/web"),
        ("adit.source.workload", "web-1"),
        ("adit.source.namespace", "bank"),
        ("adit.source.cluster", "lab"),
        ("adit.source.service", "web"),
        ("adit.source.revision", "v1"),
        (
            "adit.destination.identity",
            "spiffe://cluster.local/ns/bank/sa/ledger",
        ),
        ("adit.destination.workload", "ledger-1"),
        ("adit.destination.namespace", "bank"),
        ("adit.destination.cluster", "lab"),
        ("adit.destination.service", "ledger"),
        ("adit.destination.revision", "v1"),
        ("adit.destination.hostname", "ledger.bank.svc.cluster.local"),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(name, value)| (name, value.to_owned())).into();
    assert_eq!(attributes(&message), expected);
    let events: Vec<_> = message
        .events
        .iter()
        .map(|event| {
            (
                event.name.as_str(),
                event.time_unix_nano - message.start_time_unix_nano,
            )
        })
        .collect();
    let expected = [
        ("adit.routed", 1_000_000),
        ("adit.tcp_connected", 2_000_000),
        ("adit.tls_established", 3_000_000),
        ("adit.connect_answered", 4_000_000),
        ("adit.first_byte", 5_000_000),
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_refusal_is_an_error_and_a_child_of_the_sources_span() {
    let message = convert::span(&denied());
    assert_eq!(message.trace_id, TRACE.to_be_bytes());
    assert_eq!(
        message.parent_span_id,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
    );
    assert_eq!(message.flags, 0x301, "sampled, and the parent is remote");
    assert_eq!(message.kind(), SpanKind::Server);
    assert_eq!(message.name, "tcp ledger");
    let status = message.status.clone().expect("an error");
    assert_eq!(status.code(), StatusCode::Error);
    assert_eq!(status.message, "denied by bank/only-tellers");
    let told = attributes(&message);
    assert_eq!(told["error.type"], "policy_denied");
    assert_eq!(told["adit.outcome"], "policy_denied");
    assert_eq!(told["network.peer.address"], "10.0.1.2");
    assert_eq!(told["service.peer.name"], "web");
}

#[test]
fn without_a_better_word_the_outcomes_own_is_the_status() {
    let span = Span {
        error: None,
        ..denied()
    };
    let status = convert::span(&span).status.expect("an error");
    assert_eq!(status.message, span.outcome.facts().text);
}

#[test]
fn what_is_not_known_is_left_out() {
    let span = Span {
        source: Party {
            address: Some(socket("[fd00::1]:1")),
            ..Party::default()
        },
        destination: Party::default(),
        tunnel: None,
        service: None,
        policy: None,
        ..denied()
    };
    let message = convert::span(&span);
    assert_eq!(message.name, "tcp");
    let told = attributes(&message);
    assert_eq!(told["network.type"], "ipv6");
    assert_eq!(told["source.address"], "fd00::1");
    assert_eq!(told["tls.established"], "false");
    assert!(
        told.keys()
            .all(|name| !name.starts_with("adit.source") && !name.starts_with("adit.destination")),
        "{told:?}"
    );
    assert!(told.values().all(|value| !value.is_empty()), "{told:?}");
}

#[test]
fn no_text_is_longer_than_its_limit() {
    let span = Span {
        error: Some("ä".repeat(2000).into()),
        ..denied()
    };
    let message = convert::span(&span).status.expect("an error").message;
    assert_eq!(message, "ä".repeat(512));
}

#[test]
fn the_tables_list_what_is_sent_and_nothing_else() {
    let documented: BTreeSet<&str> = include_str!("../../SPANS.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let listed: BTreeSet<&str> = ATTRIBUTES.into_iter().chain(EVENTS).collect();
    assert_eq!(documented, listed);
    let messages = [outbound(), denied()].map(|span| convert::span(&span));
    let sent: BTreeSet<&str> = messages
        .iter()
        .flat_map(|message| {
            let attributes = message.attributes.iter().map(|attribute| attribute.key.as_str());
            attributes.chain(message.events.iter().map(|event| event.name.as_str()))
        })
        .collect();
    assert_eq!(sent, listed);
}
