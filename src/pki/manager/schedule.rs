//! When to ask for which certificate: a state machine without I/O and without a clock.
//!
//! Two clocks come in as arguments. Retries are counted on the steady one, so that a wall clock that is set
//! does not stop or storm them; renewal and expiry are about dates and follow the wall clock, which is why
//! nobody should sleep longer than [`LONGEST_SLEEP`] on them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use adit_mesh::Identity;

/// The first pause after a failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest pause after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_secs(150);
/// The longest pause after a failure while somebody waits; also the least that a hurried retry keeps from the
/// failure before it, so that a thousand waiting connections are one request a second.
const HURRIED_BACKOFF: Duration = Duration::from_secs(1);
/// The least time between two certificates of an identity, however short-lived they are.
const LEAST_RENEWAL: Duration = Duration::from_secs(1);
/// A wall clock that is set is noticed after this time.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) steady: Instant,
    pub(super) wall: SystemTime,
}

/// One request for a certificate. The answer to an attempt that is no longer the present one is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attempt(u64);

/// Which certificates are wanted, which are being asked for, and when the others are to be.
#[derive(Debug)]
pub(super) struct Schedule {
    entries: HashMap<Identity, Entry>,
    /// Attempts that run for identities that are not wanted at the moment.
    orphans: HashMap<Identity, Attempt>,
    /// How often an identity came or an attempt was started.
    turns: u64,
    running: usize,
    concurrency: usize,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    /// When it came or was last asked for, so that those who have waited longest are next.
    turn: u64,
    waiters: usize,
    failures: u32,
    failed_at: Option<Instant>,
    expires: Option<SystemTime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// To be asked for as soon as there is room.
    Due,
    /// Being asked for.
    Running(Attempt),
    /// The last attempt failed; the next is at this time.
    Retry(Instant),
    /// All is well until this date.
    Renewal(SystemTime),
}

