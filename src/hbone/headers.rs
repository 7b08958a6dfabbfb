//! The words that go with a CONNECT: `baggage`, `forwarded`, `traceparent` (the authority is
//! [`adit_mesh::route::Authority`]).
//!
//! The parsers are total (no input panics), bounded (a length beyond which nothing is read) and strict (what two
//! readers could understand differently is an error). They decide
//! nothing: they describe a peer that has already proved its identity, and are used for attribution alone.

pub mod baggage;
pub mod forwarded;
pub mod traceparent;

/// Istio's header with the names of the workload at the sender's end (W3C Baggage).
pub const BAGGAGE: &str = "baggage";
/// The original client and the hostname that it called (RFC 7239).
pub const FORWARDED: &str = "forwarded";
/// The identity of the connection in traces (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// Why a header cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidHeader {
    /// Longer than anything legitimate.
    #[error("{name} is longer than {limit} bytes")]
    TooLong {
        /// Which header.
        name: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Not of the header's grammar.
    #[error("{name} is malformed: {what}")]
    Malformed {
        /// Which header.
        name: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}

fn bounded<'a>(name: &'static str, limit: usize, text: &'a str) -> Result<&'a str, InvalidHeader> {
    if text.len() > limit {
        Err(InvalidHeader::TooLong { name, limit })
    } else {
        Ok(text)
    }
}
