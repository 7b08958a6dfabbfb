//! Peers whose HBONE port misbehaves towards those who dial it, stage by stage.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use adit::lab::apps::HTTP_PORT;
use adit_integration::harness::rogue::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, LARGEST_WINDOW, PING, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use adit_integration::harness::rogue::{Lair, Rogue, Script};
use adit_mesh::Outcome;
use adit_mesh::constants::HBONE_PORT;

use super::{Stage, Told};

/// How many call at a time.
const CALLERS: usize = 5;
/// Frames of a flood, unless it is cut off.
const FLOOD: u32 = 200_000;
/// What a caller waits for.
const PATIENCE: Duration = Duration::from_secs(10);

struct Row {
    name: &'static str,
    told: &'static [Told],
    script: Script,
}

const fn row(name: &'static str, told: &'static [Told], script: Script) -> Row {
    Row { name, told, script }
}

const ROWS: &[Row] = &[
    row(
        "says nothing",
        &[Told::Refused(Outcome::TlsTimeout, "within 1s")],
        |_| Ok(()),
    ),
    row(
        "stops in TLS",
        &[Told::Refused(Outcome::TlsTimeout, "within 1s")],
        Rogue::half_a_handshake,
    ),
    row(
        "sends garbage for TLS",
        &[Told::Refused(Outcome::TlsFailed, "")],
        |rogue| Ok(rogue.raw(&[0x55; 4096])?),
    ),
    row(
        "resets at once",
        &[Told::Refused(Outcome::TlsFailed, "")],
        |rogue| Ok(rogue.reset()?),
    ),
    row(
        "resets in TLS",
        &[Told::Refused(Outcome::TlsFailed, "")],
        |rogue| {
            rogue.half_a_handshake()?;
            Ok(rogue.reset()?)
        },
    ),
    row(
        "stops after TLS",
        &[Told::Refused(
            Outcome::Http2Failed,
            "no SETTINGS from the peer within 1s",
        )],
        Rogue::shake_hands,
    ),
    row(
        "sends garbage for HTTP/2",
        &[Told::Refused(Outcome::ProtocolViolation, "")],
        |rogue| {
            rogue.shake_hands()?;
            Ok(rogue.raw(&[0x55; 4096])?)
        },
    ),
    row(
        "resets after TLS",
        &[Told::Refused(Outcome::Http2Failed, "")],
        |rogue| {
            rogue.shake_hands()?;
            Ok(rogue.reset()?)
        },
    ),
    row(
        "stops in its SETTINGS",
        &[Told::Refused(Outcome::ConnectAnswerTimeout, "within 1s")],
        |rogue| {
            rogue.shake_hands()?;
            Ok(rogue.raw(&frames::frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])[..10])?)
        },
    ),
    row(
        "does not answer the CONNECT",
        &[Told::Refused(Outcome::ConnectAnswerTimeout, "within 1s")],
        |rogue| {
            rogue.greet(&[])?;
            answer_pings(rogue)
        },
    ),
    row(
        "resets instead of an answer",
        &[Told::Refused(Outcome::Http2Failed, "")],
        |rogue| {
            asked(rogue)?;
            Ok(rogue.reset()?)
        },
    ),
    row(
        "resets the stream instead of an answer",
        &[Told::Refused(Outcome::Http2Failed, "")],
        |rogue| {
            let stream = asked(rogue)?;
            rogue.send(RST_STREAM, 0, stream, &2u32.to_be_bytes())?;
            answer_pings(rogue)
        },
    ),
    row(
        "goes instead of an answer",
        &[Told::Refused(Outcome::Http2Failed, "")],
        |rogue| {
            asked(rogue)?;
            Ok(rogue.send(GOAWAY, 0, 0, &[0; 8])?)
        },
    ),
    row(
        "answers with headers that are too large",
        &[Told::Refused(Outcome::ProtocolViolation, "")],
        |rogue| {
            let stream = asked(rogue)?;
            let block = [frames::OK, &frames::junk(60_000)].concat();
            for (index, part) in block.chunks(16 << 10).enumerate() {
                let kind = if index == 0 { HEADERS } else { CONTINUATION };
                let last = part.len() < 16 << 10;
                rogue.send(kind, if last { END_HEADERS } else { 0 }, stream, part)?;
            }
            answer_pings(rogue)
        },
    ),
    row(
        "never ends the headers of its answer",
        &[Told::Refused(Outcome::ProtocolViolation, "")],
        |rogue| {
            let stream = asked(rogue)?;
            rogue.send(HEADERS, 0, stream, frames::OK)?;
            Ok(rogue.flood(FLOOD, |_| frames::frame(CONTINUATION, 0, stream, &[]))?)
        },
    ),
    row(
        "promises what nobody asked for",
        &[Told::Refused(Outcome::ProtocolViolation, "")],
        |rogue| {
            let stream = asked(rogue)?;
            let promise = [&2u32.to_be_bytes(), &frames::connect("10.0.0.1:80")[..]].concat();
            Ok(rogue.send(PUSH_PROMISE, END_HEADERS, stream, &promise)?)
        },
    ),
    row(
        "floods with PINGs",
        &[Told::Ended(Outcome::Reset, "PING")],
        |rogue| {
            answered(rogue)?;
            Ok(rogue.flood(FLOOD, |n| frames::frame(PING, 0, 0, &u64::from(n).to_be_bytes()))?)
        },
    ),
    row(
        "floods with SETTINGS",
        &[Told::Ended(Outcome::Reset, "SETTINGS")],
        |rogue| {
            answered(rogue)?;
            Ok(rogue.flood(FLOOD, |_| frames::frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]))?)
        },
    ),
    row(
        "floods with resets of a stream that is over",
        &[Told::Ended(Outcome::Reset, "")],
        |rogue| {
            let stream = answered(rogue)?;
            Ok(rogue.flood(FLOOD, |_| {
                frames::frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
            })?)
        },
    ),
    row(
        "opens a window beyond all bounds",
        &[Told::Ended(Outcome::Reset, "flow-control")],
        |rogue| {
            let stream = answered(rogue)?;
            let _ = stream;
            rogue.send(WINDOW_UPDATE, 0, 0, &LARGEST_WINDOW.to_be_bytes())?;
            Ok(rogue.send(WINDOW_UPDATE, 0, 0, &LARGEST_WINDOW.to_be_bytes())?)
        },
    ),
    row(
        "sends more than the window",
        &[Told::Ended(Outcome::Reset, "flow-control")],
        |rogue| {
            let stream = answered(rogue)?;
            let part = vec![b'x'; 16 << 10];
            Ok(rogue.flood(2560, |_| frames::frame(DATA, 0, stream, &part))?)
        },
    ),
    row(
        "sends on a stream that is not open",
        &[Told::Ended(Outcome::Reset, "")],
        |rogue| {
            answered(rogue)?;
            Ok(rogue.send(DATA, 0, 99, b"to nobody")?)
        },
    ),
    row(
        "resets in the middle of a stream",
        &[Told::Ended(Outcome::Reset, "")],
        |rogue| {
            answered(rogue)?;
            Ok(rogue.reset()?)
        },
    ),
    row(
        "goes silent in the middle of a stream",
        &[Told::Ended(Outcome::Reset, "PING within 1s")],
        |rogue| answered(rogue).map(drop),
    ),
];

