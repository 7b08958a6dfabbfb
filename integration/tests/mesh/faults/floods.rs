//! Clients on a pod's HBONE port that send as much as they can of what costs the receiver more than the sender.

use std::io;

use adit_integration::harness::rogue::Rogue;
use adit_integration::harness::rogue::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, HEADERS, INITIAL_WINDOW_SIZE, LARGEST_WINDOW, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use adit_mesh::Outcome;

use super::callers::{Row, play_all};
use super::{Stage, Told};

/// Frames of a flood, unless it is cut off.
const FLOOD: u32 = 200_000;

/// What everybody accepts without being asked (RFC 9113, section 4.2).
const LARGEST_FRAME: usize = 16 << 10;

/// The number of the stream that a client opens after `n` others.
fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// Acknowledges the tunnel's SETTINGS: from then on its windows are as large as they say.
fn acknowledge(rogue: &mut Rogue) -> io::Result<()> {
    rogue.expect(SETTINGS)?;
    rogue.send(SETTINGS, ACK, 0, &[])
}

/// A header block in as many frames as it takes.
fn headers(rogue: &mut Rogue, block: &[u8]) -> io::Result<()> {
    let parts: Vec<_> = block.chunks(LARGEST_FRAME).collect();
    for (index, part) in parts.iter().enumerate() {
        let kind = if index == 0 { HEADERS } else { CONTINUATION };
        let flags = if index + 1 == parts.len() { END_HEADERS } else { 0 };
        rogue.send(kind, flags, 1, part)?;
    }
    Ok(())
}

