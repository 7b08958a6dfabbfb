use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::fixtures::{Ca, Files, HOUR, Leaf, NOW, at, identity};
use crate::issuer::{Issued, Issuing};
use crate::trust::TrustOptions;

const SECOND: Duration = Duration::from_secs(1);
/// How long the certificates of these tests hold, in seconds.
const LIFE: u64 = 2 * HOUR;

/// Wall time that follows tokio's virtual time.
#[derive(Clone, Debug)]
struct Clock(Instant);

impl Clock {
    fn seconds(&self) -> u64 {
        NOW + self.0.elapsed().as_secs()
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.seconds())))
    }
}

/// How an issuer behaves at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mood {
    Good,
    Failing,
    Silent,
    Panicking,
    Late,
}

struct TestCa {
    ca: Ca,
    clock: Clock,
    mood: AtomicU8,
    running: AtomicUsize,
    most_running: AtomicUsize,
    requests: Mutex<Vec<(Identity, Instant)>>,
}

impl TestCa {
    fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::SeqCst) == mood as u8
    }

    fn requests(&self) -> usize {
        self.requests.lock().expect("not poisoned").len()
    }

    /// The pauses between the requests.
    fn pauses(&self) -> Vec<Duration> {
        let requests = self.requests.lock().expect("not poisoned");
        requests.windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
    }

    fn sign(&self, identity: &Identity) -> Issued {
        let now = self.clock.seconds();
        let leaf = Leaf {
            serial: u8::try_from(self.requests()).expect("few"),
            not_before: now - 120,
            not_after: if self.is(Mood::Late) { now } else { now + LIFE },
            ..Leaf::of(identity)
        };
        self.ca.issue(leaf).issued(vec![])
    }
}

impl Issuer for TestCa {
    fn issue<'a>(&'a self, identity: &'a Identity) -> Issuing<'a> {
        self.requests
            .lock()
            .expect("not poisoned")
            .push((identity.clone(), Instant::now()));
        Box::pin(async move {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(running, Ordering::SeqCst);
            sleep(Duration::from_millis(1)).await;
            if self.is(Mood::Silent) {
                std::future::pending::<()>().await;
            }
            self.running.fetch_sub(1, Ordering::SeqCst);
            assert!(!self.is(Mood::Panicking), "as the test wants it");
            match self.is(Mood::Failing) {
                true => Err(down()),
                false => Ok(self.sign(identity)),
            }
        })
    }
}

fn down() -> IssueError {
    IssueError::Unavailable {
        reason: "down".to_owned(),
    }
}

/// A manager with its CA and its files of trust.
struct Bench {
    ca: Arc<TestCa>,
    files: Files,
    trust: TrustStore,
    manager: CertificateManager,
}

