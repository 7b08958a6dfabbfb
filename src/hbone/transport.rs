//! TLS under HTTP/2, driven by hand.
//!
//! tokio-rustls reads one record per call and writes to the socket in every write; under HTTP/2 with many small
//! frames that is most of the cost. Here one socket read of up to 256 KiB feeds many records, and what HTTP/2
//! writes is gathered in full records and sent by one flush after each turn of the connection. That cost
//! 40 % less CPU per request at 32 connections and about a third less per byte. What fills a record is sealed straight
//! from where HTTP/2 has it; only what does not is staged, so that bulk is not copied once more.
//!
//! The contract: [`AsyncWrite::poll_flush`] does nothing. Whoever polls the HTTP/2 connection must call
//! [`Flush::poll_turn`] after **every** poll, with the same context ([`turns`] does both). Back-pressure comes from
//! `poll_write`, which is pending while the socket is blocked and [`HIGH_WATER`] bytes wait.
//!
//! Buffers belong to the worker ([`crate::buffers`]): between turns a connection holds none but the one that collects
//! its output while its socket is blocked.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, IoSlice, Write};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::future::poll_fn;
use rustls::Connection;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::buffers;
use crate::failure::Failure;
use guard::{Guard, PREFACE};

mod guard;
mod session;

pub use session::{PeerChain, Role, handshake};

/// Bytes that wait before they are sent ahead of the end of the turn. 64 to 128 KiB are best; 1 MiB costs a quarter
/// more because it falls out of the CPU's cache.
pub const HIGH_WATER: usize = 128 * 1024;

/// Plaintext of a full record (RFC 8446, section 5.1).
const RECORD: usize = 16 * 1024;

/// Ciphertext read in one turn before the applications' relays get theirs: without an end a fast peer would fill its
/// whole window first, which falls out of the CPU's cache, and keep the other connections of the worker waiting.
const TURN_INPUT: usize = 1024 * 1024;

/// A TLS session over a TCP socket, as HTTP/2 sees it.
pub struct Transport(Rc<RefCell<Inner>>);

/// The handle that flushes a [`Transport`] and tells about it.
#[derive(Clone)]
pub struct Flush(Rc<RefCell<Inner>>);

struct Inner {
    socket: TcpStream,
    tls: Connection,
    /// Plaintext that HTTP/2 wrote and that is not sealed yet, less than a record; without capacity when there is none.
    staged: Vec<u8>,
    /// Plaintext sealed since everything was sent the last time.
    sealed: usize,
    /// Ciphertext read from the socket; `input[unread]` is not yet given to rustls. Empty between turns.
    input: Box<[u8]>,
    unread: Range<usize>,
    /// Bytes read from the socket in this turn.
    turn_input: usize,
    /// The peer ended the TCP stream.
    end_of_input: bool,
    /// Why nothing can be sent any more. Not told at once: why the peer closed (an alert of TLS, a GOAWAY) may wait
    /// to be read, and is the better answer. Whoever reads comes to the end soon, and is told then.
    broken: Option<io::Error>,
    /// What TLS itself failed with; HTTP/2 passes on no more than the words of an error.
    tls_error: Option<rustls::Error>,
    /// Plaintext bytes received so far, by which the keepalive tells a busy path from a silent one.
    received: u64,
    /// Counts what HTTP/2 is given, and says when it is too much.
    guard: Guard,
    /// The socket was full when it was last written to.
    blocked: Rc<Cell<bool>>,
}

impl Transport {
    /// Wraps a socket and a session; HTTP/2 may use it once the session's [`handshake`] is over.
    fn new(socket: TcpStream, mut tls: Connection) -> (Self, Flush) {
        tls.set_buffer_limit(None);
        let guard = Guard::new(match &tls {
            Connection::Server(_) => PREFACE,
            Connection::Client(_) => 0,
        });
        let inner = Rc::new(RefCell::new(Inner {
            socket,
            tls,
            staged: Vec::new(),
            sealed: 0,
            input: Box::default(),
            unread: 0..0,
            turn_input: 0,
            end_of_input: false,
            broken: None,
            tls_error: None,
            received: 0,
            guard,
            blocked: Rc::default(),
        }));
        (Self(inner.clone()), Flush(inner))
    }
}

impl Flush {
    /// Seals and sends what the turn has staged. Pending only while the socket is blocked; the task is then woken
    /// when it is writable again. A socket that broke is reported to whoever reads.
    pub fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// What TLS failed with, if that is what ended the connection.
    pub fn tls_error(&self) -> Option<rustls::Error> {
        self.0.borrow().tls_error.clone()
    }

    /// Why the peer's conduct ends the connection, if it does: nothing more is read from it.
    pub fn violation(&self) -> Option<Failure> {
        self.0.borrow().guard.violation().cloned()
    }

    /// Bytes of HTTP/2 received so far.
    pub fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// Whether the socket takes no more for now; kept true to the state of the last write.
    pub fn blocked(&self) -> Rc<Cell<bool>> {
        self.0.borrow().blocked.clone()
    }

    /// Ends the turn: buffers that it did not use up go back to the worker.
    pub fn end_turn(&self) {
        self.0.borrow_mut().end_turn();
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_room(cx));
        Poll::Ready(inner.take(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_send(cx));
        inner.tls.send_close_notify();
        ready!(inner.poll_send(cx));
        Pin::new(&mut inner.socket).poll_shutdown(cx)
    }
}

