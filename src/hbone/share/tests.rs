use std::cell::Cell;
use std::rc::Rc;

use super::*;

#[test]
fn one_pod_gets_half_and_the_next_half_of_what_is_left() {
    let whole = Whole::new(100);
    let shares: Vec<_> = (0..3).map(|_| Share::new(&whole, 1000)).collect();
    let mut taken = Vec::new();
    let fill = |share: &Arc<Share>, taken: &mut Vec<Taken>| {
        let before = share.used();
        while let Ok(one) = share.take_one() {
            taken.push(one);
        }
        share.used() - before
    };
    assert_eq!(fill(&shares[0], &mut taken), 50);
    assert_eq!(fill(&shares[1], &mut taken), 25);
    assert_eq!(fill(&shares[2], &mut taken), 13);
    assert_eq!(shares[2].take_one().err(), Some(Spent::Node(100)));
    drop(taken);
    assert_eq!(whole.used(), 0);
    assert!(shares.iter().all(|share| share.used() == 0));
}

#[test]
fn the_pods_own_limit_holds_where_there_is_more() {
    let whole = Whole::new(100);
    let share = Share::new(&whole, 2);
    let _taken = [share.take_one().expect("room"), share.take_one().expect("room")];
    assert_eq!(share.take_one().err(), Some(Spent::Pod(2)));
    assert_eq!((share.used(), whole.used()), (2, 2));
}

#[test]
fn many_threads_never_take_more_than_there_is() {
    let whole = Whole::new(1000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let share = Share::new(&whole, 1000);
                for _ in 0..10_000 {
                    let _one = share.take_one();
                    // Each holds one at a time; what is counted while it is looked at may be more for a moment.
                    assert!(whole.used() <= 8);
                }
            });
        }
    });
    assert_eq!(whole.used(), 0);
}

fn ledger(limit: u64) -> (Arc<Share>, Rc<Ledger>, Rc<Cell<u32>>) {
    let share = Share::new(&Whole::new(1000 * LEASE), limit);
    let told = Rc::new(Cell::new(0));
    let count = told.clone();
    let ledger = Ledger::new(share.clone(), move |_| count.set(count.get() + 1));
    (share, ledger, told)
}

#[test]
fn bytes_are_leased_in_steps_and_given_back() {
    let (share, ledger, _) = ledger(4 * LEASE);
    assert_eq!(ledger.add(1), Ok(()));
    assert_eq!(share.used(), LEASE);
    assert_eq!(ledger.add(3 * LEASE), Ok(()));
    assert!(!ledger.has_room(LEASE));
    assert_eq!(ledger.add(LEASE), Err(Spent::Pod(4 * LEASE)));
    ledger.subtract(4 * LEASE);
    assert!(share.used() <= 2 * LEASE, "{}", share.used());
    drop(ledger);
    assert_eq!(share.used(), 0);
}

#[test]
fn what_waits_to_be_sent_leaves_half_to_what_arrives() {
    let (_, ledger, told) = ledger(4 * LEASE);
    assert!(ledger.has_room(2 * LEASE));
    ledger.queue(2 * LEASE);
    assert!(!ledger.has_room(1));
    assert_eq!(ledger.add(2 * LEASE), Ok(()));
    ledger.unqueue(LEASE);
    assert!(ledger.has_room(LEASE));
    assert_eq!(told.get(), 0);
}

#[test]
fn the_stalled_stream_that_holds_most_is_given_up_and_only_once() {
    let (_, ledger, told) = ledger(4 * LEASE);
    let (small, large) = (ledger.stall(1), ledger.stall(1));
    small.holds(LEASE);
    large.holds(3 * LEASE);
    ledger.add(4 * LEASE).expect("room");
    let spent = ledger.add(1).expect_err("too much");
    ledger.shed(spent);
    assert_eq!((small.condemned(), large.condemned()), (None, Some(spent)));
    // What it holds is as good as gone.
    assert_eq!(ledger.add(1), Ok(()));
    ledger.subtract(3 * LEASE);
    ledger.resume(&large);
    assert_eq!(ledger.add(LEASE), Ok(()));
    assert_eq!(told.get(), 1);
}

#[test]
fn what_stalled_streams_hold_of_one_connection_is_bounded_for_itself() {
    let (_, ledger, told) = ledger(100 * LEASE);
    let streams: Vec<_> = [1, 1, 2].map(|connection| ledger.stall(connection)).into();
    for (stall, bytes) in streams.iter().zip([5, 6, 9]) {
        stall.holds(bytes);
    }
    let condemned = || streams.iter().map(|stall| stall.condemned()).collect::<Vec<_>>();
    ledger.shed_connection(1, 11);
    assert_eq!(condemned(), [None, None, None]);
    ledger.shed_connection(1, 10);
    ledger.shed_connection(1, 10);
    assert_eq!(condemned(), [None, Some(Spent::Connection(10)), None]);
    assert_eq!(told.get(), 1);
}

#[test]
fn without_a_stalled_stream_nobody_is_given_up() {
    let (_, ledger, told) = ledger(LEASE);
    let spent = ledger.add(2 * LEASE).expect_err("too much");
    ledger.shed(spent);
    assert_eq!(told.get(), 0);
}
