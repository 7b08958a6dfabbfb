//! Adit on one machine and on the command line: the top floor of the house.
//!
//! [`lab`] makes a whole mesh out of network namespaces, for the tour that a newcomer takes and for the integration
//! tests, which are built of the same pieces. [`cli`] is the command `adit`.

pub mod cli;
pub mod lab;
