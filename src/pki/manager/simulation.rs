//! The manager against an authority that errs, hangs, answers late and issues what cannot be used, under clocks that are
//! set, for holders that come and go: at random, in virtual time.

mod authority;

use std::sync::Weak;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use self::authority::{Clock, TestCa};
use super::*;
use crate::fixtures::{Ca, Files, HOUR, at, identity};
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
    // 204 and 213: trust that changed before the manager's first turn was never announced. 1073: a certificate expired
    // while there was no room, the clock was set back, and it was not asked for before its former date.
    adit_simulation::play("certificate manager", 8, &[204, 213, 1073], |random| {
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
            records.entry(name.clone()).or_default().forget();
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
        let listed = self.manager.list().into_iter();
        for gone in listed.filter(|status| status.credentials.is_none()) {
            if let Some(record) = self.ca.records().get_mut(&gone.identity) {
                record.expire();
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
