//! When what has changed is published: after a quiet moment, so that a rollout's hundred events become few responses, and
//! after a bounded one, so that a cluster that is never quiet is served as well.
//!
//! What makes the mesh stricter must not wait behind churn that has nothing to do with it: a changed policy or something
//! that is gone is published after a second at the latest, with everything else that is there.

use std::time::{Duration, Instant};

/// How long changes wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Debounce {
    /// This long after the last change. 100 ms, as in Istio: what belongs together comes within some milliseconds.
    pub quiet: Duration,
    /// No change waits longer. 10 s, as in Istio.
    pub longest: Duration,
    /// No urgent change waits longer. One second: as long as people take an effect for immediate.
    pub urgent: Duration,
}

impl Default for Debounce {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            urgent: Duration::from_secs(1),
        }
    }
}

/// Changes that wait to be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    since: Instant,
    last: Instant,
    urgent: Option<Instant>,
}

impl Waiting {
    /// The first change.
    pub fn new(now: Instant, urgent: bool) -> Self {
        Self {
            since: now,
            last: now,
            urgent: urgent.then_some(now),
        }
    }

    /// One more.
    pub fn note(&mut self, now: Instant, urgent: bool) {
        self.last = now;
        if urgent {
            self.urgent.get_or_insert(now);
        }
    }

    /// When the first of them was seen.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// When they are published if no more comes.
    pub fn due(&self, debounce: &Debounce) -> Instant {
        let due = (self.last + debounce.quiet).min(self.since + debounce.longest);
        self.urgent
            .map_or(due, |urgent| due.min(urgent + debounce.urgent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Changes every 50 ms from the start on; when the waiting ends.
    fn churn(urgent_at: Option<u32>) -> Duration {
        let (debounce, start) = (Debounce::default(), Instant::now());
        let mut waiting = Waiting::new(start, urgent_at == Some(0));
        for step in 1_u32.. {
            let now = start + 50 * MS * step;
            if now >= waiting.due(&debounce) {
                break;
            }
            waiting.note(now, urgent_at == Some(step));
        }
        waiting.due(&debounce) - start
    }

    #[test]
    fn one_change_waits_for_a_quiet_moment() {
        let start = Instant::now();
        let waiting = Waiting::new(start, false);
        assert_eq!(waiting.due(&Debounce::default()) - start, 100 * MS);
        assert_eq!(waiting.since(), start);
    }

    #[test]
    fn churn_delays_for_ten_seconds_at_most() {
        assert_eq!(churn(None), Duration::from_secs(10));
    }

    #[test]
    fn churn_delays_what_is_urgent_for_a_second_at_most() {
        assert_eq!(churn(Some(0)), Duration::from_secs(1));
        assert_eq!(churn(Some(40)), Duration::from_secs(3));
    }
}
