//! HTTP/2 as a real tunnel's HBONE port holds it: whoever breaks its rules loses a stream or a connection, as the rule
//! says, and nobody else does. The whole table of rules is in the HBONE room's own tests; these few show that nothing of
//! it is lost on the way to a pod.

use std::io::{Read, Write};
use std::net::SocketAddr;

use adit::lab::apps::HTTP_PORT;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::pair::Pair;
use adit_integration::harness::scripted::{Client, failure};
use adit_mesh::constants::HBONE_PORT;
use anyhow::{Context, bail, ensure};

const QUESTION: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;

/// The one error by which h2 tells of all these.
const PROTOCOL_ERROR: [u8; 4] = 1_u32.to_be_bytes();

/// A frame: its kind, flags, stream and payload.
type Frame<'a> = (u8, u8, u32, &'a [u8]);

/// What ends a connection.
const FATAL: &[(&str, Frame<'_>)] = &[
    ("DATA on an idle stream", (DATA, 0, 1, b"x")),
    ("DATA on stream 0", (DATA, 0, 0, b"x")),
    (
        "a stream of an even number",
        (HEADERS, END_HEADERS, 2, b"\x02\x07CONNECT"),
    ),
    ("CONTINUATION of nothing", (CONTINUATION, END_HEADERS, 1, b"")),
    ("RST_STREAM of an idle stream", (RST_STREAM, 0, 1, &[0, 0, 0, 8])),
    ("a window that grows by nothing", (WINDOW_UPDATE, 0, 0, &[0; 4])),
    ("SETTINGS of another size", (SETTINGS, 0, 0, &[0; 5])),
    ("PING of another size", (PING, 0, 0, &[0; 7])),
    ("an index of no table", (HEADERS, END_HEADERS, 1, &[0xff, 0x7f])),
    (
        "a value badly coded",
        (HEADERS, END_HEADERS, 1, b"\x02\x82\x1f\xff"),
    ),
];

/// What costs a stream only.
const HARMLESS: &[(&str, Frame<'_>)] = &[
    (
        "a CONNECT with a scheme",
        (
            HEADERS,
            END_HEADERS,
            1,
            b"\x02\x07CONNECT\x01\x0410:1\x06\x04http",
        ),
    ),
    (
        "a field of HTTP/1.1",
        (
            HEADERS,
            END_HEADERS,
            1,
            b"\x02\x07CONNECT\x01\x0410:1\x00\x0aconnection\x0akeep-alive",
        ),
    ),
];

/// A connection on which frames are written by hand.
struct Peer<T>(T);

impl<T: Read + Write> Peer<T> {
    fn send(&mut self, (kind, flags, stream, payload): Frame<'_>) -> anyhow::Result<()> {
        let length = u32::try_from(payload.len())?.to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame)?;
        Ok(self.0.flush()?)
    }

    /// The next frame of one of these kinds: its kind and payload.
    fn next_of(&mut self, kinds: &[u8]) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).context("the connection ended")?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length)?];
            self.0
                .read_exact(&mut payload)
                .context("the connection ended within a frame")?;
            if kinds.contains(&head[3]) {
                return Ok((head[3], payload));
            }
        }
    }
}

/// Each broken rule costs what it should, on a connection of its own; a neighbour's stream is served all the while.
pub fn what_breaks_the_protocol_costs_its_own_stream_or_connection() -> anyhow::Result<()> {
    let pair = Pair::build(&[("server", 1)], |bed| bed.add_machine("outside", 0))?;
    let credentials = Ca::of_the_mesh()?.peer(&spiffe("outside"))?;
    let namespace = pair.bed.namespace("outside")?;
    let port = pair.bed.socket("server", HBONE_PORT)?;
    let application = pair.bed.socket("server", HTTP_PORT)?;
    let neighbour = Client::connect(namespace, port, &credentials, &spiffe("server"))??;
    let (mut stream, _) = neighbour.open(&application.to_string()).map_err(failure)?;
    let meet = || -> anyhow::Result<_> {
        let mut tls = Client::shake_hands(namespace, port, &credentials, &spiffe("server"))?;
        tls.write_all(PREFACE)?;
        let mut peer = Peer(tls);
        peer.send((SETTINGS, 0, 0, b""))?;
        Ok(peer)
    };
    for (what, frame) in FATAL {
        let mut peer = meet()?;
        ends(&mut peer, *frame).context(*what)?;
    }
    for (what, frame) in HARMLESS {
        let mut peer = meet()?;
        costs_a_stream(&mut peer, *frame, application).context(*what)?;
    }
    let page = neighbour.exchange(&mut stream, QUESTION)?;
    ensure!(page.starts_with(b"HTTP/1.0 200"), "the neighbour got {page:?}");
    Ok(())
}

fn ends(peer: &mut Peer<impl Read + Write>, frame: Frame<'_>) -> anyhow::Result<()> {
    peer.send(frame)?;
    let (_, payload) = peer.next_of(&[GOAWAY])?;
    ensure!(
        payload.get(4..8) == Some(&PROTOCOL_ERROR[..]),
        "ended with {payload:?}"
    );
    // Closed in order, or reset because our acknowledgements are still on their way.
    ensure!(peer.next_of(&[]).is_err(), "it goes on");
    Ok(())
}

fn costs_a_stream(
    peer: &mut Peer<impl Read + Write>,
    frame: Frame<'_>,
    application: SocketAddr,
) -> anyhow::Result<()> {
    peer.send(frame)?;
    let (_, payload) = peer.next_of(&[RST_STREAM])?;
    ensure!(payload == PROTOCOL_ERROR, "reset with {payload:?}");
    let authority = application.to_string();
    let mut block = b"\x02\x07CONNECT\x01".to_vec();
    block.push(u8::try_from(authority.len())?);
    block.extend_from_slice(authority.as_bytes());
    peer.send((HEADERS, END_HEADERS, 3, &block))?;
    match peer.next_of(&[HEADERS, GOAWAY])? {
        (HEADERS, answer) if answer.first() == Some(&0x88) => Ok(()),
        other => bail!("the next stream got {other:?}"),
    }
}
