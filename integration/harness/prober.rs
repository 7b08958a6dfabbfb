//! Somebody who uses the mesh while a scenario disturbs it: requests over connections that stay open, one after the other,
//! and how long each took.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit::lab::session::Session;
use adit_net::Namespace;
use anyhow::Context;

/// What its own work takes between two requests: a client that never pauses measures the machine, not the tunnel.
const PAUSE: Duration = Duration::from_millis(2);

/// One client with one connection.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    lap: Mutex<Lap>,
}

/// What became of the requests of some time.
#[derive(Clone, Default, Debug)]
pub struct Lap {
    /// How long each answer took.
    pub answers: Vec<Duration>,
    /// Why the client could not go on, if so.
    pub failure: Option<String>,
    /// How long it was.
    pub length: Duration,
    begun: Option<Instant>,
}

impl Prober {
    /// Connects to an echo server, and begins.
    ///
    /// # Errors
    /// It cannot connect, or nothing comes back.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> anyhow::Result<Self> {
        let mut session = Session::open(namespace, address)?;
        session.echo("hello")?;
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        let thread = std::thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || {
                while !state.stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let answer = session.echo("are you there?");
                    let mut lap = state.lap();
                    match answer {
                        Ok(()) => lap.answers.push(started.elapsed()),
                        Err(error) => {
                            lap.failure = Some(format!("{error:#}"));
                            return;
                        }
                    }
                    drop(lap);
                    std::thread::sleep(PAUSE);
                }
            });
        let prober = Self {
            shared,
            thread: Some(thread.context("cannot start a prober")?),
        };
        prober.lap();
        Ok(prober)
    }

    /// How many answers there have been since the last [`Prober::lap`].
    ///
    /// # Errors
    /// The client could not go on.
    pub fn answers(&self) -> anyhow::Result<usize> {
        let lap = self.shared.lap();
        match &lap.failure {
            Some(failure) => anyhow::bail!("{failure}"),
            None => Ok(lap.answers.len()),
        }
    }

    /// What became of the requests since the last call.
    pub fn lap(&self) -> Lap {
        let now = Instant::now();
        let mut lap = self.shared.lap();
        let fresh = Lap {
            begun: Some(now),
            failure: lap.failure.clone(),
            ..Lap::default()
        };
        let mut ended = std::mem::replace(&mut *lap, fresh);
        ended.length = ended.begun.map_or(Duration::ZERO, |begun| now - begun);
        ended.answers.sort();
        ended
    }
}

impl Shared {
    fn lap(&self) -> MutexGuard<'_, Lap> {
        // Each change of it is one statement.
        self.lap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A panic of its thread shows as answers that are missing.
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}

impl Lap {
    /// Answers in a second.
    pub fn rate(&self) -> f64 {
        self.answers.len() as f64 / self.length.as_secs_f64().max(f64::EPSILON)
    }

    /// What so many of a hundred answers took at most.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.answers.len().saturating_sub(1);
        let index = last.min(self.answers.len() * percent / 100);
        self.answers.get(index).copied().unwrap_or_default()
    }

    /// The slowest answer.
    pub fn slowest(&self) -> Duration {
        self.percentile(100)
    }
}
