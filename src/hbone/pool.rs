//! Connections kept for the next stream. A pool belongs to one pod and lives in the worker that is the pod's home,
//! so nothing in it is locked and nothing wakes another core.
//!
//! A connection is found by who we are, who the peer must prove to be, and where it is. When there is none, or all
//! are full or wait for the peer's window, one dial is made for everybody who waits, as a task of its own, so that a
//! client that leaves does not take it along; its failure is shared. After a failure the next dial waits for a
//! backoff that grows while the peer stays unreachable.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adit_mesh::{Identity, Outcome};
use http::{HeaderMap, Request};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Connection, OpenError};
use crate::failure::Failure;
use crate::settings::Settings;
use crate::stream::Stream;

/// After the first failed dial.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
/// Long enough to spare a peer that is down, short enough that nobody notices when it is back.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// A new connection that is over before it has served is replaced this often before the caller hears of it.
const FRESH_CONNECTIONS: usize = 2;

/// What makes two streams able to share a connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Who we are.
    pub source: Identity,
    /// Who the peer must be: any of these.
    pub expected: Arc<[Identity]>,
    /// Where it is.
    pub address: SocketAddr,
}

/// Makes a connection to a peer; the pool decides when.
pub type Dial = dyn Fn(Key) -> Pin<Box<dyn Future<Output = Result<Connection, Failure>>>>;

/// A stream, and what is worth telling about the connection under it.
pub struct Opened {
    /// The stream.
    pub stream: Stream,
    /// The headers of the peer's answer.
    pub headers: HeaderMap,
    /// The connection.
    pub connection: Rc<Connection>,
    /// Whether it had to be made for this stream.
    pub fresh: bool,
}

/// The connections of one pod.
#[derive(Clone)]
pub struct Pool(Rc<Inner>);

struct Inner {
    peers: RefCell<HashMap<Key, Peer>>,
    dial: Box<Dial>,
    settings: Rc<Settings>,
    sweeping: Cell<bool>,
    closed: Cell<bool>,
}

/// Which connection will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// One with room. A connection that waits for the peer's window only once a further one would not help, and one
    /// that has as many streams as we want on one only once there may be no further one.
    Room,
    /// Any that lives.
    Anything,
}

#[derive(Default)]
struct Peer {
    connections: Vec<Pooled>,
    dialing: Option<watch::Receiver<Option<Result<(), Failure>>>>,
    backoff: Option<Backoff>,
}

struct Pooled {
    connection: Rc<Connection>,
    made: Instant,
    unused_since: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Backoff {
    /// When the last dial failed.
    since: Instant,
    delay: Duration,
    until: Instant,
}

impl Pool {
    /// An empty pool that makes its connections with `dial`.
    pub fn new(dial: Box<Dial>, settings: Rc<Settings>) -> Self {
        Self(Rc::new(Inner {
            peers: RefCell::default(),
            dial,
            settings,
            sweeping: Cell::new(false),
            closed: Cell::new(false),
        }))
    }

