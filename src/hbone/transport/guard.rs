//! Frames that cost the receiver and carry nothing: PING, SETTINGS, PRIORITY and the like. HTTP/2 answers or looks at each
//! of them, and the h2 crate at as many as come; a peer that sends nothing else would keep a worker busy, and with
//! it every pod that lives there. So their heads are counted on the way to HTTP/2.
//!
//! What carries something is bounded by what it carries: DATA by windows and by h2's own count of small frames, header
//! blocks by their size, streams by their number. RST_STREAM belongs to a stream that was opened.

use std::time::Duration;

use adit_mesh::Outcome;

use crate::allowance::Allowance;
use crate::failure::Failure;

/// Idle frames at once, and in every [`PERIOD`]. An honest peer sends some PINGs and two SETTINGS; a peer that measures
/// the path with a PING for each round trip of a millisecond during a burst is still one.
const IDLE_FRAMES: u32 = 1000;
/// See [`IDLE_FRAMES`].
const PERIOD: Duration = Duration::from_secs(10);
/// Frames that are given to HTTP/2 in one turn of a connection, whatever they are, before other connections get theirs:
/// about a millisecond of work. Full frames never come to so many in a turn.
const TURN_FRAMES: u32 = 2000;
/// Length of a frame's head (RFC 9113, section 4.1).
const HEAD: usize = 9;
/// Length of what a client says before its first frame (RFC 9113, section 3.4).
pub(super) const PREFACE: usize = 24;

/// Counts the frames of one direction of a connection.
pub(super) struct Guard {
    /// What has arrived of the next head.
    head: [u8; HEAD],
    filled: usize,
    /// Bytes up to the next head.
    skip: usize,
    allowance: Allowance,
    /// Frames of this turn.
    turn: u32,
    /// Why no more is read.
    violation: Option<Failure>,
}

impl Guard {
    /// A guard that passes over `skip` bytes before the first frame.
    pub(super) fn new(skip: usize) -> Self {
        Self {
            head: [0; HEAD],
            filled: 0,
            skip,
            allowance: Allowance::new(IDLE_FRAMES, PERIOD),
            turn: 0,
            violation: None,
        }
    }

    /// Looks at bytes that HTTP/2 gets.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + wanted].copy_from_slice(&bytes[..wanted]);
            self.filled += wanted;
            bytes = &bytes[wanted..];
            if self.filled == HEAD {
                self.filled = 0;
                self.frame();
            }
        }
    }

    fn frame(&mut self) {
        let [first, second, third, kind, ..] = self.head;
        self.skip = u32::from_be_bytes([0, first, second, third]) as usize;
        self.turn += 1;
        let name = match kind {
            // DATA, PUSH_PROMISE (which is an error), WINDOW_UPDATE (one for each DATA frame that we sent), CONTINUATION.
            0 | 5 | 8 | 9 => return,
            // A stream begins, which may be reset later.
            1 => return self.allowance.restore(),
            2 => "PRIORITY",
            3 => "RST_STREAM",
            4 => "SETTINGS",
            6 => "PING",
            7 => "GOAWAY",
            _ => "unknown",
        };
        if !self.allowance.take() {
            self.violation.get_or_insert_with(|| flood(name));
        }
    }

    /// Whether HTTP/2 is to have no more in this turn.
    pub(super) fn is_over(&self) -> bool {
        self.turn >= TURN_FRAMES || self.violation.is_some()
    }

    pub(super) fn end_turn(&mut self) {
        self.turn = 0;
    }

    /// Why the connection is to end, if it is.
    pub(super) fn violation(&self) -> Option<&Failure> {
        self.violation.as_ref()
    }
}

fn flood(name: &str) -> Failure {
    Failure::new(
        Outcome::ProtocolViolation,
        format!(
            "a flood: more than {IDLE_FRAMES} frames within {PERIOD:?} that carry nothing, the last one {name}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = (length as u32).to_be_bytes();
        let mut frame = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD + length, 0xff);
        frame
    }

    fn says(guard: &Guard) -> Option<String> {
        guard.violation().map(|failure| failure.detail.to_string())
    }

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let mut wire = vec![6; PREFACE];
        for _ in 0..IDLE_FRAMES {
            wire.extend(frame(6, 8));
            wire.extend(frame(0, 100));
        }
        for size in [1, 2, 7, 9, 10, 1000, wire.len()] {
            let mut guard = Guard::new(PREFACE);
            wire.chunks(size).for_each(|part| guard.pass(part));
            assert_eq!(says(&guard), None, "in parts of {size}");
            guard.pass(&frame(4, 0));
            let told = says(&guard).expect("one too many");
            assert!(told.ends_with("SETTINGS"), "in parts of {size}: {told}");
        }
    }

    #[test]
    fn what_carries_something_is_not_counted() {
        let mut guard = Guard::new(0);
        for _ in 0..10 * IDLE_FRAMES {
            // A stream that is reset, and bytes.
            [1, 3, 0, 8].iter().for_each(|kind| guard.pass(&frame(*kind, 5)));
        }
        assert_eq!(says(&guard), None);
        (0..=IDLE_FRAMES).for_each(|_| guard.pass(&frame(3, 4)));
        assert!(says(&guard).is_some_and(|told| told.ends_with("RST_STREAM")));
    }

    #[test]
    fn a_turn_ends_after_many_frames_of_any_kind() {
        let mut guard = Guard::new(0);
        (1..TURN_FRAMES).for_each(|_| guard.pass(&frame(0, 1)));
        assert!(!guard.is_over());
        guard.pass(&frame(0, 1));
        assert!(guard.is_over());
        guard.end_turn();
        assert!(!guard.is_over());
    }
}
