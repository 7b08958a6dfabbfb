//! Where certificates come from: the seam between the manager and its sources.
//!
//! The source makes the key, not the manager: a source that keeps keys in hardware, or hands out key and
//! certificate together, fits as well as one that signs requests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use adit_mesh::Identity;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate::InvalidCertificate;

/// The answer of an [`Issuer`], later.
pub type Issuing<'a> = Pin<Box<dyn Future<Output = Result<Issued, IssueError>> + Send + 'a>>;

/// A source of certificates. Called from the control runtime, for several identities at a time.
pub trait Issuer: Send + Sync + 'static {
    /// Issues a certificate for `identity`. The manager gives it a deadline and checks what it returns.
    fn issue<'a>(&'a self, identity: &'a Identity) -> Issuing<'a>;
}

/// A new certificate with its key.
pub struct Issued {
    /// The certificate, then the intermediates, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// The roots that the issuer says are to be trusted. Used where no bundle is configured
    /// ([`TrustOptions::bundle`](crate::TrustOptions::bundle)).
    pub roots: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key, not even by accident in a log line.
        f.debug_struct("Issued")
            .field("chain", &self.chain.len())
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IssueError {
    /// The issuer could not be reached, or failed.
    #[error("the certificate authority is unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// The issuer did not answer in time.
    #[error("the certificate authority did not answer in time")]
    TimedOut,
    /// The issuer refused this identity.
    #[error("the certificate authority refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// What the issuer returned has no certificate.
    #[error("the certificate authority returned an empty chain")]
    Empty,
    /// What the issuer returned is not a workload's certificate.
    #[error("the certificate authority returned an unusable certificate: {0}")]
    Unusable(InvalidCertificate),
    /// What the issuer returned is for somebody else.
    #[error("the certificate authority returned a certificate for {issued}")]
    OtherIdentity {
        /// Whose certificate it is.
        issued: Identity,
    },
    /// Certificate and key do not belong together, or the key cannot be used.
    #[error("the key cannot be used with the certificate: {reason}")]
    Key {
        /// What the cryptographic library said.
        reason: String,
    },
    /// What the issuer returned has already expired.
    #[error("the certificate authority returned a certificate that has already expired; is its clock right?")]
    Expired,
    /// Neither a bundle nor the issuer gives a root that can be trusted.
    #[error("no trusted root: configure a trust bundle, or let the certificate authority return its roots")]
    NoRoots,
    /// A root that the issuer returned cannot be read.
    #[error("the certificate authority returned a root that cannot be read")]
    Root,
}
