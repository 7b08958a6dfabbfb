//! One application connection inside a tunnel.
//!
//! [`Stream`] is a CONNECT stream as the relay needs it, and hides the traps of HTTP/2 flow control: capacity that
//! is reserved and not used is taken from all other streams of the connection, so a relay reserves only when it has
//! something to send ([`Stream::poll_capacity`]) and lets go as soon as it has not ([`Stream::release_capacity`]);
//! the window that a stalled stream fills is added to the connection's ([`State`]), so that its neighbours do not
//! wait for it; and what arrives for it is taken out of HTTP/2 ([`stash`]), whose bookkeeping is shared by all.

mod outgoing;
mod stash;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use adit_mesh::Outcome;
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use crate::failure::Failure;
use crate::meter::{Level, Meter, Metered};
use crate::share::{Ledger, Spent, Stall, Taken};
use outgoing::Outgoing;
pub(crate) use outgoing::Queued;
use stash::Stash;

/// What the streams of a connection and its driver tell each other.
#[derive(Default)]
pub(crate) struct State {
    streams: Cell<usize>,
    stalled_receivers: Cell<u32>,
    /// For how many stalled receivers the connection's window was enlarged.
    windows_granted: Cell<u32>,
    stalled_senders: Cell<u32>,
    stalls: Cell<u64>,
    /// The peer has sent something.
    alive: Cell<bool>,
    /// No new stream may be opened: GOAWAY, an error, or we are closing.
    closing: Cell<bool>,
    failure: RefCell<Option<Failure>>,
    driver: RefCell<Option<Waker>>,
    /// Whether the socket takes no more for now; see [`crate::transport::Flush::blocked`].
    blocked: Rc<Cell<bool>>,
    meter: Metered,
    /// Where bytes are counted that wait in its streams.
    ledger: OnceCell<Rc<Ledger>>,
    /// Counts its socket.
    counted: OnceCell<Taken>,
}

impl State {
    /// The state of a connection whose transport tells by `blocked` whether its socket is.
    pub(crate) fn new(blocked: Rc<Cell<bool>>) -> Self {
        Self {
            blocked,
            ..Self::default()
        }
    }

    /// Tells `meter` what happens, from before the first stream on.
    pub(crate) fn meter(&self, meter: Rc<dyn Meter>) {
        self.meter.begin(meter);
    }

    /// Counts bytes that wait in streams there, from before the first stream on. Only the first call counts.
    pub(crate) fn account(&self, ledger: Rc<Ledger>) {
        // The first stays.
        let _ = self.ledger.set(ledger);
    }

    /// Keeps what counts its socket. Only the first stays.
    pub(crate) fn count(&self, socket: Taken) {
        let _ = self.counted.set(socket);
    }

    /// Tells it from other connections of the ledger.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Stalled streams may hold so much together. See [`Ledger::shed_connection`].
    pub(crate) fn bound_stalled(&self, most: u64) {
        self.ledger().shed_connection(self.id(), most);
    }

    fn ledger(&self) -> &Rc<Ledger> {
        self.ledger.get_or_init(Ledger::unlimited)
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Streams whose application has stopped reading.
    pub(crate) fn stalled_receivers(&self) -> u32 {
        self.stalled_receivers.get()
    }

    #[cfg(test)]
    pub(crate) fn set_stalled_receivers(&self, count: u32) {
        self.stalled_receivers.set(count);
    }

    /// For how many stalled streams the window is enlarged now.
    pub(crate) fn grant_windows(&self, count: u32) {
        self.windows_granted.set(count);
    }

    /// Whether the peer has sent anything, so that TLS and HTTP/2 are known to work.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.get()
    }

    pub(crate) fn note_alive(&self) {
        self.alive.set(true);
    }

    /// Whether some stream waits for the peer to take more.
    pub(crate) fn is_saturated(&self) -> bool {
        self.stalled_senders.get() > 0
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// How often a stream had to wait for the peer's window.
    pub(crate) fn stalls(&self) -> u64 {
        self.stalls.get()
    }

    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.wake_driver();
    }

    pub(crate) fn fail(&self, failure: Failure) {
        self.failure.borrow_mut().get_or_insert(failure);
        self.close();
    }

    /// The connection has ended; streams that are still open learn why.
    pub(crate) fn end(&self, failure: Option<Failure>) {
        self.meter.end();
        match failure {
            Some(failure) => self.fail(failure),
            None if self.streams() > 0 => {
                self.fail(Failure::new(
                    Outcome::Http2Failed,
                    "the peer closed the connection",
                ));
            }
            None => self.close(),
        }
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.borrow().clone()
    }

