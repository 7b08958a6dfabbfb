//! Why a handshake was refused: one closed list, recoverable from the error that rustls reports.
//!
//! What the TLS alert can say (revoked, expired, unknown issuer) is left in rustls' own words, so that the
//! peer gets the precise alert; what only the mesh knows (identities, trust domains) travels inside
//! [`rustls::CertificateError::Other`] and comes back through [`TlsRefusal::of`].

use std::fmt;
use std::sync::Arc;

use adit_mesh::{Identity, Outcome};
use rustls::{CertificateError, OtherError};

use crate::certificate::InvalidCertificate;

/// Why the peer's certificate was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsRefusal {
    /// The peer presented none.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// It cannot be read, or does not name exactly one workload.
    #[error("{0}")]
    Invalid(InvalidCertificate),
    /// It has expired.
    #[error("the peer's certificate has expired; are the clocks of both nodes right?")]
    Expired,
    /// It does not hold yet.
    #[error("the peer's certificate is not valid yet; are the clocks of both nodes right?")]
    NotYetValid,
    /// No chain from it to a trusted root.
    #[error("the peer's certificate does not chain to a trusted root")]
    Untrusted,
    /// It may not be used for this side of a connection (extended key usage).
    #[error("the peer's certificate may not be used for this side of a TLS connection (extended key usage)")]
    WrongPurpose,
    /// Its chain breaks a rule that certificates make for each other (RFC 5280).
    #[error("{0}")]
    RuleBroken(ChainRule),
    /// It, or a certificate above it, is revoked.
    #[error("the peer's certificate, or one above it, is revoked")]
    Revoked,
    /// A revocation list names its issuer but was not signed by it, so nobody knows whether it is revoked.
    #[error(
        "the revocation list for the peer's certificate was not signed by its issuer; replace the CRL file"
    )]
    RevocationUnknown,
    /// A workload of a trust domain that is neither ours nor an alias.
    #[error("the peer is {0}, of a foreign trust domain; add an alias if it may be trusted")]
    ForeignTrustDomain(Identity),
    /// Another workload than the one that was called.
    #[error("the peer is {presented}, expected {}", Expected(.expected))]
    WrongIdentity {
        /// Who it is.
        presented: Identity,
        /// Who it should have been; any of these.
        expected: Arc<[Identity]>,
    },
}

impl TlsRefusal {
    /// The refusal behind an error of rustls, if it is one: the peer's certificate was judged by us.
    pub fn of(error: &rustls::Error) -> Option<Self> {
        use CertificateError as E;
        let certificate = match error {
            rustls::Error::NoCertificatesPresented => return Some(Self::NoCertificate),
            rustls::Error::InvalidCertRevocationList(_) => return Some(Self::RevocationUnknown),
            rustls::Error::InvalidCertificate(certificate) => certificate,
            _ => return None,
        };
        Some(match certificate {
            E::Other(OtherError(cause)) => return cause.downcast_ref::<Self>().cloned(),
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::Revoked => Self::Revoked,
            E::UnknownRevocationStatus => Self::RevocationUnknown,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::WrongPurpose,
            E::BadEncoding => Self::Invalid(InvalidCertificate::Encoding),
            E::UnknownIssuer => Self::Untrusted,
            // Not the certificate: the peer's signature, that is, the possession of its key.
            _ => return None,
        })
    }

    /// How the connection ended.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoCertificate
            | Self::Expired
            | Self::NotYetValid
            | Self::Untrusted
            | Self::WrongPurpose
            | Self::RuleBroken(_)
            | Self::RevocationUnknown => Outcome::TlsFailed,
            Self::Revoked => Outcome::CertificateRevoked,
            Self::Invalid(_) | Self::ForeignTrustDomain(_) | Self::WrongIdentity { .. } => {
                Outcome::IdentityMismatch
            }
        }
    }
}

