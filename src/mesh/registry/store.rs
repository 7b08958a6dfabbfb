//! Where the current snapshot is published. Readers never wait and never see half a batch; writers take turns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::{LocalNode, Registry, Update};

/// Publishes one [`Registry`] after the other.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Registry>,
    writer: Mutex<()>,
    complete: AtomicBool,
}

impl Store {
    /// A store whose first snapshot is empty, and not complete.
    pub fn new(node: LocalNode) -> Self {
        Self {
            current: ArcSwap::from_pointee(Registry::new(node)),
            writer: Mutex::new(()),
            complete: AtomicBool::new(false),
        }
    }

    /// The current snapshot, borrowed: the cheapest read, for one decision. A guard must not be kept across a
    /// wait; use [`Store::snapshot`] for that.
    pub fn load(&self) -> Guard<Arc<Registry>> {
        self.current.load()
    }

    /// The current snapshot, shared: it may be kept as long as wanted.
    pub fn snapshot(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Applies a batch and publishes the result; returns the generation that holds it. A batch that changes
    /// nothing publishes nothing.
    pub fn update(&self, batch: impl IntoIterator<Item = Update>) -> u64 {
        // A writer that panicked has published nothing, so what it left behind is whole.
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        let mut next = Registry::clone(&before);
        if next.apply(batch) {
            let generation = next.generation();
            self.current.store(Arc::new(next));
            generation
        } else {
            before.generation()
        }
    }

    /// The first complete configuration has arrived; stays so for ever.
    pub fn mark_complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Whether the first complete configuration has arrived.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }
}