    pub(crate) fn register_driver(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        match &mut *driver {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *driver = Some(cx.waker().clone()),
        }
    }

    fn wake_driver(&self) {
        if let Some(waker) = &*self.driver.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Counts a stream for as long as it lives.
pub(crate) struct Counted(Rc<State>);

impl Counted {
    pub(crate) fn new(state: &Rc<State>) -> Self {
        state.streams.set(state.streams.get() + 1);
        state.meter.tell(|meter| meter.stream_opened());
        Self(state.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.meter.tell(|meter| meter.stream_closed());
        if self.0.streams.get() == 0 {
            self.0.wake_driver();
        }
    }
}

/// A CONNECT stream that was accepted.
pub struct Stream {
    send: SendStream<Queued>,
    outgoing: Rc<Outgoing>,
    receive: RecvStream,
    /// Bytes that arrived and that the application has not taken.
    held: u64,
    reserved: bool,
    send_stalled: bool,
    receive_stalled: bool,
    /// What arrived while the application did not read.
    stash: Stash,
    /// Known to the ledger while something is in the stash.
    stall: Option<Rc<Stall>>,
    sent_all: bool,
    received_all: bool,
    reset: bool,
    counted: Counted,
}

impl Stream {
    pub(crate) fn new(send: SendStream<Queued>, receive: RecvStream, counted: Counted) -> Self {
        Self {
            send,
            outgoing: Outgoing::new(counted.0.ledger().clone()),
            receive,
            held: 0,
            reserved: false,
            send_stalled: false,
            receive_stalled: false,
            stash: Stash::default(),
            stall: None,
            sent_all: false,
            received_all: false,
            reset: false,
            counted,
        }
    }

    /// How many bytes, at most `wanted`, may be sent now. Call it only with something to send.
    ///
    /// # Errors
    /// The peer reset the stream, or the connection broke.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, h2::Error>> {
        let Poll::Ready(wanted) = self.outgoing.poll_room(cx, wanted) else {
            self.send.reserve_capacity(0);
            self.reserved = false;
            self.note_send_stalled(true);
            return Poll::Pending;
        };
        self.send.reserve_capacity(wanted);
        self.reserved = true;
        // `poll_capacity` only tells of an increase: what is there already must be asked for first.
        while self.send.capacity() == 0 {
            match self.send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Err(self.why_closed(cx))),
                Poll::Pending => {
                    self.note_send_stalled(true);
                    return Poll::Pending;
                }
            }
        }
        self.note_send_stalled(false);
        Poll::Ready(Ok(self.send.capacity().min(wanted)))
    }