impl Inner {
    /// Seals what fills records, and stages the rest.
    fn take(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let full = (self.staged.len() + total) / RECORD * RECORD;
        let mut left = full.saturating_sub(self.staged.len());
        if full > 0 {
            let mut records = Records::new();
            records.push(IoSlice::new(&self.staged));
            for slice in slices {
                let n = slice.len().min(left);
                left -= n;
                records.push(IoSlice::new(&slice[..n]));
            }
            // Without a limit of its buffer rustls takes everything.
            let taken = self.tls.writer().write_vectored(&records)?;
            debug_assert_eq!(taken, full);
            drop(records);
            left = full - self.staged.len();
            self.staged.clear();
            self.sealed += full;
        }
        for slice in slices {
            let n = slice.len().min(left);
            left -= n;
            self.stage(&slice[n..]);
        }
        Ok(total)
    }

    fn stage(&mut self, data: &[u8]) {
        if self.staged.capacity() == 0 && !data.is_empty() {
            self.staged = buffers::take_staging();
        }
        self.staged.extend_from_slice(data);
    }

    /// Ready when more may be taken.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.staged.len() + self.sealed < HIGH_WATER {
            return Poll::Ready(());
        }
        self.poll_send(cx)
    }

    /// Ready when everything is sent, or never can be.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.broken.is_none() {
            let written = self.poll_seal_and_write(cx);
            self.blocked.set(written.is_pending());
            if let Err(error) = ready!(written) {
                self.broken = Some(error);
            }
        }
        buffers::put_staging(std::mem::take(&mut self.staged));
        self.sealed = 0;
        Poll::Ready(())
    }

    fn poll_seal_and_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.tls.wants_write() {
                ready!(self.poll_write_tls(cx))?;
            }
            if self.staged.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.tls.writer().write_all(&self.staged)?;
            self.sealed += self.staged.len();
            // Sealed, it belongs to rustls: even while the socket is blocked the buffer serves others.
            buffers::put_staging(std::mem::take(&mut self.staged));
        }
    }

    fn poll_write_tls(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.tls.write_tls(&mut SocketWriter(&self.socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.guard.is_over() {
            // Its turn is over, or everything is: whoever drives the connection looks for the violation.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let mut plaintext = self.tls.reader();
            match plaintext.fill_buf() {
                Ok(chunk) => {
                    let n = chunk.len().min(buf.remaining());
                    buf.put_slice(&chunk[..n]);
                    self.guard.pass(&chunk[..n]);
                    plaintext.consume(n);
                    self.received += n as u64;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The peer closed TCP without a close_notify: HTTP/2 frames carry their own ends, so
                // truncation cannot pass for a complete stream.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
            if self.unread.is_empty() && !self.end_of_input {
                ready!(self.poll_fill(cx))?;
            }
            self.feed()?;
        }
    }

    /// Reads ciphertext from the socket into a buffer of the worker.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turn_input >= TURN_INPUT {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.input.len() != buffers::SIZE {
            self.input = buffers::take_input();
        }
        let mut read = ReadBuf::new(&mut self.input);
        let end = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read));
        let n = read.filled().len();
        if n == 0
            && let Some(error) = self.broken.take()
        {
            return Poll::Ready(Err(error));
        }
        end?;
        self.unread = 0..n;
        self.turn_input += n;
        self.end_of_input = n == 0;
        Poll::Ready(Ok(()))
    }

    /// Gives rustls one read's worth of ciphertext and lets it decrypt.
    fn feed(&mut self) -> io::Result<()> {
        let mut rest = &self.input[self.unread.clone()];
        let before = rest.len();
        self.tls.read_tls(&mut rest)?;
        self.unread.start += before - rest.len();
        match self.tls.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => {
                self.tls_error.get_or_insert_with(|| error.clone());
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Between turns a connection owns no buffer of the worker: what rustls could not take yet (HTTP/2 stopped
    /// reading because it could not write) is copied out at its exact size.
    fn end_turn(&mut self) {
        self.turn_input = 0;
        self.guard.end_turn();
        if self.input.len() == buffers::SIZE {
            let rest = self.input[self.unread.clone()].into();
            self.unread = 0..self.unread.len();
            buffers::put_input(std::mem::replace(&mut self.input, rest));
        }
    }
}

/// What becomes records: what is staged, and the parts of a frame.
type Records<'a> = SmallVec<[IoSlice<'a>; 4]>;

struct SocketWriter<'a>(&'a TcpStream);

impl Write for SocketWriter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.try_write(data)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Polls `turn` until it is ready, and after every poll sends what it wrote to the transport of `flush`.
///
/// # Errors
/// Those of `turn`; if TLS failed in it, what TLS failed with.
pub async fn turns<T>(
    flush: &Flush,
    mut turn: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Failure>>,
) -> Result<T, Failure> {
    let result = poll_fn(|cx| {
        let polled = turn(cx);
        // Pending is fine: the socket wakes this task.
        let _ = flush.poll_turn(cx);
        flush.end_turn();
        polled
    })
    .await;
    result.map_err(|failure| flush.tls_error().map_or(failure, |error| Failure::tls(&error)))
}
