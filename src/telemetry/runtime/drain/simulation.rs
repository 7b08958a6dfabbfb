//! A drain that is started, hurried and started again at random, while those it waits for come and finish: it ends with
//! the last of them, and every one is told of the earliest deadline and of no earlier one.

use std::time::Duration;

use adit_simulation::Rng;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::{DrainTrigger, DrainWatcher, channel};

const STEPS: usize = 300;
/// What follows from an event has happened after this time.
const SETTLED: Duration = Duration::from_millis(1);

#[test]
fn a_drain_ends_with_the_last_connection_or_at_its_deadline() {
    adit_simulation::play("drain", 30, &[], |random| {
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

/// What has to finish: ends at a time of its own, or when it is told that the deadline has passed.
struct Work {
    /// Comes back with the moment, and whether it was cut.
    task: JoinHandle<(Instant, bool)>,
    until: Instant,
}

struct World {
    random: Rng,
    triggers: Vec<DrainTrigger>,
    /// Somebody who may hand the drain on.
    watcher: Option<DrainWatcher>,
    work: Vec<Work>,
    /// The earliest deadline that was ever asked for, and when it was.
    deadline: Option<Instant>,
    finished: Option<JoinHandle<Instant>>,
}

impl World {
    fn new(random: Rng) -> Self {
        let (trigger, watcher) = channel();
        Self {
            random,
            triggers: vec![trigger],
            watcher: Some(watcher),
            work: Vec::new(),
            deadline: None,
            finished: None,
        }
    }

    async fn step(&mut self) {
        match self.random.u8(..16) {
            0..6 => self.begin(),
            6 => self.triggers.push(self.triggers[0].clone()),
            7 if self.triggers.len() > 1 => drop(self.triggers.pop()),
            8 if self.random.u8(..6) == 0 => self.start(),
            9 if self.deadline.is_some() => self.start(),
            10 if self.finished.is_none() => {
                let trigger = self.triggers[0].clone();
                self.finished = Some(tokio::spawn(async move {
                    trigger.finished().await;
                    Instant::now()
                }));
            }
            _ => sleep(Duration::from_millis(self.random.u64(..3_000))).await,
        }
        sleep(SETTLED).await;
    }

    /// Something begins that has to finish.
    fn begin(&mut self) {
        let of_trigger = || self.triggers[0].watcher();
        let mut watcher = match &self.watcher {
            Some(watcher) if self.random.bool() => watcher.clone(),
            _ => of_trigger(),
        };
        let until = Instant::now() + Duration::from_millis(self.random.u64(..60_000));
        let task = tokio::spawn(async move {
            let cut = timeout_at(until, watcher.expired()).await.is_ok();
            if cut {
                let deadline = watcher.deadline();
                assert!(
                    deadline.is_some_and(|deadline| deadline <= Instant::now()),
                    "{deadline:?}"
                );
            }
            (Instant::now(), cut)
        });
        self.work.push(Work { task, until });
    }

    fn start(&mut self) {
        let trigger = &self.triggers[self.random.usize(..self.triggers.len())];
        let now = Instant::now();
        let deadline = if self.random.u8(..8) == 0 {
            trigger.start_immediately();
            now
        } else {
            let deadline = now + Duration::from_millis(self.random.u64(..90_000));
            trigger.start(deadline);
            deadline
        };
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
    }

    fn check(&mut self) {
        let (now, deadline) = (Instant::now(), self.deadline);
        if let Some(watcher) = &self.watcher {
            assert_eq!(watcher.deadline(), deadline);
            assert_eq!(watcher.is_draining(), deadline.is_some());
        }
        for work in &self.work {
            let ends = deadline.map_or(work.until, |deadline| deadline.min(work.until));
            let over = work.task.is_finished();
            assert!(!over || now >= ends, "cut before the deadline");
            assert!(over || now <= ends + 2 * SETTLED, "not cut at the deadline");
        }
        self.work.retain(|work| !work.task.is_finished());
        if let Some(finished) = &self.finished {
            let nobody = self.work.is_empty() && self.watcher.is_none();
            assert!(nobody || !finished.is_finished(), "somebody is still there");
        }
    }

    async fn end(&mut self) {
        self.watcher = None;
        let trigger = self.triggers[0].clone();
        let last = self.work.iter().map(|work| work.until).max();
        let begun = Instant::now();
        trigger.finished().await;
        let expected = last.unwrap_or(begun).max(begun);
        let expected = self
            .deadline
            .map_or(expected, |deadline| expected.min(deadline.max(begun)));
        assert!(Instant::now() >= expected && Instant::now() <= expected + SETTLED);
        for work in self.work.drain(..) {
            let (at, cut) = work.task.await.expect("no panic");
            assert!(cut || at >= work.until, "lost");
        }
        if let Some(finished) = self.finished.take() {
            assert!(finished.await.expect("no panic") <= Instant::now());
        }
    }
}
