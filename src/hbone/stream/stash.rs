//! What arrived for an application that has stopped reading.
//!
//! HTTP/2 counts each small DATA frame that it holds against a budget of the whole connection, and ends the
//! connection when it is used up: one application that stopped reading, fed byte by byte, would end its neighbours
//! with it. So frames of a stalled stream are taken out of HTTP/2 and small ones are copied together. The window
//! that the peer sees does not move by that, so no more than one stream's window can gather here.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A frame of less than this is copied: what it would pin is many times its size.
const SMALL: usize = 4096;
/// Size of the pieces in which small frames are gathered.
const PIECE: usize = 16 * 1024;

/// Bytes in their order, in pieces of sensible size.
#[derive(Default)]
pub(super) struct Stash {
    pieces: VecDeque<Bytes>,
    gathering: BytesMut,
}

impl Stash {
    pub(super) fn push(&mut self, data: Bytes) {
        if data.len() >= SMALL {
            self.cut();
            self.pieces.push_back(data);
            return;
        }
        if self.gathering.len() + data.len() > PIECE {
            self.cut();
        }
        if self.gathering.capacity() - self.gathering.len() < data.len() {
            self.cut();
            self.gathering = BytesMut::with_capacity(PIECE);
        }
        self.gathering.extend_from_slice(&data);
    }

    /// The oldest bytes.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.cut();
        }
        let piece = self.pieces.pop_front();
        if piece.is_none() {
            // Only a stalled stream owns memory.
            *self = Self::default();
        }
        piece
    }

    fn cut(&mut self) {
        if !self.gathering.is_empty() {
            self.pieces.push_back(self.gathering.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_small_and_large_frames() {
        let mut stash = Stash::default();
        let frames: Vec<Bytes> = [1, 2, SMALL, 3, PIECE, 5, 6]
            .map(|length| vec![length as u8; length].into())
            .into();
        frames.iter().for_each(|frame| stash.push(frame.clone()));
        let mut out = Vec::new();
        while let Some(piece) = stash.pop() {
            out.extend_from_slice(&piece);
        }
        assert_eq!(out, frames.concat());
    }

    #[test]
    fn single_bytes_become_few_pieces() {
        let mut stash = Stash::default();
        for n in 0..100_000u32 {
            stash.push(vec![n as u8].into());
        }
        assert!(stash.pieces.len() < 10, "{}", stash.pieces.len());
        let lengths: usize = std::iter::from_fn(|| stash.pop()).map(|piece| piece.len()).sum();
        assert_eq!(lengths, 100_000);
    }
}
