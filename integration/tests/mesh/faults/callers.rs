//! Clients on a pod's HBONE port that stop, break off or talk nonsense, stage by stage.

use adit::lab::apps::ECHO_PORT;
use adit_integration::harness::credentials::spiffe;
use adit_integration::harness::plain;
use adit_integration::harness::rogue::Rogue;
use adit_integration::harness::rogue::frames::{
    self, DATA, END_HEADERS, HEADERS, LARGEST_WINDOW, SETTINGS, WINDOW_UPDATE,
};
use adit_mesh::Outcome;
use adit_mesh::constants::HBONE_PORT;

use super::{Stage, Told};

/// The port of an application that never reads.
const SINK: u16 = 7000;
/// How many do it at a time.
const MANY: usize = 20;

/// One row.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) told: &'static [Told],
    /// What it does, from the TCP connection on; then it waits to be cut off, unless it has gone itself.
    pub(super) fault: fn(&mut Rogue, &Targets) -> anyhow::Result<()>,
}

/// Authorities in the pod that is called.
pub(super) struct Targets {
    /// Of an application that sends back what it gets, line by line.
    pub(super) echo: String,
    /// Of one that accepts and never reads.
    pub(super) sink: String,
}

/// Plays rows against the HBONE port of `server`, with `many` clients that do the same.
pub(super) fn play_all(stage: &Stage, rows: &[Row], many: usize) -> anyhow::Result<()> {
    let address = stage.bed.socket("server", HBONE_PORT)?;
    let targets = Targets {
        echo: stage.bed.socket("server", ECHO_PORT)?.to_string(),
        sink: stage.bed.socket("server", SINK)?.to_string(),
    };
    // Connections that wait in its backlog are accepted as far as TCP is concerned.
    let _sink = plain::listen(stage.bed.namespace("server")?, SINK)?;
    let credentials = stage.credentials("client")?;
    stage.play_all(rows.iter().map(|row| (row.name, row)), |row| {
        stage.play(row.name, &stage.tunnels[1], "inbound", row.told, || {
            std::thread::scope(|scope| {
                let play = || {
                    let stranger = stage.bed.namespace("stranger")?;
                    let mut rogue = Rogue::call(stranger, address, credentials.clone(), &spiffe("server"))?;
                    (row.fault)(&mut rogue, &targets)?;
                    rogue.wait_end()?;
                    Ok(rogue)
                };
                let players: Vec<_> = (0..many).map(|_| scope.spawn(play)).collect();
                let ends = players.into_iter().map(|player| player.join().expect("no panic"));
                ends.collect::<anyhow::Result<Vec<_>>>()
            })
        })
    })
}

const fn row(
    name: &'static str,
    told: &'static [Told],
    fault: fn(&mut Rogue, &Targets) -> anyhow::Result<()>,
) -> Row {
    Row { name, told, fault }
}

const ROWS: &[Row] = &[
    row(
        "says nothing",
        &[Told::Refused(Outcome::TlsTimeout, "within 1s")],
        |_, _| Ok(()),
    ),
    row(
        "stops in TLS",
        &[Told::Refused(Outcome::TlsTimeout, "within 1s")],
        |rogue, _| rogue.half_a_handshake(),
    ),
    row(
        "sends garbage for TLS",
        &[Told::Refused(Outcome::TlsFailed, "")],
        |rogue, _| Ok(rogue.raw(&[0x55; 4096])?),
    ),
    row(
        "resets in TLS",
        &[Told::Refused(Outcome::TlsFailed, "")],
        |rogue, _| {
            rogue.half_a_handshake()?;
            Ok(rogue.reset()?)
        },
    ),
    row(
        "stops after TLS",
        &[Told::Refused(Outcome::Http2Failed, "no HTTP/2 preface within 1s")],
        |rogue, _| rogue.shake_hands(),
    ),
    row(
        "stops in the preface",
        &[Told::Refused(Outcome::Http2Failed, "no HTTP/2 preface within 1s")],
        |rogue, _| {
            rogue.shake_hands()?;
            Ok(rogue.raw(&frames::PREFACE[..10])?)
        },
    ),
    row(
        "sends garbage for HTTP/2",
        &[Told::Refused(Outcome::ProtocolViolation, "")],
        |rogue, _| {
            rogue.shake_hands()?;
            Ok(rogue.raw(&[0x55; 4096])?)
        },
    ),
    row(
        "resets after TLS",
        &[Told::Refused(Outcome::Http2Failed, "")],
        |rogue, _| {
            rogue.shake_hands()?;
            Ok(rogue.reset()?)
        },
    ),
    row(
        "stops before its SETTINGS",
        &[Told::Refused(Outcome::Http2Failed, "PING within 1s")],
        |rogue, _| {
            rogue.shake_hands()?;
            Ok(rogue.raw(frames::PREFACE)?)
        },
    ),
    row(
        "stops in its SETTINGS",
        &[Told::Refused(Outcome::Http2Failed, "PING within 1s")],
        |rogue, _| {
            rogue.shake_hands()?;
            rogue.raw(frames::PREFACE)?;
            Ok(rogue.raw(&frames::frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])[..10])?)
        },
    ),
    row(
        "stops in a header block",
        &[Told::Refused(Outcome::Http2Failed, "PING within 1s")],
        |rogue, _| {
            rogue.greet(&[])?;
            Ok(rogue.send(HEADERS, 0, 1, &frames::literal(2, "CONNECT"))?)
        },
    ),
    row(
        "sends a frame that is none",
        &[Told::Refused(Outcome::ProtocolViolation, "protocol")],
        |rogue, _| {
            rogue.greet(&[])?;
            Ok(rogue.send(DATA, 0, 0, b"on no stream")?)
        },
    ),
    row(
        "sends a frame that is too large",
        &[Told::Refused(Outcome::ProtocolViolation, "size")],
        |rogue, _| {
            rogue.greet(&[])?;
            rogue.raw(&[0x7f, 0xff, 0xff, DATA, 0, 0, 0, 0, 1])?;
            Ok(rogue.raw(&[0; 1024])?)
        },
    ),
    row(
        "opens a window beyond all bounds",
        &[Told::Refused(Outcome::ProtocolViolation, "flow-control")],
        |rogue, _| {
            rogue.greet(&[])?;
            rogue.send(WINDOW_UPDATE, 0, 0, &LARGEST_WINDOW.to_be_bytes())?;
            Ok(rogue.send(WINDOW_UPDATE, 0, 0, &LARGEST_WINDOW.to_be_bytes())?)
        },
    ),
    row(
        "resets in the middle of a stream",
        &[Told::Ended(Outcome::Reset, "")],
        |rogue, targets| {
            rogue.greet(&[])?;
            rogue.send(HEADERS, END_HEADERS, 1, &frames::connect(&targets.echo))?;
            rogue.expect(HEADERS)?;
            rogue.send(DATA, 0, 1, b"half a line")?;
            Ok(rogue.reset()?)
        },
    ),
    row(
        "goes silent in the middle of a stream",
        &[Told::Ended(Outcome::Reset, "PING within 1s")],
        |rogue, targets| {
            rogue.greet(&[])?;
            rogue.send(HEADERS, END_HEADERS, 1, &frames::connect(&targets.echo))?;
            rogue.expect(HEADERS)?;
            Ok(rogue.send(DATA, 0, 1, b"half a line")?)
        },
    ),
];

/// Clients at each stage, many at a time.
pub fn a_client_that_misbehaves_costs_little_and_disturbs_nobody() -> anyhow::Result<()> {
    play_all(&Stage::build(&[])?, ROWS, MANY)
}
