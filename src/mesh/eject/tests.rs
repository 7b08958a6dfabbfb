use std::time::Duration;

use super::{Ejector, Settings};
use crate::fixtures::key;
use crate::text::Text;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Fails as often as it takes to eject a well endpoint; tells whether the last failure did.
fn fail(ejector: &mut Ejector, now: Duration, uid: &str, members: usize) -> bool {
    let uid = Text::from(uid);
    let mut last = false;
    for _ in 0..Settings::default().failures {
        last = ejector.failed(now, &uid, &key("bank/ledger"), members);
    }
    last
}

#[test]
fn ejects_after_failures_in_a_row_and_not_before() {
    let mut ejector = Ejector::new(Settings::default());
    let (uid, service) = (Text::from("a"), key("bank/ledger"));
    assert!(!ejector.failed(at(0), &uid, &service, 2));
    assert!(!ejector.failed(at(1), &uid, &service, 2));
    ejector.succeeded(at(1), "a");
    assert!(!ejector.failed(at(2), &uid, &service, 2));
    assert!(!ejector.failed(at(2), &uid, &service, 2));
    assert!(!ejector.is_ejected(at(2), "a"));
    assert!(ejector.failed(at(2), &uid, &service, 2));
    assert!(ejector.is_ejected(at(2), "a"));
    assert!(ejector.is_ejected(at(6), "a"));
    assert!(!ejector.is_ejected(at(7), "a"));
}

#[test]
fn one_failure_on_probation_ejects_for_twice_as_long() {
    let mut ejector = Ejector::new(Settings::default());
    assert!(fail(&mut ejector, at(0), "a", 2));
    assert!(ejector.failed(at(5), &"a".into(), &key("bank/ledger"), 2));
    assert!(ejector.is_ejected(at(14), "a"));
    assert!(!ejector.is_ejected(at(15), "a"));
}

#[test]
fn no_ejection_lasts_longer_than_the_longest() {
    let mut ejector = Ejector::new(Settings::default());
    let (uid, service) = (Text::from("a"), key("bank/ledger"));
    let mut now = at(0);
    fail(&mut ejector, now, "a", 2);
    for _ in 0..100 {
        while ejector.is_ejected(now, "a") {
            now += at(1);
        }
        ejector.failed(now, &uid, &service, 2);
    }
    assert!(ejector.is_ejected(now + at(299), "a"));
    assert!(!ejector.is_ejected(now + at(300), "a"));
}

#[test]
fn one_that_flaps_is_not_like_new_after_a_success() {
    let mut ejector = Ejector::new(Settings::default());
    fail(&mut ejector, at(0), "a", 2);
    ejector.succeeded(at(5), "a");
    assert!(fail(&mut ejector, at(6), "a", 2), "three failures again");
    assert!(ejector.is_ejected(at(15), "a"), "ten seconds, not five");
}

#[test]
fn one_that_was_well_for_long_is_like_new() {
    let mut ejector = Ejector::new(Settings::default());
    fail(&mut ejector, at(0), "a", 2);
    ejector.succeeded(at(5), "a");
    fail(&mut ejector, at(305), "a", 2);
    assert!(ejector.is_ejected(at(309), "a"));
    assert!(!ejector.is_ejected(at(310), "a"));
}

#[test]
fn a_success_ends_an_ejection() {
    let mut ejector = Ejector::new(Settings::default());
    fail(&mut ejector, at(0), "a", 2);
    ejector.succeeded(at(1), "a");
    assert!(!ejector.is_ejected(at(1), "a"));
}

#[test]
fn never_ejects_more_than_its_share() {
    for (members, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (10, 5)] {
        let mut ejector = Ejector::new(Settings::default());
        for n in 0..members {
            fail(&mut ejector, at(0), &format!("endpoint-{n}"), members);
        }
        assert_eq!(ejector.ejected(at(0)), most, "{members} endpoints");
    }
}

#[test]
fn the_share_is_counted_per_service() {
    let mut ejector = Ejector::new(Settings::default());
    assert!(fail(&mut ejector, at(0), "a", 2));
    let (uid, other) = (Text::from("b"), key("bank/web"));
    for _ in 0..3 {
        ejector.failed(at(0), &uid, &other, 2);
    }
    assert_eq!(ejector.ejected(at(0)), 2);
}

#[test]
fn one_that_had_no_room_is_ejected_when_there_is() {
    let mut ejector = Ejector::new(Settings::default());
    assert!(fail(&mut ejector, at(0), "a", 2));
    assert!(!fail(&mut ejector, at(0), "b", 2));
    ejector.retain(|uid| uid != "a");
    assert!(ejector.failed(at(1), &"b".into(), &key("bank/ledger"), 2));
}

#[test]
fn forgets_old_troubles() {
    let mut ejector = Ejector::new(Settings::default());
    for n in 0..10_000_u64 {
        fail(&mut ejector, at(n * 10), &format!("endpoint-{n}"), 100_000);
    }
    // Each is remembered for five minutes after its five seconds, and one comes every ten seconds.
    assert!(
        ejector.troubled.len() < 2 * Ejector::SMALLEST_SWEEP,
        "{}",
        ejector.troubled.len()
    );
}
