//! What a stream has given to HTTP/2 and is not sent yet. It is counted where it lies, byte by byte and for the pod: a
//! peer that opens its windows and then takes nothing makes each stream queue as much as it may.
//!
//! Where the pod's share is spent, a stream queues little, and more only once that is sent. Nobody is cut off for that:
//! the application waits, as it would for a slow peer without a tunnel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use crate::share::Ledger;

/// What a stream may queue where the pod's share is spent.
const LITTLE: usize = 16 * 1024;

/// One stream's queue.
pub(super) struct Outgoing {
    queued: Cell<u64>,
    waiting: RefCell<Option<Waker>>,
    ledger: Rc<Ledger>,
}

impl Outgoing {
    pub(super) fn new(ledger: Rc<Ledger>) -> Rc<Self> {
        Rc::new(Self {
            queued: Cell::new(0),
            waiting: RefCell::new(None),
            ledger,
        })
    }

    /// How much of `wanted` may be queued, with regard to the pod's share.
    pub(super) fn poll_room(&self, cx: &Context<'_>, wanted: usize) -> Poll<usize> {
        if self.ledger.has_room(wanted as u64) {
            return Poll::Ready(wanted);
        }
        if self.queued.get() == 0 {
            return Poll::Ready(wanted.min(LITTLE));
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Bytes in the queue of a stream.
pub(crate) struct Queued {
    data: Bytes,
    /// For whom so many are counted until this is dropped.
    counted: Option<(Rc<Outgoing>, u64)>,
}

impl Queued {
    pub(super) fn new(data: Bytes, outgoing: &Rc<Outgoing>) -> Self {
        let count = data.len() as u64;
        if count == 0 {
            return Self { data, counted: None };
        }
        outgoing.queued.set(outgoing.queued.get() + count);
        outgoing.ledger.queue(count);
        Self {
            data,
            counted: Some((outgoing.clone(), count)),
        }
    }
}

impl Buf for Queued {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let Some((outgoing, count)) = self.counted.take() else {
            return;
        };
        outgoing.queued.set(outgoing.queued.get() - count);
        outgoing.ledger.unqueue(count);
        if outgoing.queued.get() == 0
            && let Some(waiting) = outgoing.waiting.borrow_mut().take()
        {
            waiting.wake();
        }
    }
}
