//! The certificates of the identities that live on this node.
//!
//! An identity is held for as long as somebody holds it: the pods of a service account share one certificate,
//! and when the last of them goes it is forgotten. Requests, renewals and retries run in one task of the
//! control runtime, which publishes what it has through a watch channel; the workers only read. When to ask
//! is decided by `schedule`, a pure state machine; `task` obeys it.
//!
//! * renewed when half of the time that was left at issue has passed, spread by ±5 % of it, so that the pods
//!   of a rollout do not come back to the CA together;
//! * after a failure retried in 0.5 s, then twice as long each time up to 150 s, ±20 %; while somebody waits
//!   for the certificate, after 1 s at the latest, and while the old one still holds, after half of what it
//!   has left;
//! * the old certificate serves until it expires; then there is none, rather than one that peers refuse.

mod schedule;
mod task;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use adit_mesh::Identity;
use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, watch};

use crate::credentials::Credentials;
use crate::issuer::{IssueError, Issuer};
use crate::tls::TlsOptions;
use crate::trust::TrustStore;
use task::Command;

/// How certificates are obtained.
#[derive(Clone, Debug)]
pub struct ManagerOptions {
    /// How the certificates are used.
    pub tls: TlsOptions,
    /// How many requests may be under way at a time. Eight keep a CA busy without hurting it when a node
    /// starts with a hundred pods.
    pub concurrency: usize,
    /// How long one request may take. Longer than a slow CA needs, shorter than anybody likes to wait.
    pub request_deadline: Duration,
}

impl Default for ManagerOptions {
    fn default() -> Self {
        Self {
            tls: TlsOptions::default(),
            concurrency: 8,
            request_deadline: Duration::from_secs(10),
        }
    }
}

/// Gets, keeps and renews certificates. Clones share one set; it may be used from any thread and runtime.
#[derive(Clone)]
pub struct CertificateManager {
    shared: Arc<Shared>,
}

impl CertificateManager {
    /// Starts a manager. Its task runs on the tokio runtime that this is called in, and ends when the manager
    /// and everything that is held are gone.
    pub fn new(issuer: Arc<dyn Issuer>, trust: &TrustStore, options: ManagerOptions) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        // Subscribed before the look, so that a change before the task's first turn is not missed.
        let trust_changes = trust.subscribe();
        let (revocations, revocation_changes) = watch::channel(trust.current().generation());
        tokio::spawn(task::run(
            issuer,
            trust.clone(),
            options,
            inbox,
            trust_changes,
            revocations,
        ));
        Self {
            shared: Arc::new(Shared {
                slots: Mutex::default(),
                commands,
                revocation_changes,
            }),
        }
    }

    /// Takes an interest in an identity: its certificate is requested now, and renewed while anybody holds
    /// it.
    pub fn hold(&self, identity: &Identity) -> Held {
        self.shared.hold(identity)
    }

    /// Asks for a new certificate now, although the present one still holds. Without effect on an identity
    /// that nobody holds.
    pub fn renew(&self, identity: &Identity) {
        self.shared.send(Command::Renew(identity.clone()));
    }

    /// Every identity that is held, in alphabetical order.
    pub fn list(&self) -> Vec<CertificateStatus> {
        let mut list: Vec<_> = self
            .shared
            .slots()
            .values()
            .map(|held| held.slot.status())
            .collect();
        list.sort_by(|a, b| a.identity.cmp(&b.identity));
        list
    }

    /// Changes after trust changed and the credentials of every identity obey it: the moment to judge live
    /// connections again ([`Credentials::is_revoked`]). Holds the generation of that trust.
    pub fn revocation_changes(&self) -> watch::Receiver<u64> {
        self.shared.revocation_changes.clone()
    }
}

impl fmt::Debug for CertificateManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateManager").finish_non_exhaustive()
    }
}

/// An interest in an identity. The last one to be dropped gives the certificate up.
#[must_use = "the certificate is given up when this is dropped"]
pub struct Held {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
}

impl Held {
    /// Whose certificate is held.
    pub fn identity(&self) -> &Identity {
        &self.slot.identity
    }

