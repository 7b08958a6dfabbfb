//! Asking for a certificate: a fresh key and a signing request for it.
//!
//! Every request has a key of its own, so that a renewal also replaces the key and a key that leaked is worth
//! nothing after half a day. P-256 because every implementation of TLS 1.3 has it (RFC 8446, section 9.1) and
//! its signatures are the cheapest to make; the private key never leaves the process.

use adit_mesh::Identity;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls_pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A new private key and the signing request that proves its possession.
#[derive(Debug)]
pub struct Request {
    key: PrivatePkcs8KeyDer<'static>,
    csr: rcgen::CertificateSigningRequest,
}

impl Request {
    /// Makes a key for `identity` and signs a request with it: no subject, the SPIFFE ID as the only (and
    /// therefore critical: RFC 5280, section 4.2.1.6) subject alternative name.
    ///
    /// # Errors
    /// [`RequestError`] when the system's randomness fails.
    pub fn new(identity: &Identity) -> Result<Self, RequestError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(RequestError::of)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![uri(identity)?];
        let csr = params.serialize_request(&key).map_err(RequestError::of)?;
        Ok(Self {
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            csr,
        })
    }

    /// The request, as DER.
    pub fn csr(&self) -> &CertificateSigningRequestDer<'static> {
        self.csr.der()
    }

    /// The request as PEM, the form of the Istio CA RPC.
    ///
    /// # Errors
    /// [`RequestError`] if it cannot be encoded.
    pub fn csr_pem(&self) -> Result<String, RequestError> {
        self.csr.pem().map_err(RequestError::of)
    }

    /// The private key, once the certificate has come.
    pub fn into_key(self) -> PrivateKeyDer<'static> {
        self.key.into()
    }
}

/// The one name of a workload's certificate.
pub(crate) fn uri(identity: &Identity) -> Result<SanType, RequestError> {
    identity
        .to_string()
        .try_into()
        .map(SanType::URI)
        .map_err(RequestError::of)
}

/// A key or a signing request could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot make a key and a signing request: {reason}")]
pub struct RequestError {
    /// What the cryptographic library said.
    pub reason: String,
}

impl RequestError {
    fn of(error: rcgen::Error) -> Self {
        Self {
            reason: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    use x509_parser::prelude::FromDer;

    use super::*;
    use crate::fixtures::identity;

    #[test]
    fn a_request_has_no_subject_and_one_critical_uri() {
        let request = Request::new(&identity("payments")).expect("a request");
        let (_, csr) = X509CertificationRequest::from_der(request.csr()).expect("well formed");
        assert!(csr.verify_signature().is_ok());
        let info = &csr.certification_request_info;
        assert_eq!(info.subject.iter().count(), 0);
        let attribute = &info
            .iter_attributes()
            .next()
            .expect("extensions")
            .parsed_attribute();
        let x509_parser::cri_attributes::ParsedCriAttribute::ExtensionRequest(extensions) = attribute else {
            panic!("not an extension request: {attribute:?}");
        };
        let [extension] = &extensions.extensions[..] else {
            panic!("more than one extension");
        };
        assert!(extension.critical);
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            panic!("not a subject alternative name");
        };
        let expected = identity("payments").to_string();
        assert_eq!(names.general_names, [GeneralName::URI(&expected)]);
    }

    #[test]
    fn every_request_has_a_key_of_its_own() {
        let (one, other) = (Request::new(&identity("a")), Request::new(&identity("a")));
        let (one, other) = (one.expect("a request"), other.expect("a request"));
        assert_ne!(one.into_key().secret_der(), other.into_key().secret_der());
    }
}
