//! The relay between a socket and a stream of a tunnel.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use adit_hbone::{Failure, Stream};
use adit_mesh::Outcome;
use adit_net::socket;
use bytes::Bytes;
use h2::Reason;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::departure::Departure;
use super::{CHUNK, Ended, SMALL, TURN, poll_write_all, slab};

/// A socket and a stream, and what is under way between them.
pub(crate) struct Tunnelled {
    socket: TcpStream,
    stream: Stream,
    /// The socket has ended and the stream was told.
    sent_all: bool,
    received: Receiving,
    /// Bytes of the stream that the socket has not taken yet.
    pending: Bytes,
    /// `pending` is a part of a larger buffer.
    pins: bool,
    departure: Departure,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    /// The stream has ended; the rest is still to be written.
    Ending,
    Closed,
}

enum Failed {
    Socket(std::io::Error),
    Stream(h2::Error),
}

impl Tunnelled {
    pub(super) fn new(socket: TcpStream, stream: Stream) -> Self {
        Self {
            socket,
            stream,
            sent_all: false,
            received: Receiving::Open,
            pending: Bytes::new(),
            pins: false,
            departure: Departure::default(),
        }
    }

    /// Bytes moved to the stream and to the socket.
    pub(super) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        socket_name: &str,
        stream_name: &str,
    ) -> (u64, u64, Poll<Result<(), Ended>>) {
        let (mut sent, mut received) = (0, 0);
        let to_stream = self.poll_to_stream(cx, &mut sent);
        let to_socket = self.poll_to_socket(cx, &mut received);
        let stalled = to_socket.is_pending() && !self.pending.is_empty();
        self.stream.note_receive_stalled(stalled);
        if stalled && self.pins && self.pending.len() <= SMALL {
            self.pins = false;
            self.pending = Bytes::copy_from_slice(&self.pending);
        }
        let state = match (to_stream, to_socket) {
            (Poll::Ready(Err(failed)), _) | (_, Poll::Ready(Err(failed))) => {
                Poll::Ready(Err(self.ended(failed, socket_name, stream_name)))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => self
                .poll_unseen_reset(cx, stalled)
                .map(|failed| Err(self.ended(failed, socket_name, stream_name))),
        };
        (sent, received, state)
    }

    /// A reset of the peer that no read will show: nothing more is read from the stream, or not now.
    fn poll_unseen_reset(&mut self, cx: &mut Context<'_>, stalled: bool) -> Poll<Failed> {
        if !stalled && self.received != Receiving::Closed {
            return Poll::Pending;
        }
        match ready!(self.stream.poll_reset(cx)) {
            // The peer needs no more of our bytes; what it sent stays valid (RFC 9113, section 8.1).
            Ok(Reason::NO_ERROR) => Poll::Pending,
            Ok(reason) => Poll::Ready(Failed::Stream(reason.into())),
            Err(error) => Poll::Ready(Failed::Stream(error)),
        }
    }

    /// What a failure means for the connection. Where we ended the tunnel under it, that is the reason, and not the reset
    /// by which the stream shows it.
    fn ended(&self, failed: Failed, socket_name: &str, stream_name: &str) -> Ended {
        let error = match failed {
            Failed::Socket(error) => return Ended::reset(socket_name, error),
            Failed::Stream(error) => error,
        };
        match self.stream.cause() {
            Some(Failure { outcome, detail }) if is_ours(outcome) => Ended {
                outcome,
                detail: Some(detail.to_string()),
            },
            Some(failure) => Ended::reset(stream_name, failure),
            None => Ended::reset(stream_name, error),
        }
    }

    pub(super) fn abort(&mut self) {
        // Fails only on a socket that is gone already.
        let _ = socket::reset(&self.socket);
        self.stream.reset(Reason::CANCEL);
    }

    fn poll_to_stream(&mut self, cx: &mut Context<'_>, sent: &mut u64) -> Poll<Result<(), Failed>> {
        if self.sent_all {
            return Poll::Ready(Ok(()));
        }
        loop {
            if *sent >= TURN as u64 {
                self.stream.release_capacity();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Readiness before capacity: what is reserved and not used is taken from the other streams.
            if self
                .socket
                .poll_read_ready(cx)
                .map_err(Failed::Socket)?
                .is_pending()
            {
                return Poll::Pending;
            }
            let Poll::Ready(granted) = self.stream.poll_capacity(cx, CHUNK) else {
                return self
                    .departure
                    .poll(cx, &self.socket)
                    .map(|error| Err(Failed::Socket(error)));
            };
            self.departure.over();
            let granted = granted.map_err(Failed::Stream)?;
            let data = match slab::poll_read(&mut self.socket, cx, granted) {
                Poll::Ready(data) => data.map_err(Failed::Socket)?,
                Poll::Pending => {
                    self.stream.release_capacity();
                    return Poll::Pending;
                }
            };
            if data.is_empty() {
                self.sent_all = true;
                return Poll::Ready(self.stream.finish().map_err(Failed::Stream));
            }
            *sent += data.len() as u64;
            let short = data.len() < granted;
            self.stream.send(data).map_err(Failed::Stream)?;
            if short {
                self.stream.release_capacity();
            }
        }
    }

    fn poll_to_socket(&mut self, cx: &mut Context<'_>, received: &mut u64) -> Poll<Result<(), Failed>> {
        loop {
            let taken = |n| {
                // Only now: the window that the peer sees is what the application has taken.
                self.stream.taken(n);
                *received += n as u64;
            };
            ready!(poll_write_all(&mut self.socket, cx, &mut self.pending, taken)).map_err(Failed::Socket)?;
            match self.received {
                Receiving::Closed => return Poll::Ready(Ok(())),
                Receiving::Ending => {
                    ready!(Pin::new(&mut self.socket).poll_shutdown(cx)).map_err(Failed::Socket)?;
                    self.received = Receiving::Closed;
                }
                Receiving::Open if *received >= TURN as u64 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Receiving::Open => match ready!(self.stream.poll_data(cx)).map_err(Failed::Stream)? {
                    Some(data) => (self.pending, self.pins) = (data, true),
                    None => self.received = Receiving::Ending,
                },
            }
        }
    }
}

/// Whether a stream or a tunnel that ends like this was ended by our own decision.
fn is_ours(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::CertificateRevoked
            | Outcome::Overloaded
            | Outcome::PodGone
            | Outcome::Shutdown
            | Outcome::PolicyChanged
    )
}
