use super::*;
use crate::fixtures::identity;

const DAY: Duration = Duration::from_secs(86_400);
/// In the middle of every spread.
const MIDDLE: f64 = 0.5;
/// An attempt that was never forgotten.
const NO_ORPHAN: Attempt = Attempt(0);

/// Both clocks, moved by hand.
struct Clock {
    now: Now,
}

impl Clock {
    fn new() -> Self {
        Self {
            now: Now {
                steady: Instant::now(),
                wall: SystemTime::UNIX_EPOCH + 20_000 * DAY,
            },
        }
    }

    fn pass(&mut self, time: Duration) -> Now {
        self.now.steady += time;
        self.now.wall += time;
        self.now
    }
}

fn names(started: &[(Identity, Attempt)]) -> Vec<String> {
    let mut names: Vec<_> = started
        .iter()
        .map(|(who, _)| who.service_account().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_identity_is_asked_for_at_once_and_only_once() {
    let (mut schedule, clock) = (Schedule::new(8), Clock::new());
    schedule.add(&identity("a"));
    assert_eq!(schedule.sleep(clock.now), Duration::ZERO);
    let started = schedule.start(clock.now);
    assert_eq!(names(&started), ["a"]);
    assert!(schedule.is_current(&identity("a"), started[0].1));
    assert_eq!(schedule.start(clock.now), []);
    assert_eq!(schedule.sleep(clock.now), LONGEST_SLEEP);
}

#[test]
fn no_more_run_than_there_is_room_and_those_waited_for_go_first() {
    let (mut schedule, mut clock) = (Schedule::new(2), Clock::new());
    for name in ["a", "b", "c"] {
        schedule.add(&identity(name));
    }
    assert_eq!(schedule.start(clock.now).len(), 2);
    assert_eq!(
        schedule.sleep(clock.now),
        LONGEST_SLEEP,
        "no room: nothing to wake for"
    );
    for name in ["a", "b", "c"] {
        schedule.ended(&identity("a"), NO_ORPHAN);
        schedule.succeeded(&identity(name), clock.now, clock.now.wall + DAY, MIDDLE);
    }
    schedule.add(&identity("new"));
    schedule.wait(&identity("c"));
    let now = clock.pass(DAY / 2 + Duration::from_secs(1));
    assert_eq!(names(&schedule.start(now)), ["c", "new"]);
    schedule.ended(&identity("a"), NO_ORPHAN);
    assert_eq!(schedule.start(now).len(), 1);
}

#[test]
fn renewal_is_at_half_of_the_life_that_is_left_with_some_spread() {
    for (spread, share) in [(0.0, 0.45), (MIDDLE, 0.5), (1.0, 0.55)] {
        let (mut schedule, mut clock) = (Schedule::new(8), Clock::new());
        schedule.add(&identity("a"));
        schedule.start(clock.now);
        schedule.ended(&identity("a"), NO_ORPHAN);
        schedule.succeeded(&identity("a"), clock.now, clock.now.wall + DAY, spread);
        let now = clock.pass(DAY.mul_f64(share) - Duration::from_secs(1));
        assert_eq!(schedule.start(now), [], "{spread}");
        assert!(schedule.sleep(now) <= Duration::from_secs(1) + Duration::from_millis(1));
        let now = clock.pass(Duration::from_secs(2));
        assert_eq!(names(&schedule.start(now)), ["a"], "{spread}");
    }
}

#[test]
fn a_certificate_that_hardly_holds_does_not_make_a_storm() {
    let (mut schedule, mut clock) = (Schedule::new(8), Clock::new());
    schedule.add(&identity("a"));
    schedule.start(clock.now);
    schedule.ended(&identity("a"), NO_ORPHAN);
    let expires = clock.now.wall + Duration::from_millis(1);
    schedule.succeeded(&identity("a"), clock.now, expires, MIDDLE);
    assert_eq!(schedule.start(clock.now), []);
    let now = clock.pass(LEAST_RENEWAL);
    assert_eq!(schedule.start(now).len(), 1);
}

#[test]
fn pauses_double_from_half_a_second_to_a_limit() {
    for (spread, factor) in [(0.0, 0.8), (MIDDLE, 1.0), (1.0, 1.2)] {
        let (mut schedule, mut clock) = (Schedule::new(8), Clock::new());
        schedule.add(&identity("a"));
        let expected = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 150.0, 150.0];
        for pause in expected {
            assert_eq!(schedule.start(clock.now).len(), 1, "before {pause} s");
            schedule.ended(&identity("a"), NO_ORPHAN);
            schedule.failed(&identity("a"), clock.now, spread);
            let pause = Duration::from_secs_f64(pause * factor);
            let early = clock.pass(pause - Duration::from_millis(1));
            assert_eq!(schedule.start(early), [], "{pause:?}");
            clock.pass(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_waiter_brings_a_retry_forward_but_not_more_than_once_a_second() {
    let (mut schedule, mut clock) = (Schedule::new(8), Clock::new());
    let a = identity("a");
    schedule.add(&a);
    for _ in 0..10 {
        schedule.failed(&a, clock.now, MIDDLE);
    }
    clock.pass(Duration::from_millis(300));
    for _ in 0..1000 {
        schedule.wait(&a);
    }
    assert_eq!(schedule.start(clock.now), [], "too soon after the failure");
    let now = clock.pass(Duration::from_millis(700));
    assert_eq!(schedule.start(now).len(), 1);
    schedule.ended(&identity("a"), NO_ORPHAN);
    schedule.failed(&a, now, MIDDLE);
    let now = clock.pass(Duration::from_secs(1));
    assert_eq!(schedule.start(now).len(), 1, "they still wait");
    schedule.ended(&identity("a"), NO_ORPHAN);
    for _ in 0..1000 {
        schedule.stop_waiting(&a);
    }
    schedule.failed(&a, now, MIDDLE);
    let now = clock.pass(Duration::from_secs(149));
    assert_eq!(schedule.start(now), [], "nobody waits any more");
}

#[test]
fn before_a_certificate_expires_the_pauses_do_not_reach_over_its_end() {
    let (mut schedule, mut clock) = (Schedule::new(8), Clock::new());
    let a = identity("a");
    schedule.add(&a);
    schedule.succeeded(&a, clock.now, clock.now.wall + Duration::from_secs(400), MIDDLE);
    let mut attempts = 0;
    clock.pass(Duration::from_secs(200));
    while schedule.expired(clock.now).is_empty() {
        attempts += schedule.start(clock.now).len();
        schedule.ended(&identity("a"), NO_ORPHAN);
        schedule.failed(&a, clock.now, MIDDLE);
        let sleep = schedule.sleep(clock.now);
        clock.pass(sleep.max(Duration::from_millis(1)));
    }
    // Ten by doubling to 100 s, then by halving to the last half second.
    assert!((10..=25).contains(&attempts), "{attempts}");
    schedule.failed(&a, clock.now, MIDDLE);
    assert_eq!(
        schedule.sleep(clock.now),
        LONGEST_SLEEP,
        "nothing is left to save"
    );
}

#[test]
fn expiry_is_told_once() {
    let (mut schedule, mut clock) = (Schedule::new(8), Clock::new());
    schedule.add(&identity("a"));
    schedule.succeeded(&identity("a"), clock.now, clock.now.wall + DAY, MIDDLE);
    let now = clock.pass(DAY - Duration::from_secs(1));
    assert_eq!(schedule.expired(now), []);
    assert!(!schedule.start(now).is_empty(), "renewal was due long ago");
    assert_eq!(schedule.sleep(now), Duration::from_secs(1), "the expiry wakes");
    let now = clock.pass(Duration::from_secs(1));
    assert_eq!(schedule.expired(now), [identity("a")]);
    assert_eq!(schedule.expired(now), []);
}

#[test]
fn a_wall_clock_that_is_set_moves_dates_but_not_retries() {
    let (mut schedule, mut clock) = (Schedule::new(8), Clock::new());
    schedule.add(&identity("renews"));
    schedule.add(&identity("retries"));
    schedule.start(clock.now);
    schedule.succeeded(&identity("renews"), clock.now, clock.now.wall + DAY, MIDDLE);
    schedule.failed(&identity("retries"), clock.now, MIDDLE);
    clock.now.wall += DAY;
    assert_eq!(schedule.expired(clock.now), [identity("renews")]);
    assert_eq!(names(&schedule.start(clock.now)), ["renews"]);
}

#[test]
fn a_forgotten_attempt_serves_whoever_comes_back_before_it_ends() {
    let (mut schedule, clock) = (Schedule::new(8), Clock::new());
    let a = identity("a");
    schedule.add(&a);
    let first = schedule.start(clock.now)[0].1;
    schedule.remove(&a);
    assert!(!schedule.is_current(&a, first));
    schedule.add(&a);
    assert_eq!(schedule.start(clock.now), [], "one is running");
    assert!(schedule.is_current(&a, first));
    schedule.remove(&a);
    schedule.ended(&a, first);
    schedule.add(&a);
    let second = schedule.start(clock.now)[0].1;
    assert!(!schedule.is_current(&a, first));
    assert!(schedule.is_current(&a, second));
}

#[test]
fn among_equals_the_one_that_has_waited_longest_is_next() {
    let (mut schedule, mut clock) = (Schedule::new(1), Clock::new());
    for name in ["c", "a", "b"] {
        schedule.add(&identity(name));
    }
    for name in ["c", "a", "b", "c", "a", "b"] {
        let now = clock.pass(10 * DAY);
        let started = schedule.start(now);
        assert_eq!(names(&started), [name]);
        schedule.ended(&started[0].0, started[0].1);
        schedule.failed(&started[0].0, now, MIDDLE);
    }
}

#[test]
fn a_forced_renewal_does_not_wait() {
    let (mut schedule, clock) = (Schedule::new(8), Clock::new());
    let a = identity("a");
    schedule.renew(&a);
    assert_eq!(schedule.start(clock.now), [], "nobody holds it");
    schedule.add(&a);
    schedule.start(clock.now);
    schedule.ended(&identity("a"), NO_ORPHAN);
    schedule.succeeded(&a, clock.now, clock.now.wall + DAY, MIDDLE);
    schedule.renew(&a);
    assert_eq!(names(&schedule.start(clock.now)), ["a"]);
    schedule.renew(&a);
    assert_eq!(schedule.start(clock.now), [], "one is running");
}

#[test]
fn what_has_expired_is_asked_for_also_when_the_clock_is_set_back() {
    let (mut schedule, mut clock) = (Schedule::new(1), Clock::new());
    let (a, b) = (identity("a"), identity("b"));
    schedule.add(&a);
    schedule.start(clock.now);
    schedule.ended(&a, NO_ORPHAN);
    schedule.succeeded(&a, clock.now, clock.now.wall + DAY, MIDDLE);
    schedule.add(&b);
    assert_eq!(
        names(&schedule.start(clock.now)),
        ["b"],
        "the only place is taken"
    );
    clock.now.wall += 2 * DAY;
    assert_eq!(schedule.expired(clock.now), [identity("a")]);
    clock.now.wall -= 2 * DAY;
    schedule.ended(&b, NO_ORPHAN);
    assert_eq!(names(&schedule.start(clock.now)), ["a"]);
}
