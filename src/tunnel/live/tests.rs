use futures_util::FutureExt;
use futures_util::future::join;

use super::*;

fn connection() -> Connection {
    let address = "127.0.0.1:1".parse().expect("an address");
    Connection::new(Direction::Outbound, address, address)
}

#[test]
fn everybody_who_waits_for_an_empty_table_is_told() {
    let table: Rc<Table> = Rc::default();
    let (one, other) = (table.enter(connection()), table.enter(connection()));
    let mut waiting = Box::pin(join(table.empty(), table.empty()));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(one);
    assert!(waiting.as_mut().now_or_never().is_none(), "one is left");
    drop(other);
    assert!(waiting.now_or_never().is_some());
}

#[test]
fn a_connection_that_comes_after_all_were_cut_is_cut_as_well() {
    let table: Rc<Table> = Rc::default();
    let early = table.enter(connection());
    assert_eq!(table.cut_all(Outcome::Shutdown, "the end"), 1);
    let late = table.enter(connection());
    let reason = (Outcome::Shutdown, "the end".to_owned());
    assert_eq!(early.cut.wait().now_or_never(), Some(reason.clone()));
    assert_eq!(late.cut.wait().now_or_never(), Some(reason));
}

#[test]
fn only_the_first_reason_of_a_cut_counts() {
    let cut = Cut::default();
    let mut waiting = Box::pin(cut.wait());
    assert!(waiting.as_mut().now_or_never().is_none());
    cut.now(Outcome::PolicyChanged, "a policy");
    cut.now(Outcome::Shutdown, "the end");
    assert_eq!(
        waiting.now_or_never(),
        Some((Outcome::PolicyChanged, "a policy".to_owned()))
    );
}
