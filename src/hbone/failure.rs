//! Why a tunnel could not be had: an [`Outcome`] of the closed list, and the words that say what happened.

use std::fmt;
use std::io;
use std::sync::Arc;

use adit_mesh::Outcome;

/// A failure that several waiters may share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What it counts as.
    pub outcome: Outcome,
    /// What happened, for logs.
    pub detail: Arc<str>,
}

impl Failure {
    /// A failure with its words.
    pub fn new(outcome: Outcome, detail: impl fmt::Display) -> Self {
        Self {
            outcome,
            detail: detail.to_string().into(),
        }
    }

    /// What an error of HTTP/2 means. An alert of TLS that only showed when HTTP/2 read (a server refuses our
    /// certificate after the client's handshake is over) counts as what it is.
    pub fn http2(error: &h2::Error) -> Self {
        match error.get_io() {
            Some(io) => Self::http2_io(io),
            None => Self::new(Outcome::Http2Failed, error),
        }
    }

    /// The same for an error of the transport.
    pub fn http2_io(error: &io::Error) -> Self {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(tls) => Self::new(adit_pki::outcome_of(tls), tls),
            None => Self::new(Outcome::Http2Failed, error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.detail)
    }
}

impl std::error::Error for Failure {}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self::http2(&error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::http2_io(&error)
    }
}
