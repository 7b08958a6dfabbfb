//! The buffer that a worker reads applications' bytes into. Slices of it travel to HTTP/2 without a copy; once all
//! of them are sent, the same memory is used again.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// Size of a slab in bytes; a few reads of the usual size.
const SIZE: usize = 256 * 1024;
/// With less room than this a new slab is begun, so that reads do not get ever smaller.
const LEAST: usize = 16 * 1024;

thread_local! {
    static SLAB: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Reads at most `limit` bytes from a socket; empty at its end. While the socket has nothing, nothing is held.
///
/// # Errors
/// Those of the socket.
pub(super) fn poll_read(
    socket: &mut TcpStream,
    cx: &mut Context<'_>,
    limit: usize,
) -> Poll<io::Result<Bytes>> {
    SLAB.with_borrow_mut(|slab| {
        if slab.capacity() - slab.len() < limit.min(LEAST) {
            slab.reserve(SIZE);
        }
        ready!(poll_read_buf(
            Pin::new(socket),
            cx,
            &mut (&mut *slab).limit(limit)
        ))?;
        Poll::Ready(Ok(slab.split().freeze()))
    })
}
