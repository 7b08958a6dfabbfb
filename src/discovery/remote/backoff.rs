//! How long to wait before the control plane is called again.
//!
//! A control plane that comes back after a failure has every node of the cluster calling at once: the waits grow, and are
//! spread over their whole length ("full jitter", M. Brooker, AWS Architecture Blog, 2015).

use std::time::Duration;

/// The first wait is at most so long: a lost connection is usually one replica that ended.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait is at most so long.
const LONGEST: Duration = Duration::from_secs(15);

/// The waits since the control plane was last heard.
#[derive(Debug)]
pub(super) struct Backoff {
    most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { most: FIRST }
    }
}

impl Backoff {
    /// The control plane was heard.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.most.mul_f64(fastrand::f64());
        self.most = (2 * self.most).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_over() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= FIRST);
        for _ in 0..20 {
            assert!(backoff.next() <= LONGEST);
        }
        assert_eq!(backoff.most, LONGEST);
        backoff.reset();
        assert_eq!(backoff.most, FIRST);
    }
}
