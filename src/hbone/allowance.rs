//! How much of something is still allowed after what was had of it lately: a bucket of tokens. A burst is taken as it
//! comes, and what goes on for longer is held to a rate.

use std::time::Duration;

use tokio::time::Instant;

/// Tokens, which come back evenly over a period.
#[derive(Clone, Debug)]
pub struct Allowance {
    most: u32,
    period: Duration,
    left: u32,
    /// When those that have come back were last counted.
    counted: Instant,
}

impl Allowance {
    /// `most` at once, and as many in every period: never more than twice as many in one.
    pub fn new(most: u32, period: Duration) -> Self {
        Self {
            most,
            period,
            left: most,
            counted: Instant::now(),
        }
    }

    /// Takes one; `false` if there is none. The clock is only looked at when they have run out.
    pub fn take(&mut self) -> bool {
        if self.left == 0 {
            self.refill(Instant::now());
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Gives one back.
    pub fn restore(&mut self) {
        self.left = self.most.min(self.left + 1);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.duration_since(self.counted).min(self.period);
        let share = passed.as_secs_f64() / self.period.as_secs_f64();
        // Rounded down: at most `most`, which is a `u32`.
        let back = (f64::from(self.most) * share) as u32;
        if back > 0 {
            self.left = back;
            self.counted = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn taken(allowance: &mut Allowance) -> u32 {
        std::iter::from_fn(|| allowance.take().then_some(())).count() as u32
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_taken_and_comes_back_with_time() {
        let mut allowance = Allowance::new(100, PERIOD);
        assert_eq!(taken(&mut allowance), 100);
        tokio::time::advance(PERIOD / 10).await;
        assert_eq!(taken(&mut allowance), 10);
        tokio::time::advance(PERIOD * 5).await;
        assert_eq!(taken(&mut allowance), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_the_allowed_one_is_never_held_up() {
        let mut allowance = Allowance::new(100, PERIOD);
        for _ in 0..1000 {
            tokio::time::advance(PERIOD / 100).await;
            assert!(allowance.take());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_taken_again() {
        let mut allowance = Allowance::new(1, PERIOD);
        for _ in 0..10 {
            assert!(allowance.take());
            allowance.restore();
        }
    }
}
