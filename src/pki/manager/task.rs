//! The shell around the schedule: asks the issuer, checks its answers and publishes them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_mesh::Identity;
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::schedule::{Attempt, Now, Schedule};
use super::{ManagerOptions, Slot};
use crate::credentials::Credentials;
use crate::issuer::{IssueError, Issued, Issuer};
use crate::trust::{Trust, TrustStore};

/// What the handles tell the task.
#[derive(Debug)]
pub(super) enum Command {
    /// This identity is wanted.
    Hold(Arc<Slot>),
    /// Nobody wants it any more.
    Forget(Identity),
    /// Somebody waits for it.
    Wait(Identity),
    /// Somebody stopped waiting.
    StopWaiting(Identity),
    /// A new certificate is wanted.
    Renew(Identity),
}

/// Runs until every handle is gone.
pub(super) async fn run(
    issuer: Arc<dyn Issuer>,
    trust: TrustStore,
    options: ManagerOptions,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    mut trust_changes: watch::Receiver<Arc<Trust>>,
    revocations: watch::Sender<u64>,
) {
    let mut task = Task {
        schedule: Schedule::new(options.concurrency),
        issuer,
        trust,
        options,
        slots: HashMap::new(),
        requests: JoinSet::new(),
        attempts: HashMap::new(),
        generation: 0,
    };
    loop {
        task.expire();
        task.start();
        let nothing_happens = task.schedule.sleep(task.now());
        tokio::select! {
            command = inbox.recv() => match command {
                Some(command) => task.obey(command),
                None => return,
            },
            Some(ended) = task.requests.join_next_with_id() => task.finish(ended),
            // The store is held by the task, so its changes cannot end.
            Ok(()) = trust_changes.changed() => {
                let generation = trust_changes.borrow_and_update().generation();
                task.apply_trust();
                tracing::info!(generation, "certificates obey the changed trust");
                revocations.send_replace(generation);
            }
            () = sleep(nothing_happens) => {}
        }
    }
}

type Answer = Result<Issued, IssueError>;

struct Task {
    schedule: Schedule,
    issuer: Arc<dyn Issuer>,
    trust: TrustStore,
    options: ManagerOptions,
    slots: HashMap<Identity, Arc<Slot>>,
    requests: JoinSet<Answer>,
    /// Beside the requests, so that one that panicked is known by name.
    attempts: HashMap<Id, (Identity, Attempt)>,
    generation: u64,
}

impl Task {
    fn now(&self) -> Now {
        let wall = self.options.tls.time.current_time().unwrap_or_else(UnixTime::now);
        Now {
            steady: Instant::now().into_std(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall.as_secs()),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Hold(slot) => {
                self.schedule.add(&slot.identity);
                self.slots.insert(slot.identity.clone(), slot);
            }
            Command::Forget(identity) => {
                self.schedule.remove(&identity);
                self.slots.remove(&identity);
            }
            Command::Wait(identity) => self.schedule.wait(&identity),
            Command::StopWaiting(identity) => self.schedule.stop_waiting(&identity),
            Command::Renew(identity) => self.schedule.renew(&identity),
        }
    }

    fn expire(&mut self) {
        for identity in self.schedule.expired(self.now()) {
            if let Some(slot) = self.slots.get(&identity) {
                tracing::error!(%identity, failure = ?slot.failure(), "the certificate expired and there is no new one");
                slot.credentials.send_replace(None);
            }
        }
    }

    fn start(&mut self) {
        for (identity, attempt) in self.schedule.start(self.now()) {
            let issuer = Arc::clone(&self.issuer);
            let deadline = self.options.request_deadline;
            let wanted = identity.clone();
            let request = async move {
                let answer = timeout(deadline, issuer.issue(&wanted)).await;
                answer.unwrap_or(Err(IssueError::TimedOut))
            };
            let id = self.requests.spawn(request).id();
            self.attempts.insert(id, (identity, attempt));
        }
    }

    fn finish(&mut self, ended: Result<(Id, Answer), JoinError>) {
        let (id, answer) = match ended {
            Ok((id, answer)) => (id, answer),
            Err(error) => {
                let reason = format!("the request failed: {error}");
                (error.id(), Err(IssueError::Unavailable { reason }))
            }
        };
        let Some((identity, attempt)) = self.attempts.remove(&id) else {
            return;
        };
        self.schedule.ended(&identity, attempt);
        let wanted = self.schedule.is_current(&identity, attempt);
        let (true, Some(slot)) = (wanted, self.slots.get(&identity).cloned()) else {
            return;
        };
        let now = self.now();
        match answer.and_then(|issued| self.accept(&identity, issued, now)) {
            Ok(credentials) => {
                self.schedule
                    .succeeded(&identity, now, credentials.not_after(), fastrand::f64());
                tracing::info!(%identity, serial = credentials.serial(), "new certificate");
                slot.failure.store(None);
                slot.credentials.send_replace(Some(Arc::new(credentials)));
            }
            Err(failure) => {
                self.schedule.failed(&identity, now, fastrand::f64());
                tracing::warn!(%identity, %failure, "no new certificate; it will be tried again");
                slot.failure.store(Some(Arc::new(failure)));
            }
        }
    }

    fn accept(&mut self, identity: &Identity, issued: Issued, now: Now) -> Result<Credentials, IssueError> {
        self.generation += 1;
        let trust = self.trust.current();
        let credentials = Credentials::new(identity, issued, &trust, &self.options.tls, self.generation)?;
        if credentials.not_after() <= now.wall {
            return Err(IssueError::Expired);
        }
        Ok(credentials)
    }

    /// Gives every certificate in use the trust of now.
    fn apply_trust(&mut self) {
        let trust = self.trust.current();
        for slot in self.slots.values() {
            let Some(credentials) = slot.credentials.borrow().clone() else {
                continue;
            };
            self.generation += 1;
            match credentials.under(&trust, self.generation) {
                Ok(credentials) => {
                    slot.credentials.send_replace(Some(Arc::new(credentials)));
                }
                Err(error) => {
                    tracing::error!(identity = %slot.identity, %error, "changed trust cannot be applied; the former stays");
                }
            }
        }
    }
}
