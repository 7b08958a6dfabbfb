//! Sections 5.2, 6.9: windows, both ways.

use super::*;

const INITIAL_WINDOW_SIZE: u16 = 4;
const MOST: u32 = (1 << 31) - 1;

fn begin_with_window(peer: &mut Script, window: u32) {
    peer.raw(PREFACE);
    peer.send(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, window));
}

fn grow(peer: &mut Script, stream: u32, by: u32) {
    peer.send(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
}

/// Begins, and waits until the connection's window is as large as the settings say.
fn begin_with_large_window(peer: &mut Script) {
    begin(peer);
    while !peer
        .next()
        .is_some_and(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0)
    {}
}

/// Sends as much as a stream's window takes.
fn fill(peer: &mut Script, stream: u32) {
    for length in [16_384, 16_384, 16_384, 16_383] {
        peer.send(DATA, 0, stream, &vec![0; length]);
    }
}

const CASES: &[Case] = &[
    case(
        "6.9",
        "a window that grows by nothing",
        |peer| {
            begin(peer);
            grow(peer, 0, 0);
        },
        Connection(PROTOCOL_ERROR),
    ),
    case(
        "6.9",
        "a stream's window that grows by nothing",
        |peer| {
            open(peer, 1);
            grow(peer, 1, 0);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Stream(1, PROTOCOL_ERROR), OWN_CONNECTION),
    case(
        "6.9",
        "WINDOW_UPDATE of another size",
        |peer| {
            begin(peer);
            peer.send(WINDOW_UPDATE, 0, 0, &[0, 0, 1]);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(FRAME_SIZE_ERROR), ONE_CODE),
    case(
        "6.9.1",
        "a window of one byte",
        |peer| {
            begin_with_window(peer, 1);
            peer.connect(1);
            peer.send(DATA, 0, 1, b"more than one byte");
            assert_eq!(data(peer, 1), b"m");
        },
        Served,
    ),
    case(
        "6.9.1",
        "windows that grow too far",
        |peer| {
            begin(peer);
            grow(peer, 0, MOST);
            grow(peer, 0, MOST);
        },
        Connection(FLOW_CONTROL_ERROR),
    ),
    case(
        "6.9.1",
        "a stream's window that grows too far",
        |peer| {
            open(peer, 1);
            grow(peer, 1, MOST);
            grow(peer, 1, MOST);
        },
        Stream(1, FLOW_CONTROL_ERROR),
    ),
    case(
        "6.9.2",
        "windows that settings open later",
        |peer| {
            begin_with_window(peer, 0);
            peer.connect(1);
            peer.send(DATA, 0, 1, b"x");
            peer.send(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 1));
            assert_eq!(data(peer, 1), b"x");
        },
        Served,
    ),
    case(
        "6.9.2",
        "a window below zero",
        |peer| {
            begin_with_window(peer, 3);
            peer.connect(1);
            peer.send(DATA, 0, 1, b"abcdef");
            assert_eq!(data(peer, 1), b"abc");
            // Now -1, then 0: nothing may come until it is 1.
            peer.send(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 2));
            grow(peer, 1, 1);
            grow(peer, 1, 1);
            assert_eq!(data(peer, 1), b"d");
        },
        Served,
    ),
    case(
        "6.9.2",
        "settings that make a window too large",
        |peer| {
            open(peer, 1);
            grow(peer, 1, MOST - 65_535);
            peer.send(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 65_536));
        },
        Connection(FLOW_CONTROL_ERROR),
    ),
    case(
        "6.9.1",
        "more on a stream than its window",
        |peer| {
            begin_with_large_window(peer);
            peer.send(HEADERS, END_HEADERS, 1, &to("10.0.0.2:10"));
            fill(peer, 1);
            peer.send(DATA, 0, 1, b"x");
        },
        Stream(1, FLOW_CONTROL_ERROR),
    ),
    case(
        "6.9.1",
        "more than the connection's window",
        |peer| {
            begin_with_large_window(peer);
            for stream in [1, 3, 5, 7] {
                peer.send(HEADERS, END_HEADERS, stream, &to("10.0.0.2:10"));
                fill(peer, stream);
            }
            peer.send(HEADERS, END_HEADERS, 9, &to("10.0.0.2:10"));
            peer.send(DATA, 0, 9, b"x");
        },
        Connection(FLOW_CONTROL_ERROR),
    ),
];

/// The next DATA on a stream.
fn data(peer: &mut Script, stream: u32) -> Vec<u8> {
    loop {
        let frame = peer.next_about(stream);
        if frame.kind == DATA {
            return frame.payload;
        }
    }
}

#[test]
fn windows_are_obeyed_and_enforced() {
    conforms(CASES);
}