    /// The certificate to use now, if there is one. Never waits.
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.slot.credentials.borrow().clone()
    }

    /// Waits for a certificate, at most `within`. A retry that is pending comes sooner while somebody waits.
    /// To be called in a tokio runtime with timers, which need not be the manager's.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`NoCertificate`] when the time is up, with the last failure.
    pub async fn wait(&self, within: Duration) -> Result<Arc<Credentials>, NoCertificate> {
        if let Some(credentials) = self.current() {
            return Ok(credentials);
        }
        let _waiting = Waiting::new(&self.shared, &self.slot.identity);
        let mut credentials = self.changed();
        let arrival = credentials.wait_for(Option::is_some);
        if let Ok(Ok(arrived)) = tokio::time::timeout(within, arrival).await
            && let Some(credentials) = arrived.clone()
        {
            return Ok(credentials);
        }
        Err(NoCertificate {
            identity: self.slot.identity.clone(),
            within,
            cause: self.slot.failure(),
        })
    }

    /// Changes whenever there is another certificate, or none any more.
    pub fn changed(&self) -> watch::Receiver<Option<Arc<Credentials>>> {
        self.slot.credentials.subscribe()
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        self.shared.hold(&self.slot.identity)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.release(&self.slot.identity);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.slot.identity).finish()
    }
}

/// There was no certificate in time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no certificate for {identity} within {within:?}: {}",
    .cause.as_ref().map_or_else(|| "the certificate authority has not answered yet".to_owned(), ToString::to_string)
)]
pub struct NoCertificate {
    /// Whose certificate is missing.
    pub identity: Identity,
    /// How long it was waited for.
    pub within: Duration,
    /// Why the last attempt failed, if one did.
    pub cause: Option<IssueError>,
}

/// The state of one identity's certificate, for people and metrics.
#[derive(Clone, Debug)]
pub struct CertificateStatus {
    /// Whose it is.
    pub identity: Identity,
    /// The certificate in use.
    pub credentials: Option<Arc<Credentials>>,
    /// Why the last attempt failed, if none has succeeded since.
    pub failure: Option<IssueError>,
}

impl CertificateStatus {
    /// `Available`, `Initializing` or `Unavailable`, the words of ztunnel's dump.
    pub fn state(&self) -> &'static str {
        match (&self.credentials, &self.failure) {
            (Some(_), _) => "Available",
            (None, None) => "Initializing",
            (None, Some(_)) => "Unavailable",
        }
    }

    /// Until when the certificate in use holds.
    pub fn expires(&self) -> Option<SystemTime> {
        self.credentials
            .as_ref()
            .map(|credentials| credentials.not_after())
    }
}

/// What the handles of one manager share.
struct Shared {
    slots: Mutex<HashMap<Identity, HeldSlot>>,
    /// Unbounded, because a worker must never wait for the control runtime; there is one command for each
    /// change of interest, and waiters are as many as connections are held back.
    commands: mpsc::UnboundedSender<Command>,
    revocation_changes: watch::Receiver<u64>,
}

impl Shared {
    fn hold(self: &Arc<Self>, identity: &Identity) -> Held {
        let mut slots = self.slots();
        let held = slots.entry(identity.clone()).or_insert_with(|| {
            let slot = Arc::new(Slot::new(identity));
            // Sent under the lock, so that commands arrive in the order in which interest changed.
            self.send(Command::Hold(Arc::clone(&slot)));
            HeldSlot { slot, holders: 0 }
        });
        held.holders += 1;
        Held {
            shared: Arc::clone(self),
            slot: Arc::clone(&held.slot),
        }
    }

    fn release(&self, identity: &Identity) {
        let mut slots = self.slots();
        let Some(held) = slots.get_mut(identity) else {
            return;
        };
        held.holders -= 1;
        if held.holders == 0 {
            slots.remove(identity);
            self.send(Command::Forget(identity.clone()));
        }
    }

    fn send(&self, command: Command) {
        // The task is gone only when its runtime is: the process is ending.
        let _ = self.commands.send(command);
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Identity, HeldSlot>> {
        // Nothing panics under this lock between two states that belong together.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct HeldSlot {
    slot: Arc<Slot>,
    holders: usize,
}

/// One identity's certificate: written by the task, read by everybody.
#[derive(Debug)]
struct Slot {
    identity: Identity,
    credentials: watch::Sender<Option<Arc<Credentials>>>,
    failure: ArcSwapOption<IssueError>,
}

impl Slot {
    fn new(identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            credentials: watch::Sender::new(None),
            failure: ArcSwapOption::empty(),
        }
    }

    fn failure(&self) -> Option<IssueError> {
        self.failure.load().as_deref().cloned()
    }

    fn status(&self) -> CertificateStatus {
        CertificateStatus {
            identity: self.identity.clone(),
            credentials: self.credentials.borrow().clone(),
            failure: self.failure(),
        }
    }
}

/// Somebody waits for a certificate, until this is dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    identity: &'a Identity,
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared, identity: &'a Identity) -> Self {
        shared.send(Command::Wait(identity.clone()));
        Self { shared, identity }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.send(Command::StopWaiting(self.identity.clone()));
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
