//! Steady traffic: one client after the other, each a connection of its own, and a count of what became of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use adit_net::Namespace;
use anyhow::Context;

use super::{http, observe};

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

impl Traffic {
    /// Starts clients in a namespace that call an application of the lab, each without pause.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(namespace: &Namespace, address: SocketAddr, clients: usize) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let start = || {
            let (namespace, shared) = (namespace.clone(), Arc::clone(&shared));
            std::thread::Builder::new()
                .name("client".to_owned())
                .spawn(move || {
                    while !shared.stop.load(Ordering::Relaxed) {
                        shared.count(call(&namespace, address));
                    }
                })
        };
        let clients = (0..clients).map(|_| start()).collect::<Result<_, _>>();
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
