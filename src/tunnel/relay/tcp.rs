//! The relay between two sockets: passthrough, plaintext destinations and plaintext clients.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use adit_hbone::share::Ledger;
use adit_net::socket;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::departure::Departure;
use super::{CHUNK, Ended, SMALL, TURN, poll_write_all, slab};

/// Two sockets and what is under way between them.
pub(crate) struct Sockets {
    client: TcpStream,
    server: TcpStream,
    forth: Direction,
    back: Direction,
    ledger: Rc<Ledger>,
    /// Bytes of both directions as the ledger has them.
    counted: u64,
}

#[derive(Default)]
struct Direction {
    pending: Bytes,
    /// `pending` is a part of the worker's slab.
    pins: bool,
    state: State,
    departure: Departure,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    /// The source has ended; the rest is still to be written.
    Ending,
    Closed,
}

enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

impl Sockets {
    pub(super) fn new(client: TcpStream, server: TcpStream, ledger: Rc<Ledger>) -> Self {
        Self {
            client,
            server,
            forth: Direction::default(),
            back: Direction::default(),
            ledger,
            counted: 0,
        }
    }

    pub(super) fn poll_move(&mut self, cx: &mut Context<'_>) -> (u64, u64, Poll<Result<(), Ended>>) {
        // Where the pod's share of buffers is spent, little waits for a side that takes nothing.
        let chunk = if self.ledger.has_room(CHUNK as u64) {
            CHUNK
        } else {
            SMALL
        };
        let (forth, first) = self
            .forth
            .poll_move(cx, &mut self.client, &mut self.server, chunk);
        let (back, second) = self.back.poll_move(cx, &mut self.server, &mut self.client, chunk);
        self.count(self.forth.pending.len() + self.back.pending.len());
        let state = match (first, second) {
            (Poll::Ready(Err(failed)), _) => Poll::Ready(Err(failed.ended("client", "server"))),
            (_, Poll::Ready(Err(failed))) => Poll::Ready(Err(failed.ended("server", "client"))),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        };
        (forth, back, state)
    }

    fn count(&mut self, waiting: usize) {
        let waiting = waiting as u64;
        if waiting > self.counted {
            self.ledger.queue(waiting - self.counted);
        } else {
            self.ledger.unqueue(self.counted - waiting);
        }
        self.counted = waiting;
    }

    pub(super) fn abort(&mut self) {
        // Fails only on a socket that is gone already.
        let _ = socket::reset(&self.client);
        let _ = socket::reset(&self.server);
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl Failed {
    fn ended(self, from: &str, to: &str) -> Ended {
        match self {
            Self::Reading(error) => Ended::reset(from, error),
            Self::Writing(error) => Ended::reset(to, error),
        }
    }
}

impl Direction {
    fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        chunk: usize,
    ) -> (u64, Poll<Result<(), Failed>>) {
        let mut moved = 0;
        let state = self.poll_until_blocked(cx, from, to, (&mut moved, chunk));
        if self.pending.is_empty() || state.is_ready() {
            self.departure.over();
            return (moved, state);
        }
        if self.pins && self.pending.len() <= SMALL {
            self.pins = false;
            self.pending = Bytes::copy_from_slice(&self.pending);
        }
        if moved > 0 {
            self.departure.over();
        }
        let departed = self.departure.poll(cx, from);
        (moved, departed.map(|error| Err(Failed::Reading(error))))
    }

    fn poll_until_blocked(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        (moved, chunk): (&mut u64, usize),
    ) -> Poll<Result<(), Failed>> {
        loop {
            let taken = |n| *moved += n as u64;
            ready!(poll_write_all(to, cx, &mut self.pending, taken)).map_err(Failed::Writing)?;
            match self.state {
                State::Closed => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Failed::Writing)?;
                    self.state = State::Closed;
                }
                State::Open if *moved >= TURN as u64 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Open => {
                    self.pending = ready!(slab::poll_read(from, cx, chunk)).map_err(Failed::Reading)?;
                    self.pins = true;
                    if self.pending.is_empty() {
                        self.state = State::Ending;
                    }
                }
            }
        }
    }
}
