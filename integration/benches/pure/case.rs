//! One thing that is measured, and how its instructions are counted.

use std::hint::black_box;

/// What does it once.
pub type Run = Box<dyn FnMut()>;

/// What is measured.
pub struct Case {
    /// Its name in tables.
    pub name: &'static str,
    make: Box<dyn Fn() -> Run>,
}

impl Case {
    /// A case that `make` prepares and whose result, each time it is run, is used by nobody and yet computed.
    pub fn new<T, R: FnMut() -> T + 'static>(name: &'static str, make: impl Fn() -> R + 'static) -> Self {
        let make = move || {
            let mut run = make();
            Box::new(move || {
                black_box(run());
            }) as Run
        };
        Self {
            name,
            make: Box::new(make),
        }
    }

    /// Prepares it.
    pub fn make(&self) -> Run {
        (self.make)()
    }

    /// Runs it once a round, so that what is filled once is, and then for as many rounds inside of [`counted`].
    pub fn count(&self) {
        let mut run = self.make();
        for _ in 0..ROUNDS {
            run();
        }
        counted(&mut run);
    }
}

/// How often a case is run while it is counted: as many times as there are hot destinations, so that each is met once.
pub const ROUNDS: usize = crate::mesh::HOT;

/// The mark that callgrind looks for by name: it counts what happens in here and nothing else.
#[inline(never)]
fn counted(run: &mut Run) {
    for _ in 0..ROUNDS {
        run();
    }
    black_box(());
}