impl Schedule {
    /// Nothing wanted yet; at most `concurrency` (at least one) attempts run at a time.
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            entries: HashMap::new(),
            orphans: HashMap::new(),
            turns: 0,
            running: 0,
            concurrency: concurrency.max(1),
        }
    }

    /// An identity is wanted from now on. An attempt that still runs from when it was wanted before will do: pods that
    /// come and go are not to ask the authority twice at a time.
    pub(super) fn add(&mut self, identity: &Identity) {
        let running = self.orphans.remove(identity).map(Phase::Running);
        let entry = Entry {
            phase: running.unwrap_or(Phase::Due),
            turn: self.turn(),
            waiters: 0,
            failures: 0,
            failed_at: None,
            expires: None,
        };
        self.entries.insert(identity.clone(), entry);
    }

    /// It is not wanted any more. An attempt that runs is let run; its answer is of use only if the identity comes back
    /// before.
    pub(super) fn remove(&mut self, identity: &Identity) {
        if let Some(Entry {
            phase: Phase::Running(attempt),
            ..
        }) = self.entries.remove(identity)
        {
            self.orphans.insert(identity.clone(), attempt);
        }
    }

    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// Somebody waits for this certificate: a retry that is pending comes sooner.
    pub(super) fn wait(&mut self, identity: &Identity) {
        if let Some(entry) = self.entries.get_mut(identity) {
            entry.waiters += 1;
            if let (Phase::Retry(at), Some(failed_at)) = (entry.phase, entry.failed_at) {
                entry.phase = Phase::Retry(at.min(failed_at + HURRIED_BACKOFF));
            }
        }
    }

    /// Somebody stopped waiting.
    pub(super) fn stop_waiting(&mut self, identity: &Identity) {
        if let Some(entry) = self.entries.get_mut(identity) {
            entry.waiters = entry.waiters.saturating_sub(1);
        }
    }

    /// A new certificate is wanted now, whatever the present one is worth.
    pub(super) fn renew(&mut self, identity: &Identity) {
        if let Some(entry) = self.entries.get_mut(identity)
            && !matches!(entry.phase, Phase::Running(_))
        {
            entry.phase = Phase::Due;
        }
    }

    /// Starts the attempts that are due, as far as there is room: first those that somebody waits for, then
    /// those without a certificate, then renewals, and among equals the one that was not asked for longest.
    pub(super) fn start(&mut self, now: Now) -> Vec<(Identity, Attempt)> {
        let room = self.concurrency.saturating_sub(self.running);
        let mut due: Vec<_> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.is_due(now))
            .collect();
        due.sort_by_key(|(_, entry)| (Reverse(entry.waiters > 0), entry.expires.is_some(), entry.turn));
        let mut started = Vec::new();
        for (identity, entry) in due.into_iter().take(room) {
            self.turns += 1;
            self.running += 1;
            let attempt = Attempt(self.turns);
            entry.turn = self.turns;
            entry.phase = Phase::Running(attempt);
            started.push((identity.clone(), attempt));
        }
        started
    }

    /// An attempt has ended, whether anybody still wants its answer or not. To be called once for each.
    pub(super) fn ended(&mut self, identity: &Identity, attempt: Attempt) {
        self.running = self.running.saturating_sub(1);
        if self.orphans.get(identity) == Some(&attempt) {
            self.orphans.remove(identity);
        }
    }

    /// Whether the answer to this attempt is still wanted.
    pub(super) fn is_current(&self, identity: &Identity, attempt: Attempt) -> bool {
        self.entries
            .get(identity)
            .is_some_and(|entry| entry.phase == Phase::Running(attempt))
    }

    /// There is a certificate until `expires`. `spread`, from 0 to 1, says where around the half of its life
    /// it is renewed.
    pub(super) fn succeeded(&mut self, identity: &Identity, now: Now, expires: SystemTime, spread: f64) {
        if let Some(entry) = self.entries.get_mut(identity) {
            // From now on, not from its beginning, which is backdated for the sake of wrong clocks: a
            // short-lived certificate would be past the half of its life when it comes.
            let left = expires.duration_since(now.wall).unwrap_or_default();
            let half = left.mul_f64(0.45 + 0.1 * spread.clamp(0.0, 1.0));
            entry.phase = Phase::Renewal(now.wall + half.max(LEAST_RENEWAL));
            entry.failures = 0;
            entry.failed_at = None;
            entry.expires = Some(expires);
        }
    }

    /// An attempt failed. `spread`, from 0 to 1, says where within ±20 % of the pause the next one is.
    pub(super) fn failed(&mut self, identity: &Identity, now: Now, spread: f64) {
        if let Some(entry) = self.entries.get_mut(identity) {
            let doubled = FIRST_BACKOFF.saturating_mul(1 << entry.failures.min(16));
            let pause = doubled
                .min(LONGEST_BACKOFF)
                .mul_f64(0.8 + 0.4 * spread.clamp(0.0, 1.0));
            entry.phase = Phase::Retry(now.steady + pause.min(entry.longest_pause(now)));
            entry.failures = entry.failures.saturating_add(1);
            entry.failed_at = Some(now.steady);
        }
    }

    /// The identities whose certificate has expired since this was last asked.
    pub(super) fn expired(&mut self, now: Now) -> Vec<Identity> {
        let mut expired = Vec::new();
        for (identity, entry) in &mut self.entries {
            if entry.expires.is_some_and(|at| at <= now.wall) {
                entry.expires = None;
                // A date has no say any more: the clock may be set back before there is room for the attempt.
                if matches!(entry.phase, Phase::Renewal(_)) {
                    entry.phase = Phase::Due;
                }
                expired.push(identity.clone());
            }
        }
        expired
    }

    /// How long nothing will happen by itself; never more than [`LONGEST_SLEEP`].
    pub(super) fn sleep(&self, now: Now) -> Duration {
        let room = self.running < self.concurrency;
        let until = |date: SystemTime| date.duration_since(now.wall).unwrap_or_default();
        let start = |entry: &Entry| match entry.phase {
            // Without room, the end of a running attempt is what is waited for.
            _ if !room => None,
            Phase::Due => Some(Duration::ZERO),
            Phase::Running(_) => None,
            Phase::Retry(at) => Some(at.saturating_duration_since(now.steady)),
            Phase::Renewal(at) => Some(until(at)),
        };
        self.entries
            .values()
            .flat_map(|entry| [start(entry), entry.expires.map(until)])
            .flatten()
            .fold(LONGEST_SLEEP, Duration::min)
    }
}

impl Entry {
    /// How long a pause may be at most, given who depends on it.
    fn longest_pause(&self, now: Now) -> Duration {
        match self
            .expires
            .map(|at| at.duration_since(now.wall).unwrap_or_default())
        {
            _ if self.waiters > 0 => HURRIED_BACKOFF,
            // Closer and closer towards the end, so that a CA that comes back just in time is not missed.
            Some(left) => (left / 2).max(FIRST_BACKOFF),
            None => Duration::MAX,
        }
    }

    fn is_due(&self, now: Now) -> bool {
        match self.phase {
            Phase::Due => true,
            Phase::Running(_) => false,
            Phase::Retry(at) => at <= now.steady,
            Phase::Renewal(at) => at <= now.wall,
        }
    }
}

#[cfg(test)]
mod tests;
