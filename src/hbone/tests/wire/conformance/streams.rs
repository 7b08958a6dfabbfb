//! Sections 5.1 to 5.3: the states of streams, their numbers, and how many there may be.

use super::*;

const IDLE: &[Case] = &[
    case(
        "5.1",
        "DATA on an idle stream",
        |peer| {
            begin(peer);
            peer.send(DATA, END_STREAM, 1, b"x");
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1",
        "RST_STREAM on an idle stream",
        |peer| {
            begin(peer);
            peer.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1",
        "WINDOW_UPDATE on an idle stream",
        |peer| {
            begin(peer);
            peer.send(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes());
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1",
        "CONTINUATION on an idle stream",
        |peer| {
            begin(peer);
            peer.send(CONTINUATION, END_HEADERS, 1, &to("10.0.0.2:9"));
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1",
        "PRIORITY on an idle stream",
        |peer| {
            begin(peer);
            peer.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]);
        },
        Served,
    ),
];

const HALF_CLOSED: &[Case] = &[
    case(
        "5.1",
        "DATA after the end",
        |peer| {
            open(peer, 1);
            peer.send(DATA, END_STREAM, 1, b"x");
            peer.send(DATA, END_STREAM, 1, b"x");
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, STREAM_CLOSED), OWN_CONNECTION),
    case(
        "5.1",
        "HEADERS after the end",
        |peer| {
            open(peer, 1);
            peer.send(DATA, END_STREAM, 1, b"x");
            peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &to("10.0.0.2:9"));
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, STREAM_CLOSED), OWN_CONNECTION),
    case(
        "5.1",
        "CONTINUATION after the end",
        |peer| {
            open(peer, 1);
            peer.send(DATA, END_STREAM, 1, b"x");
            peer.send(CONTINUATION, END_HEADERS, 1, &to("10.0.0.2:9"));
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1",
        "WINDOW_UPDATE and PRIORITY after the end",
        |peer| {
            open(peer, 1);
            peer.send(DATA, END_STREAM, 1, b"x");
            peer.send(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes());
            peer.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]);
        },
        Served,
    ),
    case(
        "5.1",
        "RST_STREAM after the end",
        |peer| {
            open(peer, 1);
            peer.send(DATA, END_STREAM, 1, b"x");
            peer.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
        },
        Served,
    ),
];

const CLOSED: &[Case] = &[
    case(
        "5.1",
        "DATA after RST_STREAM",
        |peer| {
            open(peer, 1);
            peer.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
            peer.send(DATA, END_STREAM, 1, b"x");
        },
        Stream(1, STREAM_CLOSED),
    ),
    case(
        "5.1",
        "HEADERS after RST_STREAM",
        |peer| {
            open(peer, 1);
            peer.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
            peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &to("10.0.0.2:9"));
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, STREAM_CLOSED), OWN_CONNECTION),
    case(
        "5.1",
        "CONTINUATION after RST_STREAM",
        |peer| {
            open(peer, 1);
            peer.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
            peer.send(CONTINUATION, END_HEADERS, 1, &to("10.0.0.2:9"));
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1",
        "DATA on a closed stream",
        |peer| {
            closed(peer, 1);
            peer.send(DATA, END_STREAM, 1, b"x");
        },
        Stream(1, STREAM_CLOSED),
    )
    .though(
        Connection(STREAM_CLOSED),
        "h2 resets the stream once more: the bytes go nowhere, and the connection is not in doubt",
    ),
    case(
        "5.1",
        "HEADERS on a closed stream",
        |peer| {
            closed(peer, 1);
            peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &to("10.0.0.2:9"));
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(STREAM_CLOSED), ONE_CODE),
    case(
        "5.1",
        "CONTINUATION on a closed stream",
        |peer| {
            closed(peer, 1);
            peer.send(CONTINUATION, END_HEADERS, 1, &to("10.0.0.2:9"));
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1",
        "WINDOW_UPDATE, PRIORITY and RST_STREAM on a closed stream",
        |peer| {
            closed(peer, 1);
            peer.send(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes());
            peer.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]);
            peer.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
        },
        Served,
    ),
];

const NUMBERS: &[Case] = &[
    case(
        "5.1.1",
        "a stream of an even number",
        |peer| {
            begin(peer);
            peer.connect(2);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1.1",
        "a number lower than one before",
        |peer| {
            open(peer, 5);
            peer.connect(3);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.1.1",
        "numbers that were passed over",
        |peer| {
            open(peer, 5);
            peer.connect(101);
        },
        Served,
    ),
    case(
        "5.1.2",
        "one stream more than allowed",
        |peer| {
            begin(peer);
            for stream in 0..9 {
                peer.send(HEADERS, END_HEADERS, 2 * stream + 1, &to("10.0.0.2:9"));
            }
            for stream in 0..8 {
                peer.send(RST_STREAM, 0, 2 * stream + 1, &8_u32.to_be_bytes());
            }
        },
        Stream(17, REFUSED_STREAM),
    ),
    case(
        "5.1.2",
        "as many streams as allowed, one after the other",
        |peer| {
            begin(peer);
            for stream in 0..30 {
                peer.send(HEADERS, END_HEADERS, 2 * stream + 1, &to("10.0.0.2:9"));
                peer.send(RST_STREAM, 0, 2 * stream + 1, &8_u32.to_be_bytes());
            }
        },
        Served,
    ),
    case(
        "RFC 7540, 5.3.1",
        "HEADERS that depend on themselves",
        |peer| {
            begin(peer);
            let block = [vec![0, 0, 0, 1, 16], to("10.0.0.2:9")].concat();
            peer.send(HEADERS, END_HEADERS | WITH_PRIORITY, 1, &block);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
    case(
        "RFC 7540, 5.3.1",
        "PRIORITY that depends on itself",
        |peer| {
            open(peer, 1);
            peer.send(PRIORITY, 0, 1, &[0, 0, 0, 1, 16]);
        },
        Stream(1, PROTOCOL_ERROR),
    ),
];

#[test]
fn an_idle_stream_takes_nothing_but_a_beginning() {
    conforms(IDLE);
}

#[test]
fn a_stream_takes_nothing_after_its_end() {
    conforms(HALF_CLOSED);
}

#[test]
fn a_closed_stream_stays_closed() {
    conforms(CLOSED);
}

#[test]
fn streams_have_rising_numbers_and_a_limit() {
    conforms(NUMBERS);
}