    /// Why nothing more can be sent: HTTP/2 says that by itself only to who asks for it.
    fn why_closed(&mut self, cx: &mut Context<'_>) -> h2::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => reason.into(),
            Poll::Ready(Err(error)) => error,
            Poll::Pending => Reason::CANCEL.into(),
        }
    }

    /// Gives reserved capacity that is not needed now back to the connection.
    pub fn release_capacity(&mut self) {
        self.note_send_stalled(false);
        if self.reserved {
            self.send.reserve_capacity(0);
            self.reserved = false;
        }
    }

    /// Sends bytes that [`Stream::poll_capacity`] granted.
    ///
    /// # Errors
    /// The stream is closed.
    pub fn send(&mut self, data: Bytes) -> Result<(), h2::Error> {
        self.send.send_data(Queued::new(data, &self.outgoing), false)
    }

    /// Tells the peer that nothing more follows in this direction.
    ///
    /// # Errors
    /// The stream is closed.
    pub fn finish(&mut self) -> Result<(), h2::Error> {
        self.release_capacity();
        self.sent_all = true;
        self.send
            .send_data(Queued::new(Bytes::new(), &self.outgoing), true)
    }

    /// Ends the stream abruptly in both directions.
    pub fn reset(&mut self, reason: Reason) {
        self.reset = true;
        self.send.send_reset(reason);
    }

    /// Whether the peer ended the stream although this side is not finished with it. To be polled while nothing is
    /// read from the stream; while its application has stopped reading, what arrives is gathered here meanwhile.
    ///
    /// # Errors
    /// The connection broke, or what was gathered is too much; see [`Stream::cause`].
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        while self.receive_stalled && !self.received_all {
            match self.poll_frame(cx) {
                Poll::Ready(Ok(Some(data))) => {
                    self.stash.push(data);
                    self.note_stashed();
                }
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(error.reason().filter(|_| error.is_reset()).ok_or(error));
                }
                Poll::Pending => break,
            }
        }
        if self
            .stall
            .as_ref()
            .and_then(|stall| stall.poll_condemned(cx))
            .is_some()
        {
            return Poll::Ready(Err(Reason::ENHANCE_YOUR_CALM.into()));
        }
        self.send.poll_reset(cx)
    }

    /// The next bytes of the peer; `None` after its last. Each must be given back by [`Stream::taken`].
    ///
    /// # Errors
    /// The peer reset the stream, or the connection broke.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, h2::Error>> {
        match self.stash.pop() {
            Some(data) => Poll::Ready(Ok(Some(data))),
            None => self.poll_frame(cx),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, h2::Error>> {
        if self.received_all {
            return Poll::Ready(Ok(None));
        }
        loop {
            match ready!(self.receive.poll_data(cx)) {
                // How a half close arrives; it carries nothing.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.held += data.len() as u64;
                    let ledger = self.counted.0.ledger();
                    if let Err(spent) = ledger.add(data.len() as u64) {
                        ledger.shed(spent);
                    }
                    return Poll::Ready(Ok(Some(data)));
                }
                // RFC 9113, 8.1: a peer that needs no more of our bytes resets with NO_ERROR after its own end.
                Some(Err(error)) if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) => break,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => break,
            }
        }
        self.received_all = true;
        Poll::Ready(Ok(None))
    }

    /// Tells the peer that `count` bytes went to the application, so that as many may follow.
    pub fn taken(&mut self, count: usize) {
        self.let_go(count as u64);
        // Fails only on a stream that is over, whose window is of no interest any more.
        let _ = self.receive.flow_control().release_capacity(count);
    }

    fn let_go(&mut self, count: u64) {
        let count = count.min(self.held);
        self.held -= count;
        self.counted.0.ledger().subtract(count);
    }

    /// Something lies in the stash: whoever has to give memory back may be this one.
    fn note_stashed(&mut self) {
        let ledger = self.counted.0.ledger();
        let connection = self.counted.0.id();
        self.stall
            .get_or_insert_with(|| ledger.stall(connection))
            .holds(self.held);
    }

    fn note_resumed(&mut self) {
        if let Some(stall) = self.stall.take() {
            self.counted.0.ledger().resume(&stall);
        }
    }

    /// Says whether the application has stopped taking bytes.
    pub fn note_receive_stalled(&mut self, stalled: bool) {
        if self.receive_stalled != stalled {
            self.receive_stalled = stalled;
            let state = &self.counted.0;
            adjust(&state.stalled_receivers, stalled);
            if state.stalled_receivers.get() > state.windows_granted.get() {
                state.wake_driver();
            }
            if !stalled {
                self.note_resumed();
            }
        }
    }

    /// Why the stream was given up, or why the connection under it ended, if that is so.
    pub fn cause(&self) -> Option<Failure> {
        let condemned = self.stall.as_ref().and_then(|stall| stall.condemned());
        match condemned {
            Some(spent) => Some(given_up(spent)),
            None => self.counted.0.failure(),
        }
    }

    fn note_send_stalled(&mut self, stalled: bool) {
        if self.send_stalled != stalled {
            self.send_stalled = stalled;
            adjust(&self.counted.0.stalled_senders, stalled);
            if stalled {
                let state = &self.counted.0;
                state.stalls.set(state.stalls.get() + 1);
                let level = match state.blocked.get() {
                    true => Level::Connection,
                    false => Level::Stream,
                };
                state.meter.tell(|meter| meter.stalled(level));
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.note_send_stalled(false);
        self.note_receive_stalled(false);
        self.let_go(self.held);
        if !(self.reset || self.sent_all && self.received_all) {
            // h2 itself would end a stream of which only our direction is finished with NO_ERROR, which a peer
            // may take for a regular end. What is aborted must never pass for complete.
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

fn given_up(spent: Spent) -> Failure {
    let most = match spent {
        Spent::Pod(most) => {
            format!("the {most} bytes that may be buffered for the pod (ADIT_BUFFERED_BYTES_PER_POD)")
        }
        Spent::Connection(most) => {
            format!(
                "the {most} bytes that stalled streams of one connection may hold (ADIT_HTTP2_WINDOW_LIMIT)"
            )
        }
        Spent::Node(most) => format!(
            "the pod's share of the {most} bytes that may be buffered on the node (ADIT_BUFFERED_BYTES_PER_NODE)"
        ),
    };
    let detail = format!("what was sent is not taken, and of {most} this stream held most");
    Failure::new(Outcome::Overloaded, detail)
}

fn adjust(count: &Cell<u32>, up: bool) {
    count.set(if up { count.get() + 1 } else { count.get() - 1 });
}