fn bench() -> Bench {
    let clock = Clock(Instant::now());
    let (files, root) = (Files::new(), Ca::root("root"));
    let trust = TrustStore::open(&TrustOptions {
        bundle: vec![files.roots("roots.pem", &[&root])],
        crl: vec![files.crls("crl.pem", &[root.crl(&[])])],
        aliases: vec![],
    })
    .expect("good files");
    let ca = Arc::new(TestCa {
        ca: root,
        clock: clock.clone(),
        mood: AtomicU8::new(Mood::Good as u8),
        running: AtomicUsize::new(0),
        most_running: AtomicUsize::new(0),
        requests: Mutex::default(),
    });
    let options = ManagerOptions {
        tls: TlsOptions {
            time: Arc::new(clock),
            ..TlsOptions::default()
        },
        ..ManagerOptions::default()
    };
    let manager = CertificateManager::new(Arc::clone(&ca) as Arc<dyn Issuer>, &trust, options);
    Bench {
        ca,
        files,
        trust,
        manager,
    }
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_service_account_share_one_certificate() {
    let Bench { ca, manager, .. } = bench();
    let (one, other) = (manager.hold(&identity("a")), manager.hold(&identity("a")));
    assert!(one.current().is_none());
    assert_eq!(manager.list()[0].state(), "Initializing");
    let credentials = one.wait(SECOND).await.expect("issued");
    assert_eq!(*credentials.identity(), identity("a"));
    assert!(Arc::ptr_eq(&credentials, &other.current().expect("the same")));
    assert_eq!(ca.requests(), 1);
    assert_eq!(manager.list()[0].state(), "Available");
    assert_eq!(manager.list()[0].expires(), Some(credentials.not_after()));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_at_half_of_its_life() {
    let Bench { ca, manager, .. } = bench();
    let held = manager.hold(&identity("a"));
    let first = held.wait(SECOND).await.expect("issued");
    let mut changed = held.changed();
    changed.mark_unchanged();
    changed.changed().await.expect("renewed");
    let second = held.current().expect("renewed");
    let pause = ca.pauses()[0].as_secs();
    assert!(
        (LIFE * 45 / 100..=LIFE * 55 / 100 + 2).contains(&pause),
        "{pause}"
    );
    assert!(second.generation() > first.generation());
    assert_ne!(second.serial(), first.serial());
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_ever_more_slowly() {
    let Bench { ca, manager, .. } = bench();
    ca.set(Mood::Failing);
    let held = manager.hold(&identity("a"));
    sleep(1000 * SECOND).await;
    let pauses = ca.pauses();
    for (pause, expected) in pauses
        .iter()
        .zip([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])
    {
        let pause = pause.as_secs_f64();
        // The CA takes a millisecond or two to fail.
        assert!(
            (expected * 0.8..=expected * 1.2 + 0.01).contains(&pause),
            "{pause} for {expected}"
        );
    }
    assert!(pauses.iter().all(|pause| *pause <= 181 * SECOND), "{pauses:?}");
    assert_eq!(manager.list()[0].state(), "Unavailable");
    assert_eq!(manager.list()[0].failure, Some(down()));
    ca.set(Mood::Good);
    assert!(held.wait(SECOND * 2).await.is_ok());
    assert_eq!(manager.list()[0].failure, None);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_waits_speeds_up_the_retry() {
    let Bench { ca, manager, .. } = bench();
    ca.set(Mood::Failing);
    let held = manager.hold(&identity("a"));
    sleep(200 * SECOND).await;
    let before = ca.requests();
    let waiting = Instant::now();
    let refused = held.wait(5 * SECOND).await.map(|_| ());
    assert_eq!(waiting.elapsed(), 5 * SECOND, "bounded");
    let during = ca.requests() - before;
    assert!((5..=6).contains(&during), "about one a second: {during}");
    let missing = NoCertificate {
        identity: identity("a"),
        within: 5 * SECOND,
        cause: Some(down()),
    };
    assert_eq!(refused, Err(missing));
    ca.set(Mood::Good);
    assert!(held.wait(2 * SECOND).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_old_certificate_serves_until_it_expires_and_then_none_does() {
    let Bench { ca, manager, .. } = bench();
    let held = manager.hold(&identity("a"));
    let first = held.wait(SECOND).await.expect("issued");
    ca.set(Mood::Failing);
    sleep(Duration::from_secs(LIFE - 2)).await;
    assert!(ca.requests() > 5, "renewal was tried");
    assert!(Arc::ptr_eq(&first, &held.current().expect("still good")));
    sleep(3 * SECOND).await;
    assert!(held.current().is_none());
    assert_eq!(manager.list()[0].state(), "Unavailable");
    ca.set(Mood::Good);
    assert!(held.wait(2 * SECOND).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_forgotten_when_the_last_pod_goes() {
    let Bench { ca, manager, .. } = bench();
    let (one, other) = (manager.hold(&identity("a")), manager.hold(&identity("a")));
    let first = one.wait(SECOND).await.expect("issued");
    drop(one);
    sleep(SECOND).await;
    assert!(other.current().is_some());
    drop(other.clone());
    drop(other);
    assert!(manager.list().is_empty());
    sleep(10 * Duration::from_secs(LIFE)).await;
    assert_eq!(ca.requests(), 1, "nobody wants it renewed");
    let again = manager.hold(&identity("a")).wait(SECOND).await.expect("issued");
    assert_ne!(again.serial(), first.serial());
}

#[tokio::test(start_paused = true)]
async fn a_rotation_can_be_forced() {
    let Bench { ca, manager, .. } = bench();
    let held = manager.hold(&identity("a"));
    let first = held.wait(SECOND).await.expect("issued");
    let mut changed = held.changed();
    changed.mark_unchanged();
    manager.renew(&identity("a"));
    changed.changed().await.expect("renewed");
    assert_ne!(held.current().expect("renewed").serial(), first.serial());
    assert_eq!(ca.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_does_not_answer_is_given_up() {
    let Bench { ca, manager, .. } = bench();
    ca.set(Mood::Silent);
    let held = manager.hold(&identity("a"));
    sleep(10 * SECOND + Duration::from_millis(10)).await;
    assert_eq!(manager.list()[0].failure, Some(IssueError::TimedOut));
    ca.set(Mood::Good);
    assert!(held.wait(SECOND).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_panics_is_a_failure_like_others() {
    let Bench { ca, manager, .. } = bench();
    ca.set(Mood::Panicking);
    let held = manager.hold(&identity("a"));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(manager.list()[0].state(), "Unavailable");
    ca.set(Mood::Good);
    assert!(held.wait(SECOND * 2).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_over_when_it_comes_is_a_failure() {
    let Bench { ca, manager, .. } = bench();
    ca.set(Mood::Late);
    let held = manager.hold(&identity("a"));
    let missing = held.wait(5 * SECOND).await.map(|_| ()).expect_err("unusable");
    assert_eq!(missing.cause, Some(IssueError::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_node_full_of_pods_does_not_storm_the_ca() {
    let Bench { ca, manager, .. } = bench();
    let held: Vec<_> = (0..40)
        .map(|n| manager.hold(&identity(&format!("a{n}"))))
        .collect();
    for one in &held {
        one.wait(SECOND).await.expect("issued");
    }
    assert_eq!(ca.requests(), 40);
    assert_eq!(ca.most_running.load(Ordering::SeqCst), 8);
    let list = manager.list();
    assert!(list.is_sorted_by(|a, b| a.identity < b.identity));
    assert_eq!(list.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn changed_trust_reaches_every_certificate_before_it_is_announced() {
    let Bench {
        ca,
        files,
        trust,
        manager,
    } = bench();
    let held = manager.hold(&identity("a"));
    let before = held.wait(SECOND).await.expect("issued");
    let chain = before.chain().to_vec();
    assert!(!before.is_revoked(&chain));
    let mut changes = manager.revocation_changes();
    files.crls("crl.pem", &[ca.ca.crl(&[1])]);
    assert!(trust.reload());
    changes.changed().await.expect("the manager lives");
    let after = held.current().expect("still there");
    assert_eq!(*changes.borrow(), 2);
    assert_eq!(after.trust_generation(), 2);
    assert_eq!(after.serial(), before.serial(), "the same certificate");
    assert!(after.generation() > before.generation());
    assert!(after.is_revoked(&chain));
    assert_eq!(ca.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn everything_ends_with_the_last_handle() {
    let Bench {
        ca, manager, trust, ..
    } = bench();
    let held = manager.hold(&identity("a"));
    held.wait(SECOND).await.expect("issued");
    drop(manager);
    advance(Duration::from_secs(LIFE)).await;
    sleep(SECOND).await;
    assert_eq!(ca.requests(), 2, "who holds is served");
    drop((held, trust));
    sleep(SECOND).await;
    assert_eq!(Arc::strong_count(&ca), 1, "the task has ended");
}

#[test]
fn handles_work_on_the_runtime_of_another_thread() {
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let control = control.expect("a runtime");
    let bench = control.block_on(async { bench() });
    let held = bench.manager.hold(&identity("a"));
    let arrived = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let worker = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let credentials = worker.expect("a runtime").block_on(held.wait(20 * SECOND));
            arrived.store(credentials.is_ok(), Ordering::SeqCst);
        });
    });
    assert!(arrived.load(Ordering::SeqCst));
    assert!(held.current().expect("issued").not_after() > at(NOW));
}
