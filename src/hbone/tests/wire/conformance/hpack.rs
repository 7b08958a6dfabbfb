//! HPACK (RFC 7541): what cannot be decoded leaves the two ends with different tables, and ends the connection.

use super::*;

fn block(peer: &mut Script, end: &[u8]) {
    begin(peer);
    peer.send(HEADERS, END_HEADERS, 1, &[&to("10.0.0.2:9"), end].concat());
}

/// A field whose value is these bytes, said to be coded by Huffman.
fn huffman(peer: &mut Script, value: &[u8]) {
    let length = 0x80 | u8::try_from(value.len()).expect("short");
    block(peer, &[&b"\0\x06x-test"[..], &[length], value].concat());
}

const CASES: &[Case] = &[
    case(
        "HPACK 2.3.3",
        "an index that no table has",
        |peer| block(peer, &[0xc6]),
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 2.3.3",
        "a name of an index that no table has",
        |peer| block(peer, b"\x7e\x01a"),
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 4.2",
        "a change of the table's size, before the fields",
        |peer| {
            begin(peer);
            peer.send(
                HEADERS,
                END_HEADERS,
                1,
                &[&[0x20], &to("10.0.0.2:9")[..]].concat(),
            );
        },
        Served,
    ),
    case(
        "HPACK 4.2",
        "a change of the table's size, after the fields",
        |peer| block(peer, &[0x21]),
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 5.1",
        "a number without an end",
        |peer| {
            block(
                peer,
                &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            );
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 5.2",
        "a value that is longer than the block",
        |peer| block(peer, b"\0\x01a\x7fb"),
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 5.2",
        "a value coded by Huffman",
        |peer| huffman(peer, &[0x1f]),
        Served,
    ),
    case(
        "HPACK 5.2",
        "padding of more than 7 bits",
        |peer| huffman(peer, &[0x1f, 0xff]),
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 5.2",
        "padding of zeros",
        |peer| huffman(peer, &[0x18]),
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 5.2",
        "the end of a string within it",
        |peer| {
            huffman(peer, &[0xff, 0xff, 0xff, 0xff]);
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 6.1",
        "index 0",
        |peer| block(peer, &[0x80]),
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
    case(
        "HPACK 6.2.1",
        "a field for the table, used by the next request",
        |peer| {
            begin(peer);
            let kept = [literal(2, "CONNECT"), b"\x41\x0a10.0.0.2:9".to_vec()].concat();
            peer.send(HEADERS, END_HEADERS, 1, &kept);
            peer.send(
                HEADERS,
                END_HEADERS,
                3,
                &[literal(2, "CONNECT"), vec![0xbe]].concat(),
            );
        },
        Served,
    ),
    case(
        "HPACK 6.3",
        "a table larger than we allow",
        |peer| {
            begin(peer);
            peer.send(
                HEADERS,
                END_HEADERS,
                1,
                &[&[0x3f, 0xe2, 0x1f], &to("10.0.0.2:9")[..]].concat(),
            );
        },
        Connection(PROTOCOL_ERROR),
    )
    .though(Connection(COMPRESSION_ERROR), ONE_CODE),
];

#[test]
fn header_blocks_decode_or_end_the_connection() {
    conforms(CASES);
}
