//! Noticing that a socket broke while nothing is read from it.
//!
//! A relay whose far end takes nothing does not read either, and a reset behind unread bytes wakes nobody who waits for
//! something else: the connection would stay for as long as the far end stalls. So a stall that lasts gets a watch of
//! its own. Most last microseconds, and pay only for a timer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adit_net::socket::watch_broken;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long a stall lasts before it is worth a descriptor: longer than any turn, shorter than anybody's patience.
const LONG: Duration = Duration::from_secs(1);

/// The watch over one socket.
#[derive(Default)]
pub(super) enum Departure {
    /// Bytes flow.
    #[default]
    Flowing,
    /// A stall, shorter than [`LONG`] so far.
    Stalled(Pin<Box<Sleep>>),
    /// A long stall.
    Watched(Pin<Box<dyn Future<Output = ()>>>),
    /// No descriptor could be had for it: the stall has to end by itself.
    Unwatched,
}

impl Departure {
    /// To be called whenever the socket has bytes that the far end does not take. Ready when the socket is broken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<io::Error> {
        loop {
            match self {
                Self::Flowing => *self = Self::Stalled(Box::pin(sleep(LONG))),
                Self::Stalled(long) => {
                    ready!(long.as_mut().poll(cx));
                    *self = match watch_broken(socket) {
                        Ok(broken) => Self::Watched(Box::pin(broken)),
                        Err(error) => {
                            tracing::debug!(%error, "a stalled connection is not watched");
                            Self::Unwatched
                        }
                    };
                }
                Self::Watched(broken) => {
                    ready!(broken.as_mut().poll(cx));
                    let reset = || io::ErrorKind::ConnectionReset.into();
                    return Poll::Ready(socket.take_error().ok().flatten().unwrap_or_else(reset));
                }
                Self::Unwatched => return Poll::Pending,
            }
        }
    }

    /// Bytes flow again.
    pub(super) fn over(&mut self) {
        *self = Self::Flowing;
    }
}
