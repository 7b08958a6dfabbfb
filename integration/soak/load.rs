//! Requests of every kind, made all the while, and what became of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit::lab::http;
use adit::lab::session::Session;
use adit_net::Namespace;

use super::bulk::{self, Order};
use super::history::{Attempt, Kind};
use super::stage::Stage;

/// Clients of new connections, and how often each makes one.
const FRESH: (usize, Duration) = (6, Duration::from_millis(100));
/// Clients whose connections live for a moment, between these times, and how often each asks something.
const KEEP_ALIVE: usize = 3;
const MOMENT: (u64, u64) = (200, 2500);
const ASKS: Duration = Duration::from_millis(25);
/// Between two exchanges of bytes by the million.
const BULK: Duration = Duration::from_millis(400);
/// The most chunks of 64 KiB of each direction: what the slowest machine moves before a drain ends.
const MOST_CHUNKS: u16 = 48;
/// Between two requests that a policy may forbid.
const GUARDED: Duration = Duration::from_millis(100);

/// Who calls whom.
#[derive(Clone, Debug)]
pub struct Route {
    /// Both, in words.
    pub name: String,
    /// The client's network namespace.
    pub from: Namespace,
    /// What it calls.
    pub to: SocketAddr,
}

/// The routes of each kind of load.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Of new connections.
    pub fresh: Vec<Route>,
    /// To echo servers.
    pub echo: Vec<Route>,
    /// To the servers of [`bulk`].
    pub bulk: Vec<Route>,
    /// Of those whom a policy forbids it at times: HTTP, then echo.
    pub guarded: (Route, Route),
}

/// What became of all requests.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ledger {
    /// How many were made, by kind.
    pub made: BTreeMap<Kind, u64>,
    /// Those to be judged: the failures, and all that a policy may have forbidden.
    pub attempts: Vec<Attempt>,
}

/// Requests that are made until it is stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    stop: AtomicBool,
    ledger: Mutex<Ledger>,
}

impl Load {
    /// Begins; times are since `begun`, and `seed` decides who calls whom next.
    pub fn start(stage: &Stage, begun: Instant, seed: u64) -> anyhow::Result<Self> {
        let routes = stage.routes()?;
        let shared = Arc::new(Shared {
            begun,
            stop: AtomicBool::new(false),
            ledger: Mutex::default(),
        });
        let mut load = Self {
            shared,
            threads: Vec::new(),
        };
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..FRESH.0 {
            let (routes, random) = (routes.fresh.clone(), random.fork());
            load.run(move |shared| shared.fresh(&routes, random));
        }
        for _ in 0..KEEP_ALIVE {
            let (routes, random) = (routes.echo.clone(), random.fork());
            load.run(move |shared| shared.keep_alive(&routes, random));
        }
        for route in routes.echo.clone() {
            load.run(move |shared| shared.long(&route, Kind::Long));
        }
        for route in routes.bulk.clone() {
            let random = random.fork();
            load.run(move |shared| shared.bulk(&route, random));
        }
        let (http, echo) = routes.guarded;
        load.run(move |shared| shared.guarded(&http));
        load.run(move |shared| shared.long(&echo, Kind::Guarded));
        Ok(load)
    }

    fn run(&mut self, work: impl FnOnce(&Shared) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        self.threads.push(std::thread::spawn(move || work(&shared)));
    }

    /// Ends after the requests that are under way.
    pub fn stop(self) -> Ledger {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                let failure = Some("the client panicked".to_owned());
                let now = self.shared.now();
                self.shared.note(Kind::Fresh, "a client", (now, now), failure);
            }
        }
        self.shared
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Notes a request whose connection was made, or tried to be, at the first time, and which began at the second.
    fn note(&self, kind: Kind, route: &str, (opened, began): (Duration, Duration), failure: Option<String>) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        *ledger.made.entry(kind).or_default() += 1;
        if failure.is_some() || kind == Kind::Guarded {
            let (route, ended) = (route.to_owned(), self.now());
            ledger.attempts.push(Attempt {
                kind,
                route,
                opened,
                began,
                ended,
                failure,
            });
        }
    }

    fn fresh(&self, routes: &[Route], mut random: fastrand::Rng) {
        let mut due = self.now();
        while self.goes_on() {
            // Due whether the one before was late or not, but not all that a stopped machine has missed.
            due = (due + FRESH.1).max(self.now().saturating_sub(FRESH.1 * 5));
            std::thread::sleep(due.saturating_sub(self.now()));
            self.request(&routes[random.usize(..routes.len())], Kind::Fresh);
        }
    }

    fn guarded(&self, route: &Route) {
        while self.goes_on() {
            self.request(route, Kind::Guarded);
            std::thread::sleep(GUARDED);
        }
    }

    fn request(&self, route: &Route, kind: Kind) {
        let began = self.now();
        let failure = match http::request(&route.from, route.to, "GET", "/") {
            Ok(response) if response.status == 200 => None,
            Ok(response) => Some(format!("status {}", response.status)),
            Err(failure) => Some(failure.to_string()),
        };
        self.note(kind, &route.name, (began, began), failure);
    }

    fn keep_alive(&self, routes: &[Route], mut random: fastrand::Rng) {
        while self.goes_on() {
            let route = &routes[random.usize(..routes.len())];
            let life = Duration::from_millis(random.u64(MOMENT.0..MOMENT.1));
            let opened = self.now();
            self.converse(route, Kind::KeepAlive, || self.now() < opened + life);
        }
    }

    fn long(&self, route: &Route, kind: Kind) {
        while self.goes_on() {
            self.converse(route, kind, || true);
            // A door that is shut is not knocked at without end.
            std::thread::sleep(ASKS);
        }
    }

    /// Opens a connection and uses it while it may be, until it fails.
    fn converse(&self, route: &Route, kind: Kind, while_so: impl Fn() -> bool) {
        let opened = self.now();
        let mut session = match Session::open(&route.from, route.to) {
            Ok(session) => session,
            Err(error) => return self.note(kind, &route.name, (opened, opened), Some(format!("{error:#}"))),
        };
        let mut number = 0;
        while self.goes_on() && while_so() {
            number += 1;
            let began = self.now();
            let failure = session.echo(&format!("line {number}")).err();
            let failed = failure.is_some();
            let failure = failure.map(|error| format!("{error:#}"));
            self.note(kind, &route.name, (opened, began), failure);
            if failed {
                return;
            }
            std::thread::sleep(ASKS);
        }
    }

    fn bulk(&self, route: &Route, mut random: fastrand::Rng) {
        while self.goes_on() {
            let order = Order {
                seed: random.u64(..),
                up: random.u16(1..MOST_CHUNKS),
                down: random.u16(1..MOST_CHUNKS),
            };
            let began = self.now();
            let failure = bulk::exchange(&route.from, route.to, order).err();
            let failure = failure.map(|error| format!("{error:#}"));
            self.note(Kind::Bulk, &route.name, (began, began), failure);
            std::thread::sleep(BULK);
        }
    }
}
