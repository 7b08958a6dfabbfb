//! Bytes that a worker holds for a pod, and whom to take them from when they are too many.
//!
//! They change with every frame, so they are counted here, where nobody else looks, and the pod's share is asked for in
//! leases. What a peer has sent within its windows cannot be refused any more: when the share is spent, the stalled
//! stream that holds most is given up, and no other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::{Share, Spent};

/// What is taken from a share at once, in bytes: small against any limit, large against a frame.
pub const LEASE: u64 = 256 * 1024;

/// Tells the connections of a ledger apart: where the state of each lies.
pub(crate) type ConnectionId = usize;

/// Who is told that a stream was given up.
type Told = Box<dyn Fn(Spent)>;

/// The bytes of a pod in a worker.
#[derive(Default)]
pub struct Ledger {
    share: Option<Arc<Share>>,
    held: Cell<u64>,
    /// Bytes of `held` that wait to be sent.
    queued: Cell<u64>,
    leased: Cell<u64>,
    /// Bytes of `held` that belong to streams which are given up and have not let go yet.
    condemned: Cell<u64>,
    stalled: RefCell<Vec<Rc<Stall>>>,
    told: Option<Told>,
}

/// A stream whose application has stopped reading, and for which bytes arrive.
#[derive(Default)]
pub(crate) struct Stall {
    connection: ConnectionId,
    bytes: Cell<u64>,
    condemned: Cell<Option<Spent>>,
    stream: RefCell<Option<Waker>>,
}

impl Ledger {
    /// A ledger of a pod. Each stream that is given up is `told`, with the limit that it was given up for.
    pub fn new(share: Arc<Share>, told: impl Fn(Spent) + 'static) -> Rc<Self> {
        Rc::new(Self {
            share: Some(share),
            told: Some(Box::new(told)),
            held: Cell::default(),
            queued: Cell::default(),
            leased: Cell::default(),
            condemned: Cell::default(),
            stalled: RefCell::default(),
        })
    }

    /// One that nothing limits.
    pub fn unlimited() -> Rc<Self> {
        Rc::default()
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.held.get()
    }

    /// So many bytes more are held, whether that was wanted or not.
    ///
    /// # Errors
    /// That is more than the pod may have. They count anyway.
    pub fn add(&self, bytes: u64) -> Result<(), Spent> {
        self.held.set(self.held.get() + bytes);
        self.lease(self.held.get() - self.condemned.get())
    }

    /// Whether so many bytes more may wait to be sent. They get half of the pod's share: what arrives cannot wait
    /// outside, and must not be given up for what could.
    pub fn has_room(&self, bytes: u64) -> bool {
        let most = self.share.as_ref().map_or(u64::MAX, |share| share.limit / 2);
        self.queued.get() + bytes <= most && self.lease(self.held.get() + bytes).is_ok()
    }

    /// So many bytes more wait to be sent; [`Ledger::has_room`] was asked before.
    pub fn queue(&self, bytes: u64) {
        self.queued.set(self.queued.get() + bytes);
        // What little is queued where there was no room counts as well.
        let _ = self.add(bytes);
    }

    /// So many bytes wait no more.
    pub fn unqueue(&self, bytes: u64) {
        self.queued.set(self.queued.get() - bytes);
        self.subtract(bytes);
    }

    /// So many bytes are held no more.
    pub fn subtract(&self, bytes: u64) {
        self.held.set(self.held.get() - bytes);
        // One lease is kept, so that a pod that comes and goes around it does not touch what others touch.
        while self.leased.get() >= self.held.get() + 2 * LEASE {
            self.leased.set(self.leased.get() - LEASE);
            if let Some(share) = &self.share {
                share.give_back(LEASE);
            }
        }
    }

    fn lease(&self, wanted: u64) -> Result<(), Spent> {
        let Some(share) = &self.share else { return Ok(()) };
        while wanted > self.leased.get() {
            share.take(LEASE)?;
            self.leased.set(self.leased.get() + LEASE);
        }
        Ok(())
    }

    /// A stream of a connection has stalled that holds bytes. It is over with [`Ledger::resume`].
    pub(crate) fn stall(&self, connection: ConnectionId) -> Rc<Stall> {
        let stall = Rc::new(Stall {
            connection,
            ..Stall::default()
        });
        self.stalled.borrow_mut().push(stall.clone());
        stall
    }

    /// A stall is over, in whichever way.
    pub(crate) fn resume(&self, stall: &Rc<Stall>) {
        self.stalled
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, stall));
        if stall.condemned.get().is_some() {
            self.condemned.set(self.condemned.get() - stall.bytes.get());
        }
    }

    /// Gives up the stalled stream that holds most, because `spent`. Where none is stalled, what is held is on its way.
    pub(crate) fn shed(&self, spent: Spent) {
        let stalled = self.stalled.borrow();
        let alive = stalled.iter().filter(|stall| stall.condemned.get().is_none());
        if let Some(worst) = alive.max_by_key(|stall| stall.bytes.get()) {
            self.give_up(worst, spent);
        }
    }

    /// Gives up the stalled stream of a connection that holds most, if together they hold more than `most`: the rest of
    /// the connection's window is for the others.
    pub(crate) fn shed_connection(&self, connection: ConnectionId, most: u64) {
        let stalled = self.stalled.borrow();
        let alive = || {
            let of_it = stalled.iter().filter(|stall| stall.connection == connection);
            of_it.filter(|stall| stall.condemned.get().is_none())
        };
        if alive().map(|stall| stall.bytes.get()).sum::<u64>() > most
            && let Some(worst) = alive().max_by_key(|stall| stall.bytes.get())
        {
            self.give_up(worst, Spent::Connection(most));
        }
    }

    fn give_up(&self, worst: &Stall, spent: Spent) {
        worst.condemned.set(Some(spent));
        self.condemned.set(self.condemned.get() + worst.bytes.get());
        if let Some(stream) = worst.stream.borrow_mut().take() {
            stream.wake();
        }
        if let Some(told) = &self.told {
            told(spent);
        }
    }
}

impl Stall {
    /// What the stream holds now.
    pub(crate) fn holds(&self, bytes: u64) {
        // What a condemned one held is counted already.
        if self.condemned.get().is_none() {
            self.bytes.set(bytes);
        }
    }

    /// Why the stream is given up, if it is; else its task is woken when it is.
    pub(crate) fn poll_condemned(&self, cx: &Context<'_>) -> Option<Spent> {
        if self.condemned.get().is_none() {
            *self.stream.borrow_mut() = Some(cx.waker().clone());
        }
        self.condemned.get()
    }

    /// Why the stream is given up, if it is.
    pub(crate) fn condemned(&self) -> Option<Spent> {
        self.condemned.get()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(share) = &self.share {
            share.give_back(self.leased.get());
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
