//! Ending in order: one side says "finish until this moment", every other side hears it, and the first learns when
//! all have finished.
//!
//! A drain is nothing but a deadline. "At once" is a deadline that has passed, and a graceful drain becomes an
//! immediate one by moving the deadline forward; it never moves back, so nobody who already gave up is wrong.
//! Built on a watch channel, which works across threads and runtimes: its "all receivers are gone" is exactly "all
//! have finished".

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

/// A new drain: the side that starts it, and the side that obeys. Clone the watcher for everything that has to
/// finish.
pub fn channel() -> (DrainTrigger, DrainWatcher) {
    let (sender, receiver) = watch::channel(None);
    (
        DrainTrigger {
            sender: Arc::new(sender),
        },
        DrainWatcher { receiver },
    )
}

/// Starts a drain and waits for its end. Clones start the same drain.
#[derive(Clone, Debug)]
pub struct DrainTrigger {
    sender: Arc<watch::Sender<Option<Instant>>>,
}

impl DrainTrigger {
    /// Asks everybody to finish by `deadline`. If a drain has begun, the earlier deadline counts.
    pub fn start(&self, deadline: Instant) {
        self.sender.send_if_modified(|current| {
            let sooner = current.is_none_or(|known| deadline < known);
            if sooner {
                *current = Some(deadline);
            }
            sooner
        });
    }

    /// Asks everybody to finish now.
    pub fn start_immediately(&self) {
        self.start(Instant::now());
    }

    /// Completes when every [`DrainWatcher`] is gone. Does not itself start anything or give up at the deadline.
    pub async fn finished(&self) {
        self.sender.closed().await;
    }

    /// One more watcher of this drain.
    pub fn watcher(&self) -> DrainWatcher {
        DrainWatcher {
            receiver: self.sender.subscribe(),
        }
    }
}

/// Hears of the drain; holding it keeps the drain from finishing. If every trigger is dropped without having
/// started, there is nobody left to ask for an end, and the waits below never complete.
#[derive(Clone, Debug)]
pub struct DrainWatcher {
    receiver: watch::Receiver<Option<Instant>>,
}

impl DrainWatcher {
    /// The deadline, once the drain has started.
    pub fn deadline(&self) -> Option<Instant> {
        *self.receiver.borrow()
    }

    /// Whether the drain has started.
    pub fn is_draining(&self) -> bool {
        self.deadline().is_some()
    }

    /// Completes with the deadline when the drain starts, at once if it has.
    pub async fn started(&mut self) -> Instant {
        if let Ok(deadline) = self.receiver.wait_for(Option::is_some).await
            && let Some(deadline) = *deadline
        {
            return deadline;
        }
        std::future::pending().await
    }

    /// Completes when the drain has started and its deadline has passed, however often that moved forward.
    pub async fn expired(&mut self) {
        let mut deadline = self.started().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                changed = self.receiver.changed() => match changed {
                    Ok(()) => deadline = self.deadline().unwrap_or(deadline),
                    Err(_) => return tokio::time::sleep_until(deadline).await,
                },
            }
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_watcher_hears_of_the_drain_and_of_its_deadline() {
        let (trigger, mut watcher) = channel();
        assert!(!watcher.is_draining());
        let deadline = Instant::now() + GRACE;
        trigger.start(deadline);
        assert_eq!(watcher.started().await, deadline);
        watcher.expired().await;
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_moves_forward_and_never_back() {
        let (trigger, mut watcher) = channel();
        let begin = Instant::now();
        trigger.start(begin + GRACE);
        trigger.start(begin + 2 * GRACE);
        assert_eq!(watcher.deadline(), Some(begin + GRACE));
        let waiting = tokio::spawn(async move {
            watcher.expired().await;
            Instant::now()
        });
        tokio::task::yield_now().await;
        trigger.start_immediately();
        assert_eq!(waiting.await.expect("the task ends"), begin);
    }

    #[tokio::test(start_paused = true)]
    async fn is_finished_only_when_every_watcher_is_gone() {
        let (trigger, watcher) = channel();
        let other = watcher.clone();
        trigger.start(Instant::now() + GRACE);
        drop(watcher);
        let early = tokio::time::timeout(GRACE, trigger.finished()).await;
        assert!(early.is_err(), "one watcher is still there");
        drop(other);
        trigger.finished().await;
    }

    #[test]
    fn is_heard_on_another_runtime() {
        let (trigger, mut watcher) = channel();
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(watcher.expired());
        });
        trigger.start_immediately();
        other.join().expect("the other runtime ends");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_drains_because_the_trigger_was_dropped() {
        let (trigger, mut watcher) = channel();
        drop(trigger);
        assert!(tokio::time::timeout(GRACE, watcher.started()).await.is_err());
    }
}
