//! Section 8: requests, of which only a CONNECT is served.

use super::*;

const METHOD: u8 = 2;
const PATH: u8 = 4;
const SCHEME: u8 = 6;
const AUTHORITY: u8 = 1;

/// Why fields after the bytes do no harm.
const TRAILERS: &str = "h2 takes them for trailers, which end the stream and which nobody reads";

fn request(peer: &mut Script, fields: &[Vec<u8>]) {
    begin(peer);
    peer.send(HEADERS, END_HEADERS, 1, &fields.concat());
}

/// A CONNECT with one field more.
fn connect_with(peer: &mut Script, name: &str, value: &str) {
    request(peer, &[to("10.0.0.2:9"), field(name, value)]);
}

fn get() -> Vec<Vec<u8>> {
    vec![
        literal(METHOD, "GET"),
        literal(SCHEME, "http"),
        literal(PATH, "/"),
        literal(AUTHORITY, "ledger"),
    ]
}

/// A GET without one of its fields.
fn get_without(peer: &mut Script, index: usize) {
    let mut fields = get();
    fields.remove(index);
    request(peer, &fields);
}

const FIELDS: &[Case] = &[
    case(
        "8.2",
        "a field's name in upper case",
        |peer| connect_with(peer, "X-Test", "ok"),
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, PROTOCOL_ERROR), OWN_CONNECTION),
    case(
        "8.2.1",
        "a space in a field's name",
        |peer| connect_with(peer, "x test", "ok"),
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, PROTOCOL_ERROR), OWN_CONNECTION),
    case(
        "8.2.1",
        "an empty name",
        |peer| connect_with(peer, "", "ok"),
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, PROTOCOL_ERROR), OWN_CONNECTION),
    case(
        "8.2.1",
        "a new line in a value",
        |peer| connect_with(peer, "x-test", "a\r\nb: c"),
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, PROTOCOL_ERROR), OWN_CONNECTION),
    case(
        "8.2.1",
        "a NUL in a value",
        |peer| connect_with(peer, "x-test", "a\0b"),
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, PROTOCOL_ERROR), OWN_CONNECTION),
    case(
        "8.2.2",
        "connection: keep-alive",
        |peer| connect_with(peer, "connection", "keep-alive"),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.2.2",
        "transfer-encoding: chunked",
        |peer| connect_with(peer, "transfer-encoding", "chunked"),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.2.2",
        "upgrade: h2c",
        |peer| connect_with(peer, "upgrade", "h2c"),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.2.2",
        "te: trailers",
        |peer| connect_with(peer, "te", "trailers"),
        Served,
    ),
    case(
        "8.2.2",
        "te: gzip",
        |peer| connect_with(peer, "te", "trailers, gzip"),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.3",
        "an unknown pseudo-header",
        |peer| connect_with(peer, ":test", "ok"),
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, PROTOCOL_ERROR), OWN_CONNECTION),
    case(
        "8.3",
        "the pseudo-header of an answer",
        |peer| connect_with(peer, ":status", "200"),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.3",
        "a pseudo-header after a field",
        |peer| {
            request(
                peer,
                &[
                    literal(METHOD, "CONNECT"),
                    field("x-test", "ok"),
                    literal(AUTHORITY, "10.0.0.2:9"),
                ],
            );
        },
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.3",
        "two methods",
        |peer| {
            request(peer, &[literal(METHOD, "GET"), to("10.0.0.2:9")]);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.3",
        "two authorities",
        |peer| {
            request(peer, &[to("10.0.0.2:9"), literal(AUTHORITY, "10.0.0.3:9")]);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
];

const CONNECT: &[Case] = &[
    case(
        "8.5",
        "a CONNECT",
        |peer| request(peer, &[to("10.0.0.2:9")]),
        Served,
    ),
    case(
        "8.5",
        "a CONNECT whose client says nothing more",
        |peer| {
            begin(peer);
            peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &to("10.0.0.2:8080"));
        },
        Served,
    ),
    case(
        "8.5",
        "without an authority",
        |peer| request(peer, &[literal(METHOD, "CONNECT")]),
        Refused(1),
    )
    .though(
        Stream(1, PROTOCOL_ERROR),
        "h2 passes it on, and we refuse what names no destination",
    ),
    case(
        "8.5",
        "with an authority that is none",
        |peer| request(peer, &[to("a b")]),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.5",
        "with an authority without a port",
        |peer| request(peer, &[to("ledger")]),
        Refused(1),
    ),
    case(
        "8.5",
        "with a scheme",
        |peer| {
            request(peer, &[to("10.0.0.2:9"), literal(SCHEME, "http")]);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.5",
        "with a path",
        |peer| {
            request(peer, &[to("10.0.0.2:9"), literal(PATH, "/")]);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "RFC 8441, 4",
        "with a protocol, which we have not offered",
        |peer| {
            let rest = [
                literal(SCHEME, "http"),
                literal(PATH, "/"),
                field(":protocol", "websocket"),
            ]
            .concat();
            request(peer, &[to("10.0.0.2:9"), rest]);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.5",
        "fields after the bytes",
        |peer| {
            open(peer, 1);
            peer.send(DATA, 0, 1, b"x");
            peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &field("x-test", "ok"));
        },
        Served,
    )
    .though(Stream(1, PROTOCOL_ERROR), TRAILERS),
    case(
        "8.1",
        "fields after the bytes that do not end the stream",
        |peer| {
            open(peer, 1);
            peer.send(DATA, 0, 1, b"x");
            peer.send(HEADERS, END_HEADERS, 1, &field("x-test", "ok"));
        },
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.1",
        "a pseudo-header after the bytes",
        |peer| {
            open(peer, 1);
            peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &literal(METHOD, "CONNECT"));
        },
        Served,
    )
    .though(Stream(1, PROTOCOL_ERROR), TRAILERS),
    case(
        "8.1.1",
        "another length than was announced",
        |peer| {
            connect_with(peer, "content-length", "1");
            peer.send(DATA, END_STREAM, 1, b"three");
        },
        Stream(1, PROTOCOL_ERROR),
    ),
];

const OTHERS: &[Case] = &[
    case("8.3.1", "a GET", |peer| request(peer, &get()), Refused(1)),
    case(
        "8.3.1",
        "a GET of another stream's time",
        |peer| {
            open(peer, 1);
            peer.send(HEADERS, END_HEADERS | END_STREAM, 3, &get().concat());
            peer.send(DATA, 0, 1, b"x");
        },
        Refused(3),
    ),
    case(
        "8.3.1",
        "an unknown method",
        |peer| {
            let mut fields = get();
            fields[0] = literal(METHOD, "DIG");
            request(peer, &fields);
        },
        Refused(1),
    ),
    case(
        "8.3.1",
        "without a method",
        |peer| get_without(peer, 0),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.3.1",
        "without a scheme",
        |peer| get_without(peer, 1),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.3.1",
        "without a path",
        |peer| get_without(peer, 2),
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.3.1",
        "with an empty path",
        |peer| {
            let mut fields = get();
            fields[2] = literal(PATH, "");
            request(peer, &fields);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "8.3.1",
        "two paths",
        |peer| {
            request(peer, &[get().concat(), literal(PATH, "/")]);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
];

#[test]
fn fields_follow_the_rules_of_http() {
    conforms(FIELDS);
}

#[test]
fn a_connect_has_an_authority_and_nothing_else() {
    conforms(CONNECT);
}

#[test]
fn other_requests_are_refused_and_hurt_nobody() {
    conforms(OTHERS);
}