/// Waits for a CONNECT; its stream.
fn asked(rogue: &mut Rogue) -> anyhow::Result<u32> {
    rogue.greet(&[])?;
    Ok(rogue.expect(HEADERS)?.stream)
}

/// Waits for a CONNECT, and accepts it.
fn answered(rogue: &mut Rogue) -> anyhow::Result<u32> {
    let stream = asked(rogue)?;
    rogue.send(HEADERS, END_HEADERS, stream, frames::OK)?;
    Ok(stream)
}

/// Shows that it lives, until it is left.
fn answer_pings(rogue: &mut Rogue) -> anyhow::Result<()> {
    loop {
        rogue.expect(PING)?;
        // The payload of h2's own PINGs is not looked at by who only counts bytes.
        rogue.send(PING, ACK, 0, &[0; 8])?;
    }
}

/// Servers at each stage; several callers, who share what there is of connections.
pub fn a_server_that_misbehaves_costs_little_and_disturbs_nobody() -> anyhow::Result<()> {
    let stage = Stage::build(&[])?;
    let address = stage.bed.socket("rogue", HTTP_PORT)?;
    let credentials = stage.credentials("rogue")?;
    stage.play_all(ROWS.iter().map(|row| (row.name, row)), |row| {
        stage.play(row.name, &stage.tunnels[0], "outbound", row.told, || {
            let namespace = stage.bed.namespace("rogue")?;
            let lair = Lair::open(namespace, HBONE_PORT, credentials.clone(), row.script)?;
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| stage.bed.connect("client", address))
                .collect::<Result<_, _>>()?;
            callers.into_iter().try_for_each(is_cut_off)?;
            Ok(lair)
        })
    })
}

/// A caller is told that this is not the end of an answer.
fn is_cut_off(mut caller: TcpStream) -> anyhow::Result<()> {
    caller.set_read_timeout(Some(PATIENCE))?;
    let told = caller
        .write_all(b"hello\n")
        .and_then(|()| std::io::copy(&mut caller, &mut std::io::sink()));
    let kind = told.as_ref().err().map(std::io::Error::kind);
    anyhow::ensure!(
        matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
        "a caller saw {told:?}"
    );
    Ok(())
}
