//! Sharing a limited thing of a node among its pods, so that none takes it from the others.
//!
//! A pod may have as much as its own limit, and never more than what is left for all others together (the dynamic
//! threshold of Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998): one
//! pod alone gets at most half, two that both want everything get a third each, and whoever comes next always finds
//! room. Nothing has to be taken back from anybody, and nobody's share has to be known in advance.
//!
//! Counts are plain atomics, touched when a connection begins or ends, or by the megabyte; see [`Ledger`] for what
//! changes with every frame.

mod ledger;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use ledger::Stall;
pub use ledger::{LEASE, Ledger};

/// What there is of it on the node.
#[derive(Debug)]
pub struct Whole {
    limit: u64,
    used: AtomicU64,
}

impl Whole {
    /// So much.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
        })
    }

    /// How much there is.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Something beside pods takes so much for ever.
    pub fn occupy(&self, amount: u64) {
        self.used.fetch_add(amount, Ordering::Relaxed);
    }

    /// How much all pods have, and what is beside them.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// One pod's share, in whichever workers it lives.
#[derive(Debug)]
pub struct Share {
    whole: Arc<Whole>,
    limit: u64,
    used: AtomicU64,
}

/// Which limit was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spent {
    /// The pod's own, which is this.
    Pod(u64),
    /// The node's: what is left is for other pods.
    Node(u64),
    /// What the streams of one connection may hold together.
    Connection(u64),
}

impl Share {
    /// A share of at most `limit`.
    pub fn new(whole: &Arc<Whole>, limit: u64) -> Arc<Self> {
        Arc::new(Self {
            whole: whole.clone(),
            limit,
            used: AtomicU64::new(0),
        })
    }

    /// How much the pod may have, if there is as much.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What it is a share of.
    pub fn whole(&self) -> &Whole {
        &self.whole
    }

    /// How much the pod has.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes one, until the result is dropped.
    ///
    /// # Errors
    /// The limit that does not let it.
    pub fn take_one(self: &Arc<Self>) -> Result<Taken, Spent> {
        self.take(1)?;
        Ok(Taken(self.clone()))
    }

    fn take(&self, amount: u64) -> Result<(), Spent> {
        // Added first and looked at then, so that two who come at the same time cannot both have the last.
        let mine = self.used.fetch_add(amount, Ordering::Relaxed) + amount;
        let all = self.whole.used.fetch_add(amount, Ordering::Relaxed) + amount;
        let left = self.whole.limit.checked_sub(all);
        let spent = match left {
            _ if mine > self.limit => Spent::Pod(self.limit),
            Some(left) if mine <= left.saturating_add(amount) => return Ok(()),
            _ => Spent::Node(self.whole.limit),
        };
        self.give_back(amount);
        Err(spent)
    }

    fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
        self.whole.used.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// One of something that is shared.
#[derive(Debug)]
pub struct Taken(Arc<Share>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.give_back(1);
    }
}

#[cfg(test)]
mod tests;
