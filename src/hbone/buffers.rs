//! The worker's large buffers. A connection borrows one for a single turn (one poll) and gives it back, so that
//! thousands of idle connections own none: what a worker keeps is bounded by what it uses at one time.

use std::cell::RefCell;

/// Size of a buffer in bytes: one socket read feeds up to sixteen TLS records, and further growth gains nothing
/// (measured: 128 KiB to 1 MiB cost the same per byte).
pub const SIZE: usize = 256 * 1024;

/// Buffers of each kind kept for the next turn. More than one is in use only while sockets are blocked.
const KEPT: usize = 4;

thread_local! {
    static INPUT: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static STAGING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to read into: [`SIZE`] bytes of whatever was in it before.
pub(crate) fn take_input() -> Box<[u8]> {
    INPUT
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())
}

/// Gives an input buffer back.
pub(crate) fn put_input(buffer: Box<[u8]>) {
    if buffer.len() == SIZE {
        INPUT.with_borrow_mut(|free| keep(free, buffer));
    }
}

/// An empty buffer to collect output in.
pub(crate) fn take_staging() -> Vec<u8> {
    STAGING
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(SIZE))
}

/// Gives a staging buffer back.
pub(crate) fn put_staging(mut buffer: Vec<u8>) {
    if buffer.capacity() == SIZE {
        buffer.clear();
        STAGING.with_borrow_mut(|free| keep(free, buffer));
    }
}

fn keep<T>(free: &mut Vec<T>, buffer: T) {
    if free.len() < KEPT {
        free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staging_buffer_comes_back_empty() {
        let mut buffer = take_staging();
        buffer.extend_from_slice(b"secret");
        put_staging(buffer);
        assert!(take_staging().is_empty());
    }

    #[test]
    fn keeps_only_a_few() {
        let many: Vec<_> = (0..10).map(|_| take_input()).collect();
        many.into_iter().for_each(put_input);
        assert_eq!(INPUT.with_borrow(Vec::len), KEPT);
    }
}
