//! Why a tunnel could not be had: an [`Outcome`] of the closed list, and the words that say what happened.

use std::fmt;
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

    /// What an error of HTTP/2 means: what the h2 crate noticed itself is the peer's offence. One of TLS that only showed
    /// when HTTP/2 read is not to be seen in it; see [`crate::transport::turns`].
    pub fn http2(error: &h2::Error) -> Self {
        match error.is_library() {
            true => Self::new(Outcome::ProtocolViolation, error),
            false => Self::new(Outcome::Http2Failed, error),
        }
    }

    /// What an error of TLS means. A server that refuses our certificate says so by an alert after our handshake.
    pub fn tls(error: &rustls::Error) -> Self {
        match adit_pki::TlsRefusal::of(error) {
            // Its words say what to do about it; those of rustls name its own types.
            Some(refusal) => Self::new(refusal.outcome(), refusal),
            None => Self::new(adit_pki::outcome_of(error), error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_certificate_is_told_in_our_words() {
        let error = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let failure = Failure::tls(&error);
        assert_eq!(failure.outcome, Outcome::TlsFailed);
        assert_eq!(
            &*failure.detail,
            "the peer's certificate does not chain to a trusted root"
        );
        let other = Failure::tls(&rustls::Error::HandshakeNotComplete);
        assert_eq!(other.outcome, Outcome::TlsFailed);
        assert_eq!(*other.detail, *rustls::Error::HandshakeNotComplete.to_string());
    }
}
