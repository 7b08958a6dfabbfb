//! The connections that are alive, in one table per pod: for `config_dump`, for the drain, and to decide each again
//! when what it was allowed by has changed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use adit_mesh::{Identity, Outcome, Service};
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;

use crate::relay::Counters;

/// Ends one connection from outside of its task.
#[derive(Default, Debug)]
pub struct Cut {
    reason: RefCell<Option<(Outcome, String)>>,
    task: RefCell<Option<Waker>>,
}

impl Cut {
    /// Ends the connection with this outcome; only the first call counts.
    pub fn now(&self, outcome: Outcome, detail: impl Into<String>) {
        self.reason.borrow_mut().get_or_insert((outcome, detail.into()));
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    /// Why the connection is to end, if it is.
    pub fn poll(&self, cx: &Context<'_>) -> Option<(Outcome, String)> {
        if let Some(reason) = &*self.reason.borrow() {
            return Some(reason.clone());
        }
        let mut task = self.task.borrow_mut();
        match &mut *task {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *task = Some(cx.waker().clone()),
        }
        None
    }

    /// Waits until the connection is to end.
    pub async fn wait(&self) -> (Outcome, String) {
        std::future::poll_fn(|cx| match self.poll(cx) {
            Some(reason) => std::task::Poll::Ready(reason),
            None => std::task::Poll::Pending,
        })
        .await
    }
}

/// Which way a connection goes, seen from the pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Out of the pod.
    Outbound,
    /// Into the pod through a tunnel.
    Inbound,
    /// Into the pod in plaintext.
    Plaintext,
}

impl Direction {
    /// Which end of the connection the pod is.
    pub fn reported(self) -> adit_telemetry::Direction {
        match self {
            Self::Outbound => adit_telemetry::Direction::Outbound,
            Self::Inbound | Self::Plaintext => adit_telemetry::Direction::Inbound,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Which way it goes.
    pub direction: Direction,
    /// The client.
    pub source: SocketAddr,
    /// What the client called.
    pub original: SocketAddr,
    /// What was dialled for it; unknown until then.
    pub actual: Cell<Option<SocketAddr>>,
    /// For inbound connections what policies are decided for.
    pub authorized: SocketAddr,
    /// Who the peer proved to be.
    pub peer: Option<Identity>,
    /// The peer's certificates, to be checked again when revocations change.
    pub chain: RefCell<Option<Rc<[CertificateDer<'static>]>>>,
    /// The service that was called.
    pub service: RefCell<Option<Arc<Service>>>,
    /// Bytes so far.
    pub counters: Counters,
    /// Ends it.
    pub cut: Cut,
}

impl Connection {
    /// A connection of which only the client and what it called is known.
    pub fn new(direction: Direction, source: SocketAddr, original: SocketAddr) -> Self {
        Self {
            direction,
            source,
            original,
            actual: Cell::new(None),
            authorized: original,
            peer: None,
            chain: RefCell::default(),
            service: RefCell::default(),
            counters: Counters::default(),
            cut: Cut::default(),
        }
    }

    /// The client's address as policies see it.
    pub fn source_ip(&self) -> IpAddr {
        self.source.ip().to_canonical()
    }
}

/// The live connections of one pod.
#[derive(Default)]
pub struct Table {
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    next: Cell<u64>,
    /// Why the table takes no connection any more.
    closed: RefCell<Option<(Outcome, String)>>,
    emptied: Notify,
}

impl Table {
    /// Enters a connection for as long as the entry lives. After [`Table::cut_all`] it is cut at once.
    pub fn enter(self: &Rc<Self>, connection: Connection) -> Entry {
        let id = self.next.replace(self.next.get() + 1);
        let connection = Rc::new(connection);
        if let Some((outcome, detail)) = &*self.closed.borrow() {
            connection.cut.now(*outcome, detail);
        }
        self.connections.borrow_mut().insert(id, connection.clone());
        Entry {
            table: self.clone(),
            id,
            connection,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them as they are now.
    pub fn snapshot(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().values().cloned().collect()
    }

    /// Ends all of them, and every one that is entered from now on; how many there were.
    pub fn cut_all(&self, outcome: Outcome, detail: &str) -> usize {
        self.closed
            .borrow_mut()
            .get_or_insert_with(|| (outcome, detail.to_owned()));
        let all = self.snapshot();
        all.iter()
            .for_each(|connection| connection.cut.now(outcome, detail));
        all.len()
    }

    /// Waits until there is none. Several may wait at the same time.
    pub async fn empty(&self) {
        loop {
            // Made before the look, so that an end in between is not missed.
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// A connection's place in the table.
pub struct Entry {
    table: Rc<Table>,
    id: u64,
    connection: Rc<Connection>,
}

impl Entry {
    /// The connection itself, which may outlive its place in the table.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl std::ops::Deref for Entry {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.connections.borrow_mut().remove(&self.id);
        if self.table.is_empty() {
            self.table.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
