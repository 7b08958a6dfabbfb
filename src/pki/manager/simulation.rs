//! The manager against an authority that errs, hangs, answers late and issues what cannot be used, under clocks that are
//! set, for holders that come and go: at random, in virtual time.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicI64, Ordering};

use fastrand::Rng;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::fixtures::{Ca, Files, HOUR, Leaf, NOW, at, identity};
use crate::issuer::{Issued, Issuing};
use crate::trust::TrustOptions;

const STEPS: usize = 400;
const IDENTITIES: usize = 12;
const CONCURRENCY: usize = 3;
const DEADLINE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
/// After an event everything that follows from it at once has happened within this time.
const SETTLED: Duration = Duration::from_millis(5);
/// A wall clock that was set forward is noticed after this time.
const NOTICED: Duration = schedule::LONGEST_SLEEP;

#[test]
fn certificates_are_there_fresh_and_not_asked_for_too_often_whatever_happens() {
    // 204 and 213: trust that changed before the manager's first turn was never announced.
    adit_simulation::play("certificate manager", 8, &[204, 213], |random| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new(random);
            for _ in 0..STEPS {
                world.step().await;
                world.check();
            }
            world.end().await;
        });
    });
}

/// Wall time, which can be set, over tokio's virtual time.
#[derive(Clone, Debug)]
struct Clock {
    begin: Instant,
    set: Arc<AtomicI64>,
}

