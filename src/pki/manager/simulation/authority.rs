//! The authority of the simulation, what it knows of each identity, and the clock that both sides go by.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_mesh::Identity;
use fastrand::Rng;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::time::{Instant, sleep};

use super::{CONCURRENCY, DEADLINE};
use crate::fixtures::{Ca, HOUR, Leaf, NOW, identity};
use crate::issuer::{IssueError, Issued, Issuer, Issuing};

/// Wall time, which can be set, over tokio's virtual time.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    pub(super) begin: Instant,
    pub(super) set: Arc<AtomicI64>,
}

impl Clock {
    pub(super) fn seconds(&self) -> u64 {
        let passed = NOW + self.begin.elapsed().as_secs();
        passed.saturating_add_signed(self.set.load(Ordering::Relaxed))
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.seconds())))
    }
}

/// How the authority answers one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Good,
    ShortLived,
    Refused,
    Silent,
    Panic,
    Expired,
    OfAnother,
    Empty,
}

/// What the authority and the simulation know of one identity.
#[derive(Default)]
pub(super) struct Record {
    pub(super) running: usize,
    /// How many wait for it.
    pub(super) waiting: usize,
    /// Somebody has waited for it, or forced a renewal, since the last request.
    pub(super) hurried: bool,
    failures: u32,
    failed_at: Option<Instant>,
    /// The wall time at which the present certificate came, and that of its end.
    good: Option<(u64, u64)>,
    /// It has been given up since.
    expired: bool,
    pub(super) requests: u64,
}

impl Record {
    /// Nobody held it for a while: what was remembered for its holders is gone.
    pub(super) fn forget(&mut self) {
        *self = Self {
            running: self.running,
            waiting: self.waiting,
            requests: self.requests,
            ..Self::default()
        };
    }

    /// The certificate is gone, so that the next one is not too early, whatever the clock shows.
    pub(super) fn expire(&mut self) {
        self.expired = true;
    }
}

/// An authority that errs.
pub(super) struct TestCa {
    pub(super) root: Ca,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    /// Every answer is good.
    pub(super) calm: Mutex<bool>,
    pub(super) records: Mutex<BTreeMap<Identity, Record>>,
}