    /// Opens a stream to the peer of `key`, over a connection that exists or a new one.
    ///
    /// # Errors
    /// The failure of the dial, or the peer's refusal.
    pub async fn open(&self, key: &Key, request: &Request<()>) -> Result<Opened, Failure> {
        // Each connection that was there may turn out to be stale or full once, and a few new ones too.
        let mut stale = self.0.settings.connections_per_peer;
        let mut fresh_ones = FRESH_CONNECTIONS;
        loop {
            let (connection, fresh) = self.connection(key).await?;
            let within = self.0.settings.deadlines.answer;
            let (failure, left) = match connection.open(request.clone(), within).await {
                Ok((stream, headers)) => {
                    return Ok(Opened {
                        stream,
                        headers,
                        connection,
                        fresh,
                    });
                }
                Err(OpenError::Refused(failure)) => return Err(failure),
                Err(OpenError::Full(failure)) => (failure, &mut stale),
                Err(OpenError::Gone(failure)) => {
                    self.forget(key, &connection);
                    if !connection.is_alive() {
                        // Nothing ever came from the peer: as good as a dial that failed.
                        self.note_failure(key);
                        return Err(failure);
                    }
                    (failure, if fresh { &mut fresh_ones } else { &mut stale })
                }
            };
            *left = left.checked_sub(1).ok_or(failure)?;
        }
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.0
            .peers
            .borrow()
            .values()
            .map(|peer| peer.connections.len())
            .sum()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All connections, with what they are for.
    pub fn connections(&self) -> Vec<(Key, Rc<Connection>)> {
        let peers = self.0.peers.borrow();
        peers
            .iter()
            .flat_map(|(key, peer)| {
                peer.connections
                    .iter()
                    .map(|held| (key.clone(), held.connection.clone()))
            })
            .collect()
    }

    /// Lets go of every connection; each ends with its last stream. The next stream makes a new one.
    pub fn retire(&self) {
        for (_, connection) in self.connections() {
            connection.retire();
        }
        for peer in self.0.peers.borrow_mut().values_mut() {
            peer.connections.clear();
        }
    }

    /// Lets go of every connection, like [`Pool::retire`], and makes no further one.
    pub fn close(&self) {
        self.0.closed.set(true);
        self.retire();
    }

    async fn connection(&self, key: &Key) -> Result<(Rc<Connection>, bool), Failure> {
        let mut waited = false;
        loop {
            if self.0.closed.get() {
                return Err(closed());
            }
            if let Some(connection) = self.pick(key, Need::Room) {
                return Ok((connection, waited));
            }
            let mut dialing = self.dialing(key);
            waited = true;
            let failure = match dialing.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Err(failure))) => failure.clone(),
                Ok(_) => continue,
                Err(_) => Failure::new(Outcome::ConnectFailed, "the dial was given up"),
            };
            // A connection that is only busy serves better than none.
            return self
                .pick(key, Need::Anything)
                .map(|connection| (connection, false))
                .ok_or(failure);
        }
    }

    /// The most used connection that serves the need: messages of many streams share records and system calls, and the
    /// other connections become idle and go. Where streams wait, or none has room, the least used one.
    fn pick(&self, key: &Key, need: Need) -> Option<Rc<Connection>> {
        let mut peers = self.0.peers.borrow_mut();
        let peer = peers.get_mut(key)?;
        peer.connections.retain(|held| !held.connection.is_closing());
        let settings = &self.0.settings;
        let count = peer.connections.len();
        let anything = need == Need::Anything || count >= settings.connections_per_peer;
        let saturated_too = count >= settings.connections_for_speed;
        let usable = |connection: &Connection| {
            let room = connection.streams() < settings.streams_per_connection.min(connection.stream_limit());
            anything || (room && (saturated_too || !connection.is_saturated()))
        };
        let held = peer
            .connections
            .iter_mut()
            .filter(|held| usable(&held.connection))
            .min_by_key(|held| {
                let (saturated, streams) = (held.connection.is_saturated(), held.connection.streams());
                let spread = saturated || anything;
                (saturated, if spread { streams } else { usize::MAX - streams })
            })?;
        held.unused_since = None;
        Some(held.connection.clone())
    }

    /// The dial that is under way to this peer, begun now if there was none.
    fn dialing(&self, key: &Key) -> watch::Receiver<Option<Result<(), Failure>>> {
        let mut peers = self.0.peers.borrow_mut();
        let peer = peers.entry(key.clone()).or_default();
        if let Some(dialing) = peer.dialing() {
            return dialing.clone();
        }
        let (done, dialing) = watch::channel(None);
        peer.dialing = Some(dialing.clone());
        let not_before = peer.backoff.map(|backoff| backoff.until);
        let (pool, key) = (Rc::downgrade(&self.0), key.clone());
        tokio::task::spawn_local(async move {
            if let Some(not_before) = not_before {
                sleep_until(not_before).await;
            }
            // The pod may leave at any moment, and the connection with it.
            let Some(making) = pool.upgrade().map(|inner| (inner.dial)(key.clone())) else {
                return;
            };
            let result = making.await;
            let Some(inner) = pool.upgrade() else { return };
            let shared = Self(inner).dialed(&key, result);
            // Nobody waits any more if all clients have left; the connection stays for the next.
            let _ = done.send(Some(shared));
        });
        drop(peers);
        self.sweep_later();
        dialing
    }

    fn dialed(&self, key: &Key, result: Result<Connection, Failure>) -> Result<(), Failure> {
        let mut peers = self.0.peers.borrow_mut();
        let peer = peers.entry(key.clone()).or_default();
        peer.dialing = None;
        match result {
            Ok(_) if self.0.closed.get() => Err(closed()),
            Ok(connection) => {
                peer.connections.push(Pooled {
                    connection: Rc::new(connection),
                    made: Instant::now(),
                    unused_since: None,
                });
                Ok(())
            }
            Err(failure) => {
                peer.back_off();
                Err(failure)
            }
        }
    }

    fn note_failure(&self, key: &Key) {
        self.0
            .peers
            .borrow_mut()
            .entry(key.clone())
            .or_default()
            .back_off();
        self.sweep_later();
    }

    fn forget(&self, key: &Key, gone: &Rc<Connection>) {
        if let Some(peer) = self.0.peers.borrow_mut().get_mut(key) {
            peer.recover();
            peer.connections
                .retain(|held| !Rc::ptr_eq(&held.connection, gone));
        }
        gone.retire();
    }

    /// Closes connections that were idle for long enough, and forgets peers that nothing is known of. Runs while
    /// the pool holds anything.
    fn sweep_later(&self) {
        if self.0.sweeping.replace(true) {
            return;
        }
        let pool = Rc::downgrade(&self.0);
        let period = (self.0.settings.idle_timeout / 4).max(Duration::from_millis(10));
        tokio::task::spawn_local(async move {
            loop {
                sleep(period).await;
                let Some(inner) = pool.upgrade() else { return };
                if inner.sweep(Instant::now()) {
                    inner.sweeping.set(false);
                    return;
                }
            }
        });
    }
}

