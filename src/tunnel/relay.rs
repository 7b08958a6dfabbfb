//! Copying bytes both ways between the application's socket and the other side.
//!
//! One future serves both directions, so that an idle connection is one task and owns no buffer: it waits for
//! readiness first, then reads into the worker's slab and passes the slice on. What cannot be written is the only
//! thing a connection owns, and a small remainder is copied out, so that it does not pin a large buffer.
//!
//! A half close is passed on as a half close; a reset of either side resets the other. A peer must never take an
//! aborted connection for one that ended.

mod departure;
mod slab;
mod stream;
mod tcp;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use adit_hbone::Stream;
use adit_hbone::share::Ledger;
use adit_mesh::Outcome;
use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::live::Cut;

/// Bytes moved in one direction before other tasks of the worker get their turn.
const TURN: usize = 512 * 1024;
/// Bytes read at once: 64 to 128 KiB are best.
const CHUNK: usize = 128 * 1024;
/// A remainder up to this size is copied out of the buffer that it would pin.
const SMALL: usize = 16 * 1024;

/// Bytes relayed so far, shared with whoever shows them.
#[derive(Default, Debug)]
pub struct Counters {
    /// From the side that opened the connection.
    pub forth: Cell<u64>,
    /// Back to it.
    pub back: Cell<u64>,
}

/// How a relay ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// What it counts as.
    pub outcome: Outcome,
    /// What happened, if anything is worth telling.
    pub detail: Option<String>,
}

impl Ended {
    fn completed() -> Self {
        Self {
            outcome: Outcome::Completed,
            detail: None,
        }
    }

    fn reset(who: &str, why: impl std::fmt::Display) -> Self {
        Self {
            outcome: Outcome::Reset,
            detail: Some(format!("{who}: {why}")),
        }
    }
}

/// The two sides of a relay. `Client` is the side that opened the connection.
pub(crate) enum Sides {
    /// Both are sockets.
    Sockets(tcp::Sockets),
    /// The client is a socket, the server is at the other end of a tunnel (outbound).
    ClientSocket(stream::Tunnelled),
    /// The client is at the other end of a tunnel, the server is a socket (inbound).
    ServerSocket(stream::Tunnelled),
}

impl Sides {
    /// Plain TCP on both sides. What waits between them is counted in `ledger`.
    pub(crate) fn sockets(client: TcpStream, server: TcpStream, ledger: &Rc<Ledger>) -> Self {
        Self::Sockets(tcp::Sockets::new(client, server, ledger.clone()))
    }

    /// Out of a pod, through a tunnel.
    pub(crate) fn outbound(client: TcpStream, server: Stream) -> Self {
        Self::ClientSocket(stream::Tunnelled::new(client, server))
    }

    /// Out of a tunnel, into a pod.
    pub(crate) fn inbound(client: Stream, server: TcpStream) -> Self {
        Self::ServerSocket(stream::Tunnelled::new(server, client))
    }

    /// Moves what can be moved: bytes forth and back in this turn, and whether that was all there is.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> (u64, u64, Poll<Result<(), Ended>>) {
        match self {
            Self::Sockets(sockets) => sockets.poll_move(cx),
            Self::ClientSocket(tunnelled) => {
                let (to_stream, to_socket, state) = tunnelled.poll_move(cx, "client", "peer");
                (to_stream, to_socket, state)
            }
            Self::ServerSocket(tunnelled) => {
                let (to_stream, to_socket, state) = tunnelled.poll_move(cx, "application", "peer");
                (to_socket, to_stream, state)
            }
        }
    }

    /// Ends both sides so that neither takes it for a regular end.
    fn abort(&mut self) {
        match self {
            Self::Sockets(sockets) => sockets.abort(),
            Self::ClientSocket(tunnelled) | Self::ServerSocket(tunnelled) => tunnelled.abort(),
        }
    }
}

/// Relays until both directions have ended, one side resets, or `cut` ends it. `progress` is told of bytes that
/// went forth and back, at most once a turn.
pub(crate) async fn run(sides: &mut Sides, cut: &Cut, mut progress: impl FnMut(u64, u64)) -> Ended {
    let ended = Relay {
        sides,
        cut,
        progress: &mut progress,
    }
    .await;
    if ended.outcome != Outcome::Completed {
        sides.abort();
    }
    ended
}

struct Relay<'a, P> {
    sides: &'a mut Sides,
    cut: &'a Cut,
    progress: &'a mut P,
}

impl<P: FnMut(u64, u64)> Future for Relay<'_, P> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        if let Some((outcome, detail)) = this.cut.poll(cx) {
            return Poll::Ready(Ended {
                outcome,
                detail: Some(detail),
            });
        }
        let (forth, back, state) = this.sides.poll_move(cx);
        if forth + back > 0 {
            (this.progress)(forth, back);
        }
        state.map(|result| match result {
            Ok(()) => Ended::completed(),
            Err(ended) => ended,
        })
    }
}

/// Writes `pending` until all of it is taken, and tells of each part. Then nothing is held: what is left of a slice that
/// was used up would keep its whole buffer for as long as nothing follows.
fn poll_write_all(
    socket: &mut TcpStream,
    cx: &mut Context<'_>,
    pending: &mut Bytes,
    mut taken: impl FnMut(usize),
) -> Poll<io::Result<()>> {
    if pending.is_empty() {
        return Poll::Ready(Ok(()));
    }
    while !pending.is_empty() {
        let n = ready!(Pin::new(&mut *socket).poll_write(cx, pending))?;
        pending.advance(n);
        taken(n);
    }
    *pending = Bytes::new();
    Poll::Ready(Ok(()))
}

#[cfg(test)]
mod tests;