impl Clock {
    fn seconds(&self) -> u64 {
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
struct Record {
    running: usize,
    /// How many wait for it.
    waiting: usize,
    /// Somebody has waited for it, or forced a renewal, since the last request.
    hurried: bool,
    failures: u32,
    failed_at: Option<Instant>,
    /// The wall time at which the present certificate came, and that of its end.
    good: Option<(u64, u64)>,
    requests: u64,
}

struct TestCa {
    root: Ca,
    clock: Clock,
    seed: u64,
    calm: Mutex<bool>,
    records: Mutex<BTreeMap<Identity, Record>>,
}

impl TestCa {
    fn records(&self) -> MutexGuard<'_, BTreeMap<Identity, Record>> {
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
            let longest = match record.good {
                Some((_, end)) => (end.saturating_sub(self.clock.seconds()) * 500).max(500),
                None => u64::MAX,
            };
            // A clock that was set back or forth since makes `longest` another one than it was.
            let pause = (doubled.min(150_000) * 8 / 10).min(longest);
            let least = if record.good.is_some() { 400 } else { pause };
            let passed = failed_at.elapsed();
            assert!(
                passed >= Duration::from_millis(least),
                "{identity} again after {passed:?}"
            );
        } else if let Some((came, end)) = record.good {
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
                Answer::Panic => panic!("as the simulation wants it"),
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

/// Somebody who waits for a certificate.
struct Waiter {
    task: JoinHandle<Result<Arc<Credentials>, NoCertificate>>,
    until: Instant,
}

struct World {
    random: Rng,
    clock: Clock,
    ca: Arc<TestCa>,
    files: Files,
    trust: TrustStore,
    manager: CertificateManager,
    held: Vec<Held>,
    waiters: Vec<Waiter>,
    /// What must be gone.
    forgotten: Vec<Weak<Slot>>,
    /// When the wall clock was last set forward.
    set_forward: Option<Instant>,
}

impl World {
    fn new(mut random: Rng) -> Self {
        // The manager spreads renewals and retries at random, with this thread's generator.
        fastrand::seed(random.u64(..));
        let clock = Clock {
            begin: Instant::now(),
            set: Arc::default(),
        };
        let (files, root) = (Files::new(), Ca::root("root"));
        let trust = TrustStore::open(&TrustOptions {
            bundle: vec![files.roots("roots.pem", &[&root])],
            crl: vec![files.crls("crl.pem", &[root.crl(&[])])],
            aliases: vec![],
        });
        let trust = trust.expect("good files");
        let ca = Arc::new(TestCa {
            root,
            clock: clock.clone(),
            seed: random.u64(..),
            calm: Mutex::default(),
            records: Mutex::default(),
        });
        let options = ManagerOptions {
            tls: TlsOptions {
                time: Arc::new(clock.clone()),
                ..TlsOptions::default()
            },
            concurrency: CONCURRENCY,
            request_deadline: DEADLINE,
        };
        let issuer = Arc::clone(&ca) as Arc<dyn Issuer>;
        Self {
            manager: CertificateManager::new(issuer, &trust, options),
            clock,
            ca,
            files,
            trust,
            held: Vec::new(),
            waiters: Vec::new(),
            forgotten: Vec::new(),
            set_forward: None,
            random,
        }
    }

    async fn step(&mut self) {
        match self.random.u8(..32) {
            0..7 => self.hold(),
            7..12 => self.release(),
            12..18 => self.wait(),
            18 => self.renew(),
            19 => self.set_clock(),
            20 => self.change_trust(),
            21 => sleep(Duration::from_secs(self.random.u64(..20_000))).await,
            22..26 => sleep(Duration::from_secs(self.random.u64(..60))).await,
            _ => sleep(Duration::from_millis(self.random.u64(..2_000))).await,
        }
        sleep(SETTLED).await;
    }

    fn hold(&mut self) {
        let name = identity(&format!("a{}", self.random.usize(..IDENTITIES)));
        if self.holders(&name) == 0 {
            let mut records = self.ca.records();
            let record = records.entry(name.clone()).or_default();
            *record = Record {
                running: record.running,
                requests: record.requests,
                waiting: record.waiting,
                ..Record::default()
            };
        }
        self.held.push(self.manager.hold(&name));
    }

    fn release(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let released = self.held.swap_remove(self.random.usize(..self.held.len()));
        let name = released.identity().clone();
        let slot = Arc::downgrade(&released.slot);
        drop(released);
        if self.holders(&name) == 0 {
            self.forgotten.push(slot);
        }
    }

    /// Who waits holds, too.
    fn holders(&self, name: &Identity) -> usize {
        self.manager
            .shared
            .slots()
            .get(name)
            .map_or(0, |held| held.holders)
    }

    fn wait(&mut self) {
        let Some(held) = self.random.choice(&self.held).cloned() else {
            return;
        };
        if let Some(record) = self.ca.records().get_mut(held.identity()) {
            record.hurried = true;
            record.waiting += 1;
        }
        let within = Duration::from_millis(self.random.u64(..20_000));
        let until = Instant::now() + within;
        let ca = Arc::clone(&self.ca);
        let task = tokio::spawn(async move {
            let arrived = held.wait(within).await;
            if let Some(record) = ca.records().get_mut(held.identity()) {
                record.waiting -= 1;
            }
            assert!(Instant::now() <= until + SETTLED, "in time");
            if let Ok(credentials) = &arrived {
                assert_eq!(credentials.identity(), held.identity());
            }
            arrived
        });
        self.waiters.push(Waiter { task, until });
    }

    fn renew(&mut self) {
        if let Some(held) = self.random.choice(&self.held) {
            if let Some(record) = self.ca.records().get_mut(held.identity()) {
                record.hurried = true;
            }
            self.manager.renew(held.identity());
        }
    }

    fn set_clock(&mut self) {
        let far = [10, 600, 100_000];
        let far = self.random.choice(far).expect("three");
        let change = self.random.i64(-far..=far);
        self.clock.set.fetch_add(change, Ordering::Relaxed);
        if change > 0 {
            self.set_forward = Some(Instant::now());
        }
    }

    fn change_trust(&mut self) {
        let serial = self.random.u8(1..=127);
        self.files.crls("crl.pem", &[self.ca.root.crl(&[serial])]);
        self.trust.reload();
    }

    fn check(&mut self) {
        let now = Instant::now();
        let unnoticed = self
            .set_forward
            .is_some_and(|set| now <= set + NOTICED + 2 * SETTLED);
        let generation = self.trust.current().generation();
        assert_eq!(*self.manager.revocation_changes().borrow(), generation);
        for held in &self.held {
            if let Some(credentials) = held.current() {
                let (wall, name) = (at(self.clock.seconds()), held.identity());
                assert!(
                    unnoticed || credentials.not_after() >= wall,
                    "an expired certificate for {name}"
                );
                assert_eq!(credentials.identity(), name);
                assert_eq!(credentials.trust_generation(), generation);
            }
        }
        self.waiters.retain(|waiter| {
            let over = waiter.task.is_finished();
            assert!(over || now <= waiter.until + SETTLED, "a waiter is lost");
            !over
        });
        self.check_held();
    }

    /// What is listed is what is held, and of what is not nothing is kept.
    fn check_held(&mut self) {
        let listed: Vec<_> = self
            .manager
            .list()
            .into_iter()
            .map(|status| status.identity)
            .collect();
        for held in &self.held {
            assert!(listed.contains(held.identity()));
        }
        if self.waiters.is_empty() {
            let mut names: Vec<_> = self.held.iter().map(|held| held.identity().clone()).collect();
            names.sort();
            names.dedup();
            assert_eq!(listed, names);
            self.forgotten.retain(|slot| slot.strong_count() > 0);
            assert!(self.forgotten.is_empty(), "kept though nobody holds it");
        }
    }

    /// The authority recovers: soon everybody has a certificate, and only renewals are asked for.
    async fn end(&mut self) {
        for n in 0..IDENTITIES {
            self.held.push(self.manager.hold(&identity(&format!("a{n}"))));
        }
        *self.ca.calm.lock().expect("not poisoned") = true;
        for record in self.ca.records().values_mut() {
            record.hurried = true;
        }
        // The longest pause after a failure, and its spread; then what the clock was set to is noticed.
        sleep(Duration::from_secs(180) + NOTICED + DEADLINE * IDENTITIES as u32).await;
        self.check();
        for held in &self.held {
            assert!(held.current().is_some(), "no certificate for {}", held.identity());
        }
        let before: u64 = self.ca.records().values().map(|record| record.requests).sum();
        sleep(Duration::from_secs(30 * HOUR)).await;
        self.check();
        let after: u64 = self.ca.records().values().map(|record| record.requests).sum();
        // Lives are of an hour and more, so a renewal comes after 0.45 hours and more.
        let most = IDENTITIES as u64 * 67;
        assert!(after - before <= most, "{} renewals", after - before);
        self.held.clear();
        sleep(SECOND + DEADLINE).await;
        assert!(self.manager.list().is_empty());
        let sum: usize = self.ca.records().values().map(|record| record.running).sum();
        assert_eq!(sum, 0);
    }
}
