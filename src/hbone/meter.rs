//! What metrics are told about connections, at the moment when it happens. Each call should be an atomic addition: they
//! come from the data path.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// Counts what happens on the connections it was given to.
pub trait Meter {
    /// A connection has begun.
    fn connection_opened(&self);
    /// A connection has ended. Comes once for each [`Meter::connection_opened`].
    fn connection_closed(&self);
    /// A stream was asked for.
    fn stream_opened(&self);
    /// A stream is over. Comes once for each [`Meter::stream_opened`].
    fn stream_closed(&self);
    /// A stream has bytes to send and has to wait.
    fn stalled(&self, level: Level);
}

/// What a stream waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Level {
    /// A window of HTTP/2, which the peer's application keeps closed.
    Stream,
    /// The TCP connection below, which all of its streams share: the path is full.
    Connection,
}

/// One connection's meter, if it has one.
#[derive(Default)]
pub(crate) struct Metered {
    meter: OnceCell<Rc<dyn Meter>>,
    ended: Cell<bool>,
}

impl Metered {
    /// The connection begins. Only the first meter counts.
    pub(crate) fn begin(&self, meter: Rc<dyn Meter>) {
        if self.meter.set(meter).is_ok() {
            self.tell(|meter| meter.connection_opened());
        }
    }

    pub(crate) fn tell(&self, what: impl FnOnce(&dyn Meter)) {
        if let Some(meter) = self.meter.get() {
            what(&**meter);
        }
    }

    /// The connection has ended; told once.
    pub(crate) fn end(&self) {
        if !self.ended.replace(true) {
            self.tell(|meter| meter.connection_closed());
        }
    }
}

/// A connection whose driver was dropped with its runtime ends without a word.
impl Drop for Metered {
    fn drop(&mut self) {
        self.end();
    }
}
