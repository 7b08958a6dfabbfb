//! Whether the peer is still there. Data-aware: every byte that arrives is a sign of life, and a PING is sent only
//! on a silent path. A congested path that delays the answer to a PING but delivers data is not taken for dead.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use adit_mesh::Outcome;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use crate::failure::Failure;

/// Watches one connection.
pub(crate) struct Keepalive {
    ping: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    interval: Duration,
    timeout: Duration,
    /// Bytes that had arrived when the timer last fired.
    seen: u64,
    asked: bool,
}

impl Keepalive {
    pub(crate) fn new(ping: Option<PingPong>, interval: Duration, timeout: Duration) -> Self {
        Self {
            ping,
            timer: Box::pin(sleep(interval)),
            interval,
            timeout,
            seen: 0,
            asked: false,
        }
    }

    /// Ready when the peer is to be taken for dead, with what to say then; `received` counts the bytes that have arrived.
    pub(crate) fn poll_dead(&mut self, cx: &mut Context<'_>, received: u64) -> Poll<Failure> {
        let Some(ping) = &mut self.ping else {
            return Poll::Pending;
        };
        if self.asked && ping.poll_pong(cx).is_ready() {
            self.asked = false;
            self.timer.as_mut().reset(Instant::now() + self.interval);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if received != self.seen {
                self.seen = received;
            } else if self.asked {
                return Poll::Ready(self.silent());
            } else {
                // Fails only while an earlier PING is in flight, whose answer serves as well.
                let _ = ping.send_ping(Ping::opaque());
                // Registers for the answer.
                self.asked = ping.poll_pong(cx).is_pending();
            }
            let next = if self.asked { self.timeout } else { self.interval };
            self.timer.as_mut().reset(Instant::now() + next);
        }
        Poll::Pending
    }

    fn silent(&self) -> Failure {
        let detail = format!("the peer did not answer a PING within {:?}", self.timeout);
        Failure::new(Outcome::Http2Failed, detail)
    }
}
