//! Which connections are told: decided from the trace id, so that whoever sees the same trace decides the same.
//!
//! The source's tunnel decides, because it makes the trace; the destination's tunnel follows it if the sampler is
//! parent based, as all of them are that one should use, and then a trace is whole or absent. The names, and what they
//! mean, are those of the OpenTelemetry specification (Tracing SDK, "Sampler").

/// Which connections are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampler {
    /// What is decided where nobody has decided before.
    pub root: Root,
    /// Whether a decision that came with the connection is followed.
    pub parent_based: bool,
}

/// The decision about a trace that begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// All of them.
    Always,
    /// None of them.
    Never,
    /// A share of them.
    Ratio(Ratio),
}

/// A share of all trace ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ratio {
    /// Trace ids are taken whose last eight bytes, halved, are below it. Every SDK of OpenTelemetry compares like this.
    bound: u64,
}

impl Ratio {
    /// From 0 to 1; `None` for anything else.
    pub fn new(share: f64) -> Option<Self> {
        const ALL: f64 = (1u64 << 63) as f64;
        // The conversion cuts off what is behind the point and stays in range.
        (0.0..=1.0).contains(&share).then_some(Self {
            bound: (share * ALL) as u64,
        })
    }

    fn takes(self, trace: u128) -> bool {
        ((trace as u64) >> 1) < self.bound
    }
}

impl Sampler {
    /// Whether a trace that begins here is told.
    pub fn begins(&self, trace: u128) -> bool {
        match self.root {
            Root::Always => true,
            Root::Never => false,
            Root::Ratio(ratio) => ratio.takes(trace),
        }
    }

    /// Whether a trace that began elsewhere is told here; `sampled` is what was decided there.
    pub fn continues(&self, trace: u128, sampled: bool) -> bool {
        if self.parent_based {
            sampled
        } else {
            self.begins(trace)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ratio(share: f64) -> Root {
        Root::Ratio(Ratio::new(share).expect("a share"))
    }

    fn of(root: Root) -> Sampler {
        Sampler {
            root,
            parent_based: true,
        }
    }

    #[test]
    fn a_ratio_takes_its_share() {
        let mut trace: u128 = 1;
        let taken = (0..100_000)
            .filter(|_| {
                // An odd multiplier of full period (PCG's); its high half is well mixed.
                trace = trace
                    .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
                    .wrapping_add(1);
                of(ratio(0.25)).begins(trace >> 64)
            })
            .count();
        assert!((24_000..=26_000).contains(&taken), "{taken} of 100000");
    }

    #[test]
    fn decides_like_every_other_sdk() {
        // The bound of one half is 2^62: the last eight bytes, halved, are compared with it.
        assert!(of(ratio(0.5)).begins(0x7fff_ffff_ffff_ffff));
        assert!(!of(ratio(0.5)).begins(0x8000_0000_0000_0000));
        assert!(of(ratio(0.5)).begins(0xffff_ffff_ffff_ffff_7fff_ffff_ffff_ffff));
    }

    #[test]
    fn only_shares_are_ratios() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Ratio::new(wrong), None);
        }
    }

    #[test]
    fn follows_a_decision_only_when_parent_based() {
        let follows = of(Root::Never);
        assert!(follows.continues(1, true) && !of(Root::Always).continues(1, false));
        let own = Sampler {
            parent_based: false,
            ..follows
        };
        assert!(!own.continues(1, true));
    }

    proptest! {
        #[test]
        fn one_takes_everything_and_zero_nothing(trace: u128) {
            prop_assert!(of(ratio(1.0)).begins(trace));
            prop_assert!(!of(ratio(0.0)).begins(trace));
        }

        #[test]
        fn a_larger_share_takes_what_a_smaller_one_does(trace: u128, a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
            let (small, large) = (a.min(b), a.max(b));
            prop_assert!(!of(ratio(small)).begins(trace) || of(ratio(large)).begins(trace));
        }
    }
}
