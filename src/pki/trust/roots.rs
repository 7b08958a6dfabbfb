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
        let roots = certificates
            .into_iter()
            .enumerate()
            .map(|(index, certificate)| Root::new(certificate).map_err(|error| (index, error)));
        Ok(Self::of(roots.collect::<Result<Vec<_>, _>>()?))
    }

    /// The certificates, in the order of the files.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Puts roots of several files together.
    pub(super) fn of(roots: impl IntoIterator<Item = Root>) -> Self {
        let mut all = Self {
            certificates: Vec::new(),
            anchors: Vec::new(),
        };
        for Root { certificate, anchor } in roots {
            if !all.certificates.contains(&certificate) {
                all.certificates.push(certificate);
                all.anchors.push(anchor);
            }
        }
        all
    }

    /// The same as what chains are built to.
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

/// One trusted root.
#[derive(Clone, Debug)]
pub(super) struct Root {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
}

impl Root {
    /// Takes a certificate as a root.
    pub(super) fn new(certificate: CertificateDer<'static>) -> Result<Self, webpki::Error> {
        let anchor = anchor_from_trusted_cert(&certificate)?.to_owned();
        Ok(Self { certificate, anchor })
    }
}
