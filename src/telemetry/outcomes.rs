//! The names of outcomes as labels and fields need them: without an allocation each time.

use std::sync::LazyLock;

use adit_mesh::Outcome;

/// [`Outcome::name`], made once.
pub(crate) fn name(outcome: Outcome) -> &'static str {
    static NAMES: LazyLock<[String; Outcome::ALL.len()]> = LazyLock::new(|| Outcome::ALL.map(Outcome::name));
    &NAMES[outcome as usize]
}
