//! Sections 6.1 to 6.8 and 6.10: each type of frame.

use super::*;

const OF_STREAMS: &[Case] = &[
    case(
        "6.1",
        "DATA on stream 0",
        |peer| {
            begin(peer);
            peer.send(DATA, 0, 0, b"x");
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.1",
        "DATA with more padding than bytes",
        |peer| {
            open(peer, 1);
            peer.send(DATA, PADDED, 1, &[6, 0, 0, 0, 0]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.1",
        "DATA with padding",
        |peer| {
            open_echo(peer, 1);
            peer.send(DATA, PADDED, 1, &[2, b'a', b'b', 0, 0]);
            peer.next_about(1);
        },
        Bytes(1, 2),
    ),
    case(
        "6.2",
        "HEADERS on stream 0",
        |peer| {
            begin(peer);
            peer.connect(0);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.2",
        "HEADERS with more padding than bytes",
        |peer| {
            begin(peer);
            let block = to("10.0.0.2:9");
            let padding = u8::try_from(block.len()).expect("short") + 1;
            peer.send(HEADERS, END_HEADERS | PADDED, 1, &[vec![padding], block].concat());
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.2",
        "HEADERS with padding and a priority",
        |peer| {
            begin(peer);
            let block = [vec![2, 0, 0, 0, 0, 16], to("10.0.0.2:9"), vec![0, 0]].concat();
            peer.send(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, &block);
        },
        Served,
    ),
    case(
        "6.3",
        "PRIORITY on stream 0",
        |peer| {
            begin(peer);
            peer.send(PRIORITY, 0, 0, &[0, 0, 0, 0, 16]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.3",
        "PRIORITY of another size",
        |peer| {
            open(peer, 1);
            peer.send(PRIORITY, 0, 1, &[0, 0, 0, 0]);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, FRAME_SIZE_ERROR), OWN_CONNECTION),
    case(
        "6.4",
        "RST_STREAM on stream 0",
        |peer| {
            begin(peer);
            peer.send(RST_STREAM, 0, 0, &8_u32.to_be_bytes());
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.4",
        "RST_STREAM of another size",
        |peer| {
            open(peer, 1);
            peer.send(RST_STREAM, 0, 1, &[0, 0, 8]);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(FRAME_SIZE_ERROR), ONE_CODE),
    case(
        "7",
        "RST_STREAM with an unknown error",
        |peer| {
            open(peer, 1);
            peer.send(RST_STREAM, 0, 1, &0xff_u32.to_be_bytes());
        },
        Served,
    ),
    case(
        "6.6",
        "PUSH_PROMISE of a client",
        |peer| {
            open(peer, 1);
            peer.send(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                &[vec![0, 0, 0, 2], to("10.0.0.2:9")].concat(),
            );
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.10",
        "a header block in three frames",
        |peer| {
            begin(peer);
            let block = to("10.0.0.2:9");
            peer.send(HEADERS, 0, 1, &block[..5]);
            peer.send(CONTINUATION, 0, 1, &block[5..9]);
            peer.send(CONTINUATION, END_HEADERS, 1, &block[9..]);
        },
        Served,
    ),
    case(
        "6.10",
        "CONTINUATION on stream 0",
        |peer| {
            begin(peer);
            peer.send(HEADERS, 0, 1, &to("10.0.0.2:9"));
            peer.send(CONTINUATION, END_HEADERS, 0, &[]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.10",
        "CONTINUATION of another stream",
        |peer| {
            begin(peer);
            peer.send(HEADERS, 0, 1, &to("10.0.0.2:9"));
            peer.send(CONTINUATION, END_HEADERS, 3, &[]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.10",
        "CONTINUATION after the end of a header block",
        |peer| {
            open(peer, 1);
            peer.send(CONTINUATION, END_HEADERS, 1, &[]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.10",
        "CONTINUATION after the end of a continued header block",
        |peer| {
            begin(peer);
            peer.send(HEADERS, 0, 1, &to("10.0.0.2:9"));
            peer.send(CONTINUATION, END_HEADERS, 1, &[]);
            peer.send(CONTINUATION, END_HEADERS, 1, &[]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.10",
        "CONTINUATION after DATA",
        |peer| {
            open(peer, 1);
            peer.send(DATA, 0, 1, b"x");
            peer.send(CONTINUATION, END_HEADERS, 1, &[]);
        },
        Connection(PROTOCOL_ERROR),
    ),
];

fn settings_of(peer: &mut Script, id: u16, value: u32) {
    begin(peer);
    peer.send(SETTINGS, 0, 0, &setting(id, value));
}

const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

const OF_CONNECTIONS: &[Case] = &[
    case(
        "6.5",
        "an acknowledgement with settings",
        |peer| {
            begin(peer);
            peer.send(SETTINGS, ACK, 0, &setting(1, 0));
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(FRAME_SIZE_ERROR), ONE_CODE),
    case(
        "6.5",
        "SETTINGS on a stream",
        |peer| {
            open(peer, 1);
            peer.send(SETTINGS, 0, 1, &setting(3, 100));
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.5",
        "SETTINGS of another size",
        |peer| {
            begin(peer);
            peer.send(SETTINGS, 0, 0, &[0, 3, 0]);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(FRAME_SIZE_ERROR), ONE_CODE),
    case(
        "6.5.2",
        "ENABLE_PUSH neither 0 nor 1",
        |peer| settings_of(peer, ENABLE_PUSH, 2),
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.5.2",
        "a window that is too large",
        |peer| settings_of(peer, INITIAL_WINDOW_SIZE, 1 << 31),
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(FLOW_CONTROL_ERROR), ONE_CODE),
    case(
        "6.5.2",
        "a frame size that is too small",
        |peer| settings_of(peer, MAX_FRAME_SIZE, 16_383),
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.5.2",
        "a frame size that is too large",
        |peer| settings_of(peer, MAX_FRAME_SIZE, 1 << 24),
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "RFC 8441, 3",
        "ENABLE_CONNECT_PROTOCOL neither 0 nor 1",
        |peer| {
            settings_of(peer, ENABLE_CONNECT_PROTOCOL, 2);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.5.2",
        "an unknown setting",
        |peer| settings_of(peer, 0xff, 1),
        Served,
    ),
    case(
        "6.5.3",
        "SETTINGS are acknowledged",
        |peer| {
            settings_of(peer, INITIAL_WINDOW_SIZE, 1);
            for _ in 0..2 {
                while !peer
                    .next()
                    .is_some_and(|frame| frame.kind == SETTINGS && frame.flags == ACK)
                {}
            }
        },
        Served,
    ),
    case(
        "6.5.3",
        "an acknowledgement of nothing",
        |peer| {
            begin(peer);
            peer.send(SETTINGS, ACK, 0, &[]);
            peer.send(SETTINGS, ACK, 0, &[]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.7",
        "a PING",
        |peer| {
            begin(peer);
            peer.send(PING, 0, 0, b"a PING!!");
            let pong = peer.pong();
            assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"a PING!!"[..]));
        },
        Served,
    ),
    case(
        "6.7",
        "an answer to no PING",
        |peer| {
            begin(peer);
            peer.send(PING, ACK, 0, b"no PING!");
        },
        Served,
    ),
    case(
        "6.7",
        "PING on a stream",
        |peer| {
            open(peer, 1);
            peer.send(PING, 0, 1, &[0; 8]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.7",
        "PING of another size",
        |peer| {
            begin(peer);
            peer.send(PING, 0, 0, &[0; 6]);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(FRAME_SIZE_ERROR), ONE_CODE),
    case(
        "6.8",
        "GOAWAY on a stream",
        |peer| {
            open(peer, 1);
            peer.send(GOAWAY, 0, 1, &[0; 8]);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.8",
        "GOAWAY of another size",
        |peer| {
            begin(peer);
            peer.send(GOAWAY, 0, 0, &[0; 4]);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(FRAME_SIZE_ERROR), ONE_CODE),
    case(
        "6.8",
        "bytes after GOAWAY, on a stream that was open",
        |peer| {
            open_echo(peer, 1);
            peer.send(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0, b'b', b'y', b'e']);
            peer.send(DATA, END_STREAM, 1, b"last words");
            while peer.next_about(1).flags & END_STREAM == 0 {}
        },
        Closed,
    ),
    case(
        "7",
        "GOAWAY with an unknown error",
        |peer| {
            begin(peer);
            peer.send(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]);
        },
        Closed,
    ),
];

#[test]
fn frames_of_streams_follow_their_rules() {
    conforms(OF_STREAMS);
}

#[test]
fn frames_of_connections_follow_their_rules() {
    conforms(OF_CONNECTIONS);
}
