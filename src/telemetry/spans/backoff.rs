//! How long a collector that failed is left alone.

use std::time::Duration;

use tokio::time::Instant;

/// After the first failure: a collector that was restarted is back in about that time.
const FIRST: Duration = Duration::from_secs(1);
/// Long enough that it costs nothing, short enough that a batch, which is tried for 30 s, is tried several times.
const LONGEST: Duration = Duration::from_secs(8);

/// The time before which no further attempt is made. It doubles with every failure.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Backoff {
    delay: Option<Duration>,
    until: Option<Instant>,
}

impl Backoff {
    /// When the next attempt may begin; `None` is at once.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.delay.is_some()
    }

    pub(super) fn failed(&mut self, now: Instant) {
        let delay = self.delay.map_or(FIRST, |delay| (delay * 2).min(LONGEST));
        *self = Self {
            delay: Some(delay),
            until: Some(now + delay),
        };
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn grows_to_its_limit_and_starts_again_after_a_success() {
        let mut backoff = Backoff::default();
        assert!(!backoff.is_failing() && backoff.until().is_none());
        let now = Instant::now();
        let delays: Vec<_> = (0..5)
            .map(|_| {
                backoff.failed(now);
                backoff.until().expect("failed") - now
            })
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 8].map(Duration::from_secs));
        backoff.succeeded();
        assert!(!backoff.is_failing() && backoff.until().is_none());
    }
}
