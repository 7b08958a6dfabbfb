//! Seeds of simulations. A simulation plays random events against a part of Adit in virtual time and checks after each
//! what must always hold; everything that is random in it comes from one seed, so that a run that failed can be played
//! again: `ADIT_SEED=<seed> cargo test ...` plays that seed and no other.
//!
//! By default a few seeds are always the same, so that a change which breaks something fails for everybody, and one
//! is new each time, so that every run of the tests looks a little further. A seed that found a defect is kept among
//! those that its simulation always plays.

use std::hash::{BuildHasher, RandomState};

pub use fastrand::Rng;

/// Chooses the seed to play.
pub const SEED: &str = "ADIT_SEED";

/// Plays `simulation` with each seed: `count` fixed ones, those that once found a defect, and a new one. The seeds are
/// printed, and that of a run that panics is printed with what to do with it.
///
/// # Panics
/// When a run does, or when [`SEED`] is set to something that is no seed.
pub fn play(name: &str, count: u64, found: &[u64], mut simulation: impl FnMut(Rng)) {
    for seed in seeds(count, found) {
        println!("{name}: seed {seed}");
        let replay = Replay { name, seed };
        simulation(Rng::with_seed(seed));
        drop(replay);
    }
}

fn seeds(count: u64, found: &[u64]) -> Vec<u64> {
    match std::env::var(SEED) {
        Ok(seed) => match seed.parse() {
            Ok(seed) => vec![seed],
            Err(error) => panic!("{SEED}={seed:?}: {error}; give a number as a failed simulation prints it"),
        },
        Err(_) => {
            let new = RandomState::new().hash_one(std::process::id());
            (1..=count).chain(found.iter().copied()).chain([new]).collect()
        }
    }
}

/// Tells the seed when the run with it panics.
struct Replay<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { name, seed } = self;
            eprintln!("{name} failed; play it again with {SEED}={seed}");
        }
    }
}