/// What certificates of a chain demand of each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainRule {
    /// Only an authority signs certificates: basic constraints say so, and key usage does not forbid it.
    #[error(
        "a certificate above the peer's may not sign others (basic constraints or key usage); \
         let an authority sign it"
    )]
    Authority,
    /// Only what is no authority's proves a workload, and its key may sign handshakes (X.509-SVID specification,
    /// section 4.3).
    #[error(
        "the peer's certificate is an authority's, or its key may not sign handshakes (basic constraints or key \
         usage); give the workload one of its own"
    )]
    Workload,
    /// No more authorities stand below one than it allows.
    #[error("more authorities stand in the peer's chain than one of them allows (path length)")]
    PathLength,
    /// No name is outside of what an authority is constrained to.
    #[error(
        "an authority in the peer's chain is constrained to other names, or constrains URIs, which is not supported"
    )]
    Names,
    /// Every critical extension is understood.
    #[error("a certificate in the peer's chain has a critical extension that is not understood")]
    Extensions,
    /// Every signature is of an algorithm that is accepted.
    #[error(
        "a certificate in the peer's chain is signed with an algorithm that is not accepted; use ECDSA, Ed25519, or \
         RSA of 2048 bits and more, with SHA-256 and above"
    )]
    Algorithm,
}

/// How a connection ended whose handshake failed with `error`.
pub fn outcome_of(error: &rustls::Error) -> Outcome {
    TlsRefusal::of(error).map_or(Outcome::TlsFailed, |refusal| refusal.outcome())
}

impl From<TlsRefusal> for rustls::Error {
    fn from(refusal: TlsRefusal) -> Self {
        use CertificateError as E;
        let certificate = match refusal {
            TlsRefusal::NoCertificate => return Self::NoCertificatesPresented,
            TlsRefusal::Invalid(InvalidCertificate::Encoding) => E::BadEncoding,
            TlsRefusal::Expired => E::Expired,
            TlsRefusal::NotYetValid => E::NotValidYet,
            TlsRefusal::Untrusted => E::UnknownIssuer,
            TlsRefusal::WrongPurpose => E::InvalidPurpose,
            TlsRefusal::Revoked => E::Revoked,
            TlsRefusal::RevocationUnknown => E::UnknownRevocationStatus,
            ours @ (TlsRefusal::Invalid(_)
            | TlsRefusal::RuleBroken(_)
            | TlsRefusal::ForeignTrustDomain(_)
            | TlsRefusal::WrongIdentity { .. }) => E::Other(OtherError(Arc::new(ours))),
        };
        Self::InvalidCertificate(certificate)
    }
}

/// Lists identities for people: `a or b`.
struct Expected<'a>(&'a [Identity]);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, identity) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            write!(f, "{identity}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::identity;

    #[test]
    fn every_refusal_survives_the_way_through_rustls() {
        let refusals = [
            (TlsRefusal::NoCertificate, Outcome::TlsFailed),
            (
                TlsRefusal::Invalid(InvalidCertificate::Encoding),
                Outcome::IdentityMismatch,
            ),
            (
                TlsRefusal::Invalid(InvalidCertificate::SeveralUris),
                Outcome::IdentityMismatch,
            ),
            (TlsRefusal::Expired, Outcome::TlsFailed),
            (TlsRefusal::NotYetValid, Outcome::TlsFailed),
            (TlsRefusal::Untrusted, Outcome::TlsFailed),
            (TlsRefusal::WrongPurpose, Outcome::TlsFailed),
            (TlsRefusal::RuleBroken(ChainRule::PathLength), Outcome::TlsFailed),
            (TlsRefusal::Revoked, Outcome::CertificateRevoked),
            (TlsRefusal::RevocationUnknown, Outcome::TlsFailed),
            (
                TlsRefusal::ForeignTrustDomain(identity("a")),
                Outcome::IdentityMismatch,
            ),
            (
                TlsRefusal::WrongIdentity {
                    presented: identity("a"),
                    expected: [identity("b"), identity("c")].into(),
                },
                Outcome::IdentityMismatch,
            ),
        ];
        for (refusal, outcome) in refusals {
            let error = rustls::Error::from(refusal.clone());
            assert_eq!(TlsRefusal::of(&error), Some(refusal));
            assert_eq!(outcome_of(&error), outcome);
        }
    }

    #[test]
    fn a_failure_that_is_not_about_the_certificate_is_no_refusal() {
        let errors = [
            rustls::Error::HandshakeNotComplete,
            rustls::Error::InvalidCertificate(CertificateError::BadSignature),
            rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked),
        ];
        for error in errors {
            assert_eq!(TlsRefusal::of(&error), None);
            assert_eq!(outcome_of(&error), Outcome::TlsFailed);
        }
    }
}
