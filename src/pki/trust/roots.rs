//! A bundle of trusted roots.

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

/// Trusted roots: several while one root replaces another.
#[derive(Debug)]
pub struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    /// Takes certificates as roots; the same one twice counts once.
    ///
    /// # Errors
    /// The index of the first that cannot be one, and why.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, (usize, webpki::Error)> {
        let mut roots = Self {
            certificates: Vec::with_capacity(certificates.len()),
            anchors: Vec::with_capacity(certificates.len()),
        };
        for (index, certificate) in certificates.into_iter().enumerate() {
            if roots.certificates.contains(&certificate) {
                continue;
            }
            let anchor = anchor_from_trusted_cert(&certificate).map_err(|error| (index, error))?;
            roots.anchors.push(anchor.to_owned());
            roots.certificates.push(certificate);
        }
        Ok(roots)
    }

    /// The certificates, in the order of the files.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The same as what chains are built to.
    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}
