//! What a long-lived process needs around its work: how many workers ([`workers`]), the threads that are the workers
//! ([`threads`]), ending without cutting anybody off ([`drain`]), the signals that ask for it ([`signals`]), and a
//! count of defects ([`panics`]).

pub mod drain;
pub mod panics;
pub mod signals;
pub mod threads;
pub mod workers;
