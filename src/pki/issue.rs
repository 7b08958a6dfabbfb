//! Issuing certificates: what a certificate of a workload looks like.
//!
//! The identity comes from whoever authenticated the caller, never from the request: of the request only the
//! public key is used, after its signature proved that the caller has the private key. The shape is Istio's,
//! so that every implementation accepts it: one critical URI, digital signature and key encipherment, server
//! and client, valid from two minutes ago (clocks differ) and never longer than what signed it.

mod local;

use std::time::{Duration, SystemTime};

use adit_mesh::Identity;
use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::certificate::Certificate;
use crate::issuer::Issued;
use crate::request::uri;

pub use local::{LocalCa, LocalCaError};

/// How far the clocks of a mesh may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(120);
/// The validity of a certificate whose request does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest validity of a workload's certificate.
pub const LONGEST_TTL: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The validity of a root that we make.
const ROOT_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A certificate authority: a key and the chain that vouches for it.
pub struct Authority {
    issuer: rcgen::Issuer<'static, KeyPair>,
    /// From the signing certificate towards the root, without the root; empty if the root signs.
    intermediates: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    /// When the signing certificate ends.
    not_after: SystemTime,
}

/// An issued certificate and everything above it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// The certificate.
    pub leaf: CertificateDer<'static>,
    /// What vouches for it, from its signer towards the root, without the root.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// The roots to be trusted.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// Makes a self-signed root that is valid for ten years.
    ///
    /// # Errors
    /// [`SignError::Failed`] when the cryptographic library fails.
    pub fn self_signed(now: SystemTime) -> Result<Self, SignError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SignError::failed)?;
        let root = self_signed_root(&key, now)?;
        Self::new(key, vec![root.clone()], vec![root])
    }

    /// Takes the key of a signing certificate.
    ///
    /// `chain` begins with the signing certificate and goes towards the root; a root in it that is among
    /// `roots` is not sent to peers.
    ///
    /// # Errors
    /// [`SignError::EmptyChain`], or [`SignError::KeyMismatch`] if the key is not that of the chain's first
    /// certificate, or [`SignError::Failed`] if that certificate cannot be read.
    pub fn new(
        key: KeyPair,
        chain: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, SignError> {
        let signing = chain.first().ok_or(SignError::EmptyChain)?;
        if !is_certificate_of(signing, &key) {
            return Err(SignError::KeyMismatch);
        }
        let not_after = Certificate::parse(signing)
            .map_err(|error| SignError::Failed(error.to_string()))?
            .not_after;
        let issuer = rcgen::Issuer::from_ca_cert_der(signing, key).map_err(SignError::failed)?;
        let intermediates = chain.into_iter().filter(|one| !roots.contains(one)).collect();
        Ok(Self {
            issuer,
            intermediates,
            roots,
            not_after,
        })
    }

    /// The roots to be trusted.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Issues a certificate to `identity`, whose owner was authenticated by the caller of this function.
    ///
    /// `ttl` of zero means [`DEFAULT_TTL`]. The certificate never outlives the one that signs it.
    ///
    /// # Errors
    /// A request that cannot be read or does not prove possession of its key; a `ttl` over [`LONGEST_TTL`]; an
    /// authority that has expired.
    pub fn issue(
        &self,
        request: &CertificateSigningRequestDer<'_>,
        identity: &Identity,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Signed, SignError> {
        if ttl > LONGEST_TTL {
            return Err(SignError::TtlTooLong);
        }
        if now >= self.not_after {
            return Err(SignError::AuthorityExpired);
        }
        let public_key = public_key(request)?;
        let ttl = if ttl.is_zero() { DEFAULT_TTL } else { ttl };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![uri(identity).map_err(|error| SignError::Failed(error.reason))?];
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        params.not_before = OffsetDateTime::from(now - CLOCK_SKEW);
        params.not_after = OffsetDateTime::from((now + ttl).min(self.not_after));
        let leaf = params
            .signed_by(&public_key, &self.issuer)
            .map_err(SignError::failed)?;
        Ok(Signed {
            leaf: leaf.der().clone(),
            intermediates: self.intermediates.clone(),
            roots: self.roots.clone(),
        })
    }
}

impl Authority {
    /// Issues a certificate with a new key to a server that is called by these DNS names, such as the control plane
    /// itself.
    ///
    /// # Errors
    /// A name that is none; an authority that has expired.
    pub fn issue_server(
        &self,
        names: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, SignError> {
        if now >= self.not_after {
            return Err(SignError::AuthorityExpired);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SignError::failed)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(SignError::failed)?;
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        params.not_before = OffsetDateTime::from(now - CLOCK_SKEW);
        params.not_after = OffsetDateTime::from((now + ttl).min(self.not_after));
        let leaf = params.signed_by(&key, &self.issuer).map_err(SignError::failed)?;
        let mut chain = vec![leaf.der().clone()];
        chain.extend(self.intermediates.iter().cloned());
        Ok(Issued {
            chain,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            roots: self.roots.clone(),
        })
    }

    /// When the signing certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("roots", &self.roots.len())
            .field("intermediates", &self.intermediates.len())
            .finish_non_exhaustive()
    }
}

impl Signed {
    /// The chain as the Istio CA RPC returns it: the certificate, each intermediate, then all roots as one.
    pub fn pem_chain(&self) -> Vec<String> {
        let one = |der| crate::certificate::to_pem([der]);
        std::iter::once(&self.leaf)
            .chain(&self.intermediates)
            .map(one)
            .chain(std::iter::once(crate::certificate::to_pem(&self.roots)))
            .collect()
    }
}

/// Makes a root certificate of `key`.
fn self_signed_root(key: &KeyPair, now: SystemTime) -> Result<CertificateDer<'static>, SignError> {
    let serial = serial()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Roots that replace each other have names of their own, so that chains and revocation lists are never
    // taken for another's.
    let number: String = serial
        .to_bytes()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    params.distinguished_name.push(DnType::OrganizationName, "Adit");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Adit root {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial);
    params.not_before = OffsetDateTime::from(now - CLOCK_SKEW);
    params.not_after = OffsetDateTime::from(now + ROOT_TTL);
    let root = params.self_signed(key).map_err(SignError::failed)?;
    Ok(root.der().clone())
}

