//! The pool against peers that refuse, hang, fall silent, stall, say GOAWAY and reset, for callers that come, wait and
//! leave: at random, in virtual time, with real TLS and HTTP/2 between two sockets of this process.
//!
//! Time is moved by hand and not by the runtime, which would jump to the next deadline while bytes are on their way. The
//! sockets are pairs that the kernel connects at once and without a network, so that a seed plays the same again.

mod peers;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use adit_mesh::Outcome;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::poll_fn;
use http::{Method, Request};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local, yield_now};
use tokio::time::{Instant, advance};

use self::peers::{MOODS, Peers};
use super::{Key, Opened, Pool};
use crate::Failure;
use crate::client::Connection;
use crate::settings::{Deadlines, Settings};
use crate::stream::Stream;

const STEPS: usize = 250;
/// After so many turns of the runtime everything has happened that needs no time.
const TURNS: usize = 40;
/// Time moves in steps of this length, so that deadlines pass in their order.
const TICK: Duration = Duration::from_millis(50);
/// Longer than all that one caller may have to wait for: a few dials and backoffs, and one answer.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn every_caller_is_served_or_told_why_whatever_the_peers_do() {
    // 102 and 104: a connection older than the failure made the pool forget its backoff.
    adit_simulation::play("pool", 6, &[102, 104], |random| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        runtime.block_on(async {
            // While a blocking task runs the runtime does not move the time by itself.
            let (release, released) = std::sync::mpsc::channel::<()>();
            let blocker = spawn_blocking(move || released.recv());
            let mut world = World::new(random);
            for _ in 0..STEPS {
                world.step().await;
                world.check();
            }
            world.end().await;
            drop((world, release));
            let _ = blocker.await;
        });
    });
}

/// Small limits and short deadlines, so that a run meets all of them.
fn settings() -> Settings {
    Settings {
        stream_window: 64 << 10,
        connection_window: 256 << 10,
        window_limit: 1 << 20,
        max_streams: 4,
        streams_per_connection: 3,
        connections_per_peer: 2,
        idle_timeout: Duration::from_secs(8),
        ping_interval: Duration::from_secs(2),
        ping_timeout: Duration::from_secs(2),
        deadlines: Deadlines {
            connect: Duration::from_secs(2),
            tls: Duration::from_secs(2),
            http2: Duration::from_secs(2),
            answer: Duration::from_secs(3),
        },
        ..Settings::default()
    }
}

/// A caller that waits for its stream.
struct Caller {
    key: Key,
    since: Instant,
    task: JoinHandle<Result<Opened, Failure>>,
}

/// A stream that a caller has.
struct Held {
    connection: Rc<Connection>,
    use_: Use,
}

enum Use {
    /// Nothing is sent.
    Idle(#[allow(dead_code, reason = "it is held")] Stream),
    /// More is sent than the peer may take.
    Sending(JoinHandle<()>),
}

struct World {
    random: Rng,
    peers: Rc<Peers>,
    pool: Pool,
    callers: Vec<Caller>,
    held: Vec<Held>,
}

impl World {
    fn new(mut random: Rng) -> Self {
        let settings = Rc::new(settings());
        let peers = Rc::new(Peers::new(random.fork(), settings.clone()));
        let dialled = peers.clone();
        let pool = Pool::new(Box::new(move |key| Box::pin(dialled.clone().dial(key))), settings);
        Self {
            random,
            peers,
            pool,
            callers: Vec::new(),
            held: Vec::new(),
        }
    }

    async fn step(&mut self) {
        match self.random.u8(..24) {
            0..9 => self.call(),
            9 => {
                for _ in 0..self.random.usize(2..12) {
                    self.call();
                }
            }
            10..12 => self.leave(),
            12..16 => self.finish(),
            16 => self.send(),
            17 => {
                let mood = self.random.choice(MOODS).expect("some");
                self.peers.set(self.random.usize(..peers::ADDRESSES), mood);
            }
            18 => self.peers.drain_one(),
            19 => self.peers.reset_one(),
            20 => self.peers.freeze_one(),
            21 => {
                let long = Duration::from_millis(self.random.u64(..6_000));
                self.pass(long).await;
            }
            22 if self.random.u8(..4) == 0 => self.pool.retire(),
            _ => {
                let short = Duration::from_millis(self.random.u64(..300));
                self.pass(short).await;
            }
        }
        settle().await;
        self.collect().await;
    }

    fn call(&mut self) {
        let key = self.peers.key(&mut self.random);
        let (pool, wanted) = (self.pool.clone(), key.clone());
        self.callers.push(Caller {
            key,
            since: Instant::now(),
            task: spawn_local(async move { pool.open(&wanted, &connect()).await }),
        });
    }

