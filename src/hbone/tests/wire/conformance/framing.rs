//! Sections 3.4, 4 and 5.5: the preface, and frames as such.

use super::*;

const CASES: &[Case] = &[
    case("3.4", "a preface and settings", begin, Served),
    case(
        "3.4",
        "another preface",
        |peer| peer.raw(b"INVALID CONNECTION PREFACE\r\n\r\n"),
        Closed,
    ),
    case(
        "3.4",
        "a request of HTTP/1.1",
        |peer| peer.raw(b"GET / HTTP/1.1\r\nHost: ledger\r\n\r\n"),
        Closed,
    ),
    case(
        "3.4",
        "no settings after the preface",
        |peer| {
            peer.raw(PREFACE);
            peer.send(PING, 0, 0, &[0; 8]);
        },
        Served,
    )
    .though(
        Connection(PROTOCOL_ERROR),
        "h2 does not wait for them; until they come, the defaults hold",
    ),
    case(
        "4.1",
        "a frame of an unknown type",
        |peer| {
            begin(peer);
            peer.send(0x16, 0xff, 0, &[0; 8]);
        },
        Served,
    ),
    case(
        "4.1",
        "unknown flags",
        |peer| {
            begin(peer);
            peer.send(PING, 0x16, 0, &[1; 8]);
        },
        Served,
    ),
    case(
        "4.1",
        "the reserved bit of a stream's number",
        |peer| {
            begin(peer);
            peer.send(PING, 0, 1 << 31, &[1; 8]);
        },
        Served,
    ),
    case(
        "4.2",
        "the largest frame",
        |peer| {
            open(peer, 1);
            peer.send(DATA, 0, 1, &[0; 16_384]);
        },
        Served,
    ),
    case(
        "4.2",
        "DATA larger than allowed",
        |peer| {
            open(peer, 1);
            peer.send(DATA, 0, 1, &[0; 16_385]);
        },
        Connection(FRAME_SIZE_ERROR),
    ),
    case(
        "4.2",
        "HEADERS larger than allowed",
        |peer| {
            begin(peer);
            let block = [to("10.0.0.2:9"), vec![0; 16_384]].concat();
            peer.send(HEADERS, END_HEADERS, 1, &block);
        },
        Connection(FRAME_SIZE_ERROR),
    ),
    case(
        "4.3",
        "a header block that cannot be decoded",
        |peer| {
            begin(peer);
            peer.send(HEADERS, END_HEADERS, 1, &[0x42, 0x82, 0xff, 0xff]);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "4.3",
        "PRIORITY within a header block",
        |peer| {
            begin(peer);
            peer.send(HEADERS, 0, 1, &to("10.0.0.2:9"));
            peer.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "4.3",
        "HEADERS of another stream within a header block",
        |peer| {
            begin(peer);
            peer.send(HEADERS, 0, 1, &to("10.0.0.2:9"));
            peer.send(HEADERS, END_HEADERS, 3, &to("10.0.0.2:9"));
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.5",
        "a frame of an unknown type within a header block",
        |peer| {
            begin(peer);
            peer.send(HEADERS, 0, 1, &to("10.0.0.2:9"));
            peer.send(0x16, 0, 1, &[0; 8]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "5.5",
        "a frame of an unknown type on a stream",
        |peer| {
            open(peer, 1);
            peer.send(0x16, 0, 1, &[0; 8]);
        },
        Served,
    ),
    case(
        "5.4.1",
        "what ends a connection closes it",
        |peer| {
            begin(peer);
            peer.send(PING, 0, 3, &[0; 8]);
        },
        Connection(PROTOCOL_ERROR),
    ),
];

#[test]
fn frames_have_their_form() {
    conforms(CASES);
}