/// Whether a certificate is about `key`.
fn is_certificate_of(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    x509_parser::parse_x509_certificate(certificate)
        .is_ok_and(|(_, parsed)| *parsed.public_key().subject_public_key.data == *key.public_key_raw())
}

/// The public key of a request, once its signature proved possession of the private one.
fn public_key(request: &CertificateSigningRequestDer<'_>) -> Result<SubjectPublicKeyInfo, SignError> {
    let (rest, parsed) = X509CertificationRequest::from_der(request).map_err(|_| SignError::Request)?;
    if !rest.is_empty() {
        return Err(SignError::Request);
    }
    parsed.verify_signature().map_err(|_| SignError::Possession)?;
    SubjectPublicKeyInfo::from_der(parsed.certification_request_info.subject_pki.raw)
        .map_err(|_| SignError::KeyType)
}

/// A serial number of 128 bits, nearly all of them random: never the same twice (RFC 5280, section 4.1.2.2).
fn serial() -> Result<SerialNumber, SignError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| SignError::Failed("no randomness".to_owned()))?;
    // Without the top bit it stays 16 bytes in DER; with the next one set it never begins with zeros.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Why a certificate was not issued.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// No signing certificate.
    #[error("the authority has no signing certificate")]
    EmptyChain,
    /// Key and signing certificate do not belong together.
    #[error("the authority's key is not the key of its certificate")]
    KeyMismatch,
    /// The signing certificate has expired.
    #[error("the authority's certificate has expired; replace it")]
    AuthorityExpired,
    /// Longer than certificates of workloads may hold.
    #[error("a certificate may be asked for {} days at most", LONGEST_TTL.as_secs() / 86400)]
    TtlTooLong,
    /// The request cannot be read.
    #[error("the signing request cannot be read")]
    Request,
    /// The request is not signed with the key that it names.
    #[error("the signing request does not prove possession of its key")]
    Possession,
    /// A public key of a kind that is not supported.
    #[error("the kind of the request's key is not supported; use ECDSA P-256")]
    KeyType,
    /// The cryptographic library failed.
    #[error("cannot sign: {0}")]
    Failed(String),
}

impl SignError {
    fn failed(error: rcgen::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests;