const ROWS: &[Row] = &[
    Row {
        name: "sends headers that are too large",
        told: &[],
        fault: |rogue, targets| {
            rogue.greet(&[])?;
            headers(
                rogue,
                &[frames::connect(&targets.echo), frames::junk(70_000)].concat(),
            )?;
            // Status 431, which is a server's answer to that.
            rogue.expect(HEADERS)?;
            Ok(rogue.reset()?)
        },
    },
    Row {
        name: "sends headers that are far too large",
        told: &[Told::Refused(Outcome::ProtocolViolation, "")],
        fault: |rogue, targets| {
            rogue.greet(&[])?;
            let _cut = headers(
                rogue,
                &[frames::connect(&targets.echo), frames::junk(1 << 20)].concat(),
            );
            Ok(())
        },
    },
    Row {
        name: "never ends its headers",
        told: &[Told::Refused(Outcome::ProtocolViolation, "")],
        fault: |rogue, targets| {
            rogue.greet(&[])?;
            rogue.send(HEADERS, 0, 1, &frames::connect(&targets.echo))?;
            let _cut = rogue.flood(FLOOD, |_| {
                frames::frame(CONTINUATION, 0, 1, &frames::literal(4, "/"))
            });
            Ok(())
        },
    },
    Row {
        name: "floods with empty CONTINUATION frames",
        told: &[Told::Refused(Outcome::ProtocolViolation, "")],
        fault: |rogue, targets| {
            rogue.greet(&[])?;
            rogue.send(HEADERS, 0, 1, &frames::connect(&targets.echo))?;
            let _cut = rogue.flood(FLOOD, |_| frames::frame(CONTINUATION, 0, 1, &[]));
            Ok(())
        },
    },
    Row {
        name: "floods with PINGs",
        told: &[Told::Refused(Outcome::ProtocolViolation, "PING")],
        fault: |rogue, _| {
            rogue.greet(&[])?;
            let _cut = rogue.flood(FLOOD, |n| frames::frame(PING, 0, 0, &u64::from(n).to_be_bytes()));
            Ok(())
        },
    },
    Row {
        name: "floods with answers to PINGs",
        told: &[Told::Refused(Outcome::ProtocolViolation, "PING")],
        fault: |rogue, _| {
            rogue.greet(&[])?;
            let _cut = rogue.flood(FLOOD, |n| {
                frames::frame(PING, ACK, 0, &u64::from(n).to_be_bytes())
            });
            Ok(())
        },
    },
    Row {
        name: "floods with SETTINGS",
        told: &[Told::Refused(Outcome::ProtocolViolation, "SETTINGS")],
        fault: |rogue, _| {
            rogue.greet(&[])?;
            let _cut = rogue.flood(FLOOD, |_| frames::frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
            Ok(())
        },
    },
    Row {
        name: "floods with PRIORITY frames",
        told: &[Told::Refused(Outcome::ProtocolViolation, "PRIORITY")],
        fault: |rogue, _| {
            rogue.greet(&[])?;
            let _cut = rogue.flood(FLOOD, |_| frames::frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]));
            Ok(())
        },
    },
    Row {
        name: "floods with frames of an unknown kind",
        told: &[Told::Refused(Outcome::ProtocolViolation, "unknown")],
        fault: |rogue, _| {
            rogue.greet(&[])?;
            let _cut = rogue.flood(FLOOD, |_| frames::frame(0x77, 0, 1, &[]));
            Ok(())
        },
    },
    Row {
        name: "floods with streams that it keeps",
        told: &[Told::Refused(Outcome::ProtocolViolation, "excessive load")],
        fault: |rogue, targets| {
            rogue.greet(&[])?;
            let block = frames::connect(&targets.echo);
            let _cut = rogue.flood(FLOOD, |n| frames::frame(HEADERS, END_HEADERS, stream(n), &block));
            Ok(rogue.reset()?)
        },
    },
    Row {
        name: "floods with streams that it resets",
        told: &[Told::Refused(Outcome::Overloaded, "gave up")],
        fault: |rogue, targets| {
            rogue.greet(&[])?;
            let block = frames::connect(&targets.echo);
            let _cut = rogue.flood(FLOOD, |n| {
                let open = frames::frame(HEADERS, END_HEADERS, stream(n), &block);
                [open, frames::frame(RST_STREAM, 0, stream(n), &8u32.to_be_bytes())].concat()
            });
            Ok(rogue.reset()?)
        },
    },
    Row {
        name: "floods with WINDOW_UPDATE frames",
        told: &[],
        fault: |rogue, _| {
            rogue.greet(&[])?;
            let _cut = rogue.flood(FLOOD, |_| frames::frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()));
            Ok(rogue.reset()?)
        },
    },
    Row {
        name: "floods with DATA of one byte",
        told: &[],
        fault: |rogue, targets| {
            rogue.greet(&[])?;
            rogue.send(HEADERS, END_HEADERS, 1, &frames::connect(&targets.echo))?;
            rogue.expect(HEADERS)?;
            let _cut = rogue.flood(FLOOD, |_| frames::frame(DATA, 0, 1, b"x"));
            Ok(rogue.reset()?)
        },
    },
    Row {
        name: "sends more than its window",
        told: &[Told::Ended(Outcome::Reset, "flow-control")],
        fault: |rogue, targets| {
            rogue.greet(&[])?;
            acknowledge(rogue)?;
            rogue.send(HEADERS, END_HEADERS, 1, &frames::connect(&targets.sink))?;
            rogue.expect(HEADERS)?;
            let part = vec![b'x'; LARGEST_FRAME];
            let _cut = rogue.flood(2560, |_| frames::frame(DATA, 0, 1, &part));
            Ok(())
        },
    },
    Row {
        name: "takes nothing of what it asked for",
        told: &[Told::Ended(Outcome::Reset, "PING within 1s")],
        fault: |rogue, targets| {
            rogue.greet(&[(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)])?;
            acknowledge(rogue)?;
            rogue.send(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - 65_535).to_be_bytes())?;
            for stream in [1, 3, 5, 7] {
                rogue.send(HEADERS, END_HEADERS, stream, &frames::connect(&targets.echo))?;
                rogue.expect(HEADERS)?;
            }
            let line = [vec![b'x'; LARGEST_FRAME - 1], b"\n".to_vec()].concat();
            for _ in 0..240 {
                for stream in [1, 3, 5, 7] {
                    rogue.send(DATA, 0, stream, &line)?;
                }
            }
            rogue.stop_reading();
            Ok(())
        },
    },
];

/// One at a time.
pub fn a_client_that_floods_costs_little_and_disturbs_nobody() -> anyhow::Result<()> {
    play_all(&Stage::build(&[])?, ROWS, 1)
}