    /// A caller gives up.
    fn leave(&mut self) {
        if !self.callers.is_empty() {
            let leaving = self.callers.swap_remove(self.random.usize(..self.callers.len()));
            leaving.task.abort();
        }
    }

    fn finish(&mut self) {
        if !self.held.is_empty() {
            let finished = self.held.swap_remove(self.random.usize(..self.held.len()));
            if let Use::Sending(task) = finished.use_ {
                task.abort();
            }
        }
    }

    /// A stream sends more than its peer may be willing to take.
    fn send(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = self.random.usize(..self.held.len());
        let Held { connection, use_ } = self.held.swap_remove(index);
        let use_ = match use_ {
            Use::Idle(stream) => Use::Sending(spawn_local(flood(stream))),
            sending @ Use::Sending(_) => sending,
        };
        self.held.push(Held { connection, use_ });
    }

    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            advance(TICK.min(end - Instant::now())).await;
            settle().await;
        }
    }

    /// Takes what callers were given.
    async fn collect(&mut self) {
        let now = Instant::now();
        let mut waiting = Vec::new();
        for caller in std::mem::take(&mut self.callers) {
            if !caller.task.is_finished() {
                assert!(now < caller.since + PATIENCE, "a caller is forgotten");
                waiting.push(caller);
                continue;
            }
            match caller.task.await.expect("no panic") {
                Ok(opened) => self.held.push(Held {
                    connection: opened.connection,
                    use_: Use::Idle(opened.stream),
                }),
                Err(failure) => self.peers.judge(&caller.key, caller.since, &failure),
            }
        }
        self.callers = waiting;
    }

    fn check(&self) {
        let mut of_key: HashMap<Key, usize> = HashMap::new();
        for (key, connection) in self.pool.connections() {
            *of_key.entry(key).or_default() += 1;
            let held = self.held_on(&connection);
            let streams = connection.streams();
            assert!(streams >= held, "{streams} streams, {held} in use");
            if self.callers.is_empty() {
                assert_eq!(streams, held, "nobody else is there");
            }
        }
        let limit = settings().connections_per_peer;
        assert!(of_key.values().all(|count| *count <= limit), "{of_key:?}");
        let dialing = self.pool.0.peers.borrow();
        for (key, peer) in dialing.iter() {
            let known = peer.dialing().is_some();
            assert!(
                known || !self.peers.is_dialing(key),
                "a dial that the pool forgot"
            );
        }
    }

    fn held_on(&self, connection: &Rc<Connection>) -> usize {
        let on = self.held.iter().filter(|held| {
            let lives = match &held.use_ {
                Use::Idle(_) => true,
                Use::Sending(task) => !task.is_finished(),
            };
            lives && Rc::ptr_eq(&held.connection, connection)
        });
        on.count()
    }

    /// Everybody goes; of what the pool knew nothing is left.
    async fn end(&mut self) {
        self.pass(PATIENCE).await;
        self.collect().await;
        assert!(self.callers.is_empty(), "a caller is forgotten");
        self.check();
        while !self.held.is_empty() {
            self.finish();
        }
        settle().await;
        self.check();
        let settings = settings();
        self.pass(settings.idle_timeout * 2 + super::LONGEST_BACKOFF)
            .await;
        assert!(self.pool.is_empty(), "idle connections are closed");
        assert!(self.pool.0.peers.borrow().is_empty(), "nothing is kept of a peer");
        assert!(!self.pool.0.sweeping.get(), "and nobody looks after nothing");
        self.peers.all_well();
        self.call();
        self.pass(settings.deadlines.answer).await;
        self.collect().await;
        assert_eq!(self.held.len(), 1, "a peer that is well serves");
        self.held.clear();
    }
}

/// Lets everything happen that needs no time.
async fn settle() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

async fn flood(mut stream: Stream) {
    let data = Bytes::from_static(&[7; 16 << 10]);
    for _ in 0..64 {
        let Ok(room) = poll_fn(|cx| stream.poll_capacity(cx, data.len())).await else {
            return;
        };
        if stream.send(data.slice(..room.min(data.len()))).is_err() {
            return;
        }
    }
    stream.release_capacity();
    std::future::pending::<()>().await;
}

fn connect() -> Request<()> {
    Request::builder()
        .method(Method::CONNECT)
        .uri("10.0.0.2:8080")
        .body(())
        .expect("a request")
}

/// Whether a failure is one that peers of this simulation cause.
fn is_expected(outcome: Outcome) -> bool {
    use Outcome as O;
    matches!(
        outcome,
        O::ConnectFailed
            | O::ConnectTimeout
            | O::TlsFailed
            | O::TlsTimeout
            | O::Http2Failed
            | O::ConnectAnswerTimeout
            | O::PeerRefused
    )
}
