use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::channel;

use super::*;
use crate::runtime::panics;

fn workers(count: usize) -> Workers {
    Workers::start(NonZeroUsize::new(count).expect("not 0"), "test").expect("threads and runtimes")
}

#[test]
fn runs_what_cannot_leave_its_thread_on_the_named_thread() {
    let workers = workers(2);
    let (sender, seen) = channel();
    for worker in workers.handles() {
        let sender = sender.clone();
        worker
            .spawn(move || async move {
                let local = Rc::new(Cell::new(0));
                let other = Rc::clone(&local);
                tokio::task::spawn_local(async move { other.set(7) })
                    .await
                    .expect("the inner task ends");
                let name = std::thread::current().name().map(str::to_owned);
                sender.send((name, local.get())).expect("the test waits");
            })
            .expect("the worker runs");
    }
    drop(sender);
    let mut seen: Vec<_> = seen.iter().collect();
    seen.sort();
    assert_eq!(seen, [(Some("test-0".into()), 7), (Some("test-1".into()), 7)]);
    workers.join();
}

#[test]
fn a_panic_is_counted_and_the_worker_goes_on() {
    panics::install();
    let workers = workers(1);
    let before = panics::count();
    let worker = workers.least_loaded();
    let fails = worker.call::<_, _, ()>(|| async { panic!("a defect of the test") });
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    assert_eq!(runtime.block_on(fails), Err(WorkerEnded));
    assert!(panics::count() > before);
    assert_eq!(runtime.block_on(worker.call(|| async { 5 })), Ok(5));
    workers.join();
}

#[test]
fn a_panic_while_the_future_is_made_does_not_end_the_worker() {
    panics::install();
    let workers = workers(1);
    let worker = workers.least_loaded();
    let make = || -> std::future::Ready<()> { panic!("a defect of the test") };
    worker.spawn(make).expect("the worker runs");
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    assert_eq!(runtime.block_on(worker.call(|| async { 5 })), Ok(5));
    workers.join();
}

#[test]
fn the_least_loaded_worker_is_the_one_that_carries_least() {
    let workers = workers(3);
    let first = workers.least_loaded().carry();
    let second = workers.least_loaded().carry();
    assert_eq!((first.worker().index(), second.worker().index()), (0, 1));
    assert_eq!(workers.least_loaded().index(), 2);
    drop(first);
    assert_eq!(workers.least_loaded().index(), 0);
    drop(second);
    assert!(workers.handles().iter().all(|worker| worker.active() == 0));
    workers.join();
}

#[test]
fn joining_ends_tasks_that_would_never_end() {
    struct Tell(std::sync::mpsc::Sender<()>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.send(()).expect("the test waits");
        }
    }
    let workers = workers(1);
    let handle = workers.least_loaded().clone();
    let (sender, dropped) = channel();
    let tell = Tell(sender);
    handle
        .spawn(move || async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        })
        .expect("the worker runs");
    workers.join();
    assert_eq!(dropped.recv(), Ok(()));
    assert_eq!(handle.spawn(|| async {}), Err(WorkerEnded));
}