impl Inner {
    /// Whether nothing is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut peers = self.peers.borrow_mut();
        peers.retain(|_, peer| {
            peer.connections
                .retain_mut(|held| held.keep(now, self.settings.idle_timeout));
            peer.recover();
            let resting = peer
                .backoff
                .is_some_and(|backoff| backoff.until + LONGEST_BACKOFF > now);
            !peer.connections.is_empty() || peer.dialing().is_some() || resting
        });
        peers.is_empty()
    }
}

impl Peer {
    /// The dial that is under way. One whose task died (a defect in it) is none: the next caller begins another.
    fn dialing(&self) -> Option<&watch::Receiver<Option<Result<(), Failure>>>> {
        self.dialing
            .as_ref()
            .filter(|dialing| dialing.has_changed().is_ok())
    }

    /// Gives the backoff up once a connection that was made after the last failure has proved to work. An older one says
    /// nothing about the next dial: it may live on, or die last, while the peer takes no more.
    fn recover(&mut self) {
        let Some(backoff) = self.backoff else { return };
        let works = |held: &Pooled| held.made > backoff.since && held.connection.is_alive();
        if self.connections.iter().any(works) {
            self.backoff = None;
        }
    }

    fn back_off(&mut self) {
        let now = Instant::now();
        let delay = match self.backoff {
            // Several streams of one connection fail at the same time; that is one failure.
            Some(last) if now < last.until => return,
            Some(last) if now < last.until + LONGEST_BACKOFF => (last.delay * 2).min(LONGEST_BACKOFF),
            _ => FIRST_BACKOFF,
        };
        self.backoff = Some(Backoff {
            since: now,
            delay,
            until: now + delay,
        });
    }
}

impl Pooled {
    fn keep(&mut self, now: Instant, idle_timeout: Duration) -> bool {
        if self.connection.is_closing() {
            return false;
        }
        if self.connection.streams() > 0 {
            self.unused_since = None;
            return true;
        }
        now.duration_since(*self.unused_since.get_or_insert(now)) < idle_timeout
    }
}

fn closed() -> Failure {
    Failure::new(Outcome::Shutdown, "the pool is closed")
}

#[cfg(test)]
mod simulation;
