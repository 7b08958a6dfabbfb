//! HBONE over real sockets and real TLS: both ends of this room against each other, and each against a peer whose
//! frames are written by hand.

mod answers;
mod conformance;
mod deadlines;
mod ends;
mod flow;
mod pool;
mod refusals;
mod streams;
mod support;