impl TestCa {
    pub(super) fn records(&self) -> MutexGuard<'_, BTreeMap<Identity, Record>> {
        // A request that panics does so between two states that belong together.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_calm(&self) -> bool {
        *self.calm.lock().expect("not poisoned")
    }

    /// Of one request, so that the order of those of different identities does not matter to a replay.
    fn random(&self, identity: &Identity, request: u64) -> Rng {
        let account = identity.service_account().bytes();
        let name = account.fold(0_u64, |sum, byte| sum * 31 + u64::from(byte));
        Rng::with_seed(self.seed ^ (name << 32) ^ request)
    }

    /// Notes a request and judges its moment.
    fn asked(&self, identity: &Identity) -> Rng {
        let mut records = self.records();
        let all: usize = records.values().map(|record| record.running).sum();
        assert!(all < CONCURRENCY, "no more requests than there is room");
        let record = records.entry(identity.clone()).or_default();
        assert_eq!(record.running, 0, "one request at a time for {identity}");
        record.running += 1;
        record.requests += 1;
        self.judge(identity, record);
        record.hurried = record.waiting > 0;
        self.random(identity, record.requests)
    }

    fn judge(&self, identity: &Identity, record: &Record) {
        if record.hurried {
            return;
        }
        if let Some(failed_at) = record.failed_at {
            let doubled = 500_u64 << (record.failures - 1).min(16);
            // Towards the end of a certificate the pauses become shorter again, down to the first.
            let least = match record.good {
                Some(_) => 400,
                None => doubled.min(150_000) * 8 / 10,
            };
            let passed = failed_at.elapsed();
            assert!(
                passed >= Duration::from_millis(least),
                "{identity} again after {passed:?}"
            );
        } else if let (Some((came, end)), false) = (record.good, record.expired) {
            let left = (end - came) as f64;
            let now = self.clock.seconds() as f64;
            // The clock shows whole seconds.
            let earliest = came as f64 + (0.45 * left).max(1.0) - 1.0;
            assert!(
                now >= earliest,
                "{identity} renewed at {now}, not from {earliest}"
            );
            if self.is_calm() {
                let latest = came as f64 + (0.55 * left).max(1.0) + 30.0;
                assert!(now <= latest, "{identity} renewed at {now}, not before {latest}");
            }
        }
    }

    fn failed(&self, identity: &Identity) {
        let mut records = self.records();
        let record = records.entry(identity.clone()).or_default();
        record.failures += 1;
        record.failed_at = Some(Instant::now());
    }

    fn sign(&self, identity: &Identity, answer: Answer, random: &mut Rng) -> Issued {
        let now = self.clock.seconds();
        let life = match answer {
            Answer::ShortLived => random.u64(1..30),
            _ => random.u64(HOUR..24 * HOUR),
        };
        let expired = answer == Answer::Expired;
        let leaf = Leaf {
            serial: random.u8(1..=127),
            not_before: now - 120,
            not_after: if expired { now } else { now + life },
            ..Leaf::of(identity)
        };
        let record_good = matches!(answer, Answer::Good | Answer::ShortLived);
        if record_good {
            let mut records = self.records();
            let record = records.entry(identity.clone()).or_default();
            (record.failures, record.failed_at) = (0, None);
            record.good = Some((now, now + life));
            record.expired = false;
        }
        self.root.issue(leaf).issued(vec![])
    }

    fn answer(&self, random: &mut Rng) -> Answer {
        if self.is_calm() {
            return Answer::Good;
        }
        match random.u8(..16) {
            0..3 => Answer::Refused,
            3 => Answer::Silent,
            4 => Answer::Panic,
            5 => Answer::Expired,
            6 => Answer::OfAnother,
            7 => Answer::Empty,
            8..10 => Answer::ShortLived,
            _ => Answer::Good,
        }
    }
}

/// A request under way, which may end by being dropped.
struct Running<'a>(&'a TestCa, &'a Identity);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.0.records().get_mut(self.1) {
            record.running -= 1;
        }
    }
}

impl Issuer for TestCa {
    fn issue<'a>(&'a self, identity: &'a Identity) -> Issuing<'a> {
        Box::pin(async move {
            let mut random = self.asked(identity);
            let running = Running(self, identity);
            let slow = random.u8(..8) == 0;
            sleep(Duration::from_millis(
                random.u64(1..if slow { 9_000 } else { 300 }),
            ))
            .await;
            let answer = self.answer(&mut random);
            match answer {
                Answer::Good | Answer::ShortLived => return Ok(self.sign(identity, answer, &mut random)),
                Answer::Silent => {
                    // Given up by the manager at its deadline.
                    let failing = Failing(self, identity);
                    sleep(2 * DEADLINE).await;
                    drop(failing);
                }
                _ => self.failed(identity),
            }
            drop(running);
            match answer {
                // A panic without its message and backtrace.
                Answer::Panic => std::panic::resume_unwind(Box::new("as the simulation wants it")),
                Answer::Expired => Ok(self.sign(identity, answer, &mut random)),
                Answer::OfAnother => Ok(self.sign(&other(), answer, &mut random)),
                Answer::Empty => Ok(Issued {
                    chain: vec![],
                    ..self.sign(identity, Answer::Expired, &mut random)
                }),
                _ => Err(IssueError::Refused {
                    reason: "as the simulation wants it".to_owned(),
                }),
            }
        })
    }
}

/// Counts as a failure when it is given up.
struct Failing<'a>(&'a TestCa, &'a Identity);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.failed(self.1);
    }
}

fn other() -> Identity {
    identity("somebody-else")
}
