//! Steady traffic: requests, each a connection of its own, without pause or at a rate, and a count of what became of
//! them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_net::Namespace;
use anyhow::Context;

use super::{http, observe};

/// Clients of [`Traffic::at_rate`]: so many requests may be under way before one is late.
const CLIENTS_AT_RATE: usize = 16;

/// Traffic that runs until it is stopped.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    pace: Option<Pace>,
    tally: Mutex<Tally>,
}

/// What became of the requests.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Answers, by who answered.
    pub answered: BTreeMap<String, u64>,
    /// Failures, by what the client saw.
    pub failed: BTreeMap<String, u64>,
}

impl Tally {
    /// All answers.
    pub fn answers(&self) -> u64 {
        self.answered.values().sum()
    }

    /// All failures.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// When requests are due.
#[derive(Debug)]
struct Pace {
    started: Instant,
    period: Duration,
    given: AtomicU64,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self {
            started: Instant::now(),
            period: Duration::from_secs(1) / per_second.max(1),
            given: AtomicU64::new(0),
        }
    }

    /// How long until the next request is due, which is the caller's then.
    fn until_next(&self) -> Duration {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        let due = self.started + Duration::from_nanos(period.saturating_mul(number));
        due.saturating_duration_since(Instant::now())
    }
}

impl Traffic {
    /// Starts clients in a namespace that call an application of the lab, each without pause.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(namespace: &Namespace, address: SocketAddr, clients: usize) -> anyhow::Result<Self> {
        Self::with(Shared::default(), vec![namespace; clients], address)
    }

    /// Starts clients in these namespaces, who together make so many requests a second: one whenever one is due,
    /// whether those before it have been answered or not.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn at_rate(from: &[&Namespace], address: SocketAddr, per_second: u32) -> anyhow::Result<Self> {
        let shared = Shared {
            pace: Some(Pace::new(per_second)),
            ..Shared::default()
        };
        let clients = from.iter().copied().cycle().take(CLIENTS_AT_RATE);
        Self::with(shared, clients.collect(), address)
    }

    fn with(shared: Shared, clients: Vec<&Namespace>, address: SocketAddr) -> anyhow::Result<Self> {
        let shared = Arc::new(shared);
        let start = |namespace: &Namespace| {
            let (namespace, shared) = (namespace.clone(), Arc::clone(&shared));
            std::thread::Builder::new()
                .name("client".to_owned())
                .spawn(move || shared.make_requests(&namespace, address))
        };
        let clients = clients.into_iter().map(start).collect::<Result<_, _>>();
        let clients = clients.context("cannot start the clients")?;
        Ok(Self { shared, clients })
    }

    /// Waits until so many more requests have been answered.
    ///
    /// # Errors
    /// They are not answered in time.
    pub fn wait_answers(&self, more: u64) -> anyhow::Result<()> {
        let wanted = self.shared.answered.load(Ordering::Relaxed) + more;
        observe::eventually(format_args!("{more} more answered requests"), || {
            Ok((self.shared.answered.load(Ordering::Relaxed) >= wanted).then_some(()))
        })
    }

    /// What became of the requests so far.
    pub fn tally(&self) -> Tally {
        self.shared.lock().clone()
    }

    /// Stops after the requests that are under way, and tells what became of all.
    pub fn stop(mut self) -> Tally {
        self.halt();
        self.tally()
    }

    fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            if client.join().is_err() {
                self.shared.count(Err("the client panicked".to_owned()));
            }
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Shared {
    fn make_requests(&self, namespace: &Namespace, address: SocketAddr) {
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(pace) = &self.pace {
                std::thread::sleep(pace.until_next());
            }
            self.count(call(namespace, address));
        }
    }

    fn count(&self, outcome: Result<String, String>) {
        let mut tally = self.lock();
        match outcome {
            Ok(replica) => {
                *tally.answered.entry(replica).or_default() += 1;
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => *tally.failed.entry(failure).or_default() += 1,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        // Counts are complete after each step.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn call(namespace: &Namespace, address: SocketAddr) -> Result<String, String> {
    let response = http::request(namespace, address, "GET", "/").map_err(|failure| failure.to_string())?;
    if response.status != 200 {
        return Err(format!("status {}", response.status));
    }
    let answer: super::apps::Answer =
        serde_json::from_str(&response.body).map_err(|error| error.to_string())?;
    Ok(answer.app)
}
