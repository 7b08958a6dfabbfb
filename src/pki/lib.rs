//! Keys, certificates and trust: how a workload proves its identity, and how its peer's proof is judged.
//!
//! The way of a certificate: a [`CertificateManager`] holds the identities of the pods of this node and asks
//! an [`Issuer`] for them ([`LocalCa`], a directory, or the control plane's CA); what comes back is checked
//! and becomes [`Credentials`]: one certificate generation with its rustls configurations, built once. The
//! way of a judgement: a [`TrustStore`] reads roots and revocation lists from files and publishes [`Trust`],
//! an immutable snapshot; the verifiers in [`tls`] obey it and refuse with a [`TlsRefusal`], which names what
//! is wrong.

pub mod certificate;
pub mod credentials;
pub mod issue;
pub mod issuer;
pub mod manager;
pub mod refusal;
pub mod request;
pub mod tls;
pub mod trust;

#[cfg(test)]
mod fixtures;

pub use certificate::{Certificate, InvalidCertificate, peer_identity};
pub use credentials::Credentials;
pub use issue::{Authority, LocalCa};
pub use issuer::{IssueError, Issued, Issuer};
pub use manager::{CertificateManager, CertificateStatus, Held, NoCertificate};
pub use refusal::{ChainRule, TlsRefusal, outcome_of};
pub use request::Request;
pub use tls::{Compliance, TlsOptions};
pub use trust::{Trust, TrustError, TrustOptions, TrustStore};
