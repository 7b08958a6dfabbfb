//! By how much something grows: least squares, with the interval that the truth is in with 95 % confidence.
//!
//! Samples of memory that follow each other are not independent, and would make any slope look certain. So the line is
//! drawn through the means of a few blocks, each long enough to know little of the one before it.

use std::time::Duration;

const BLOCKS: usize = 20;
/// Student's t for 95 %, both sides, and `BLOCKS - 2` degrees of freedom.
const STUDENT: f64 = 2.101;

/// A rate of growth, in units of the samples an hour.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Slope {
    /// The best guess.
    pub per_hour: f64,
    /// Half of the width of the interval around it.
    pub spread: f64,
}

impl Slope {
    /// The least that the truth is likely to be.
    pub fn at_least(&self) -> f64 {
        self.per_hour - self.spread
    }
}

/// The slope of samples in the order of their time; `None` of fewer than two for each block.
pub fn slope(samples: &[(Duration, f64)]) -> Option<Slope> {
    let length = samples.len() / BLOCKS;
    if length < 2 {
        return None;
    }
    let means: Vec<_> = samples.chunks_exact(length).take(BLOCKS).map(mean).collect();
    let count = means.len() as f64;
    let (x, y) = mean_of(&means);
    let covariance: f64 = means.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = means.iter().map(|point| (point.0 - x).powi(2)).sum();
    if variance == 0.0 {
        return None;
    }
    let per_hour = covariance / variance;
    let off = |point: &(f64, f64)| point.1 - y - per_hour * (point.0 - x);
    let residual: f64 = means.iter().map(|point| off(point).powi(2)).sum();
    let spread = STUDENT * (residual / (count - 2.0) / variance).sqrt();
    Some(Slope { per_hour, spread })
}

fn mean(block: &[(Duration, f64)]) -> (f64, f64) {
    let points: Vec<_> = block
        .iter()
        .map(|(at, value)| (at.as_secs_f64() / 3600.0, *value))
        .collect();
    mean_of(&points)
}

fn mean_of(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let sum = points
        .iter()
        .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / count, sum.1 / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(value: impl Fn(f64) -> f64) -> Vec<(Duration, f64)> {
        (0..1200)
            .map(|second| (Duration::from_secs(second), value(second as f64 / 3600.0)))
            .collect()
    }

    #[test]
    fn a_line_is_found_exactly() {
        let found = slope(&samples(|hours| 20.0 + 7.0 * hours)).expect("enough samples");
        assert!((found.per_hour - 7.0).abs() < 1e-6, "{found:?}");
        assert!(found.spread < 1e-6, "{found:?}");
    }

    #[test]
    fn noise_without_growth_is_told_from_growth() {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<f64> = (0..1200).map(|_| random.f64() * 4.0).collect();
        let noisy = |growth: f64| {
            let samples: Vec<_> = samples(|hours| growth * hours)
                .into_iter()
                .zip(&noise)
                .map(|((at, value), noise)| (at, value + noise))
                .collect();
            slope(&samples).expect("enough samples")
        };
        let flat = noisy(0.0);
        assert!(
            flat.at_least() < 0.0 && flat.per_hour + flat.spread > 0.0,
            "{flat:?}"
        );
        let leak = noisy(12.0);
        assert!(leak.at_least() > 6.0, "{leak:?}");
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(slope(&samples(|_| 1.0)[..BLOCKS]), None);
    }
}
