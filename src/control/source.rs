//! Where objects come from.
//!
//! A source tells what happens to objects, one after the other, and when it has told everything that there was at its
//! start. Nothing is served before that.

pub mod directory;
pub mod follow;
pub mod manifest;

use crate::graph::Event;

/// What a source tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// Something happened to an object.
    Event(Event),
    /// Everything that there was at the start has been told.
    Complete,
}
