//! A bundle of trusted roots.

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use crate::certificate::path_length;

/// Trusted roots: several while one root replaces another.
#[derive(Debug)]
pub struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    /// How many authorities each allows below it.
    path_lengths: Vec<Option<u32>>,
}

impl Roots {
    /// Takes certificates as roots; the same one twice counts once.
    ///
    /// # Errors
    /// The index of the first that cannot be one, and why.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, (usize, InvalidRoot)> {
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
            path_lengths: Vec::new(),
        };
        for Root {
            certificate,
            anchor,
            path_length,
        } in roots
        {
            if !all.certificates.contains(&certificate) {
                all.certificates.push(certificate);
                all.anchors.push(anchor);
                all.path_lengths.push(path_length);
            }
        }
        all
    }

    /// The same as what chains are built to.
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// How many authorities may stand between a root and a workload; `None` is any number. Of roots that differ in
    /// nothing that makes chains, such as a root and its renewal, the most generous counts.
    pub(super) fn path_length(&self, anchor: &TrustAnchor<'_>) -> Option<u32> {
        let lengths = self.anchors.iter().zip(&self.path_lengths);
        let mut allowed = Some(0);
        for (_, length) in lengths.filter(|(known, _)| *known == anchor) {
            allowed = allowed.zip(*length).map(|(one, other)| one.max(other));
        }
        allowed
    }
}

/// One trusted root.
#[derive(Clone, Debug)]
pub(super) struct Root {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    path_length: Option<u32>,
}

impl Root {
    /// Takes a certificate as a root.
    pub(super) fn new(certificate: CertificateDer<'static>) -> Result<Self, InvalidRoot> {
        let anchor = anchor_from_trusted_cert(&certificate)
            .map_err(InvalidRoot::Unreadable)?
            .to_owned();
        // webpki takes every certificate as an anchor. A workload's among them, put there to trust that workload, would
        // let it sign for all.
        let path_length = path_length(&certificate).map_err(|_| InvalidRoot::NotAnAuthority)?;
        Ok(Self {
            certificate,
            anchor,
            path_length,
        })
    }
}

/// Why a certificate cannot be a root.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidRoot {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(webpki::Error),
    /// It is no authority's.
    #[error(
        "it is not an authority's (basic constraints, key usage); if it were trusted, its owner could sign for \
         everybody"
    )]
    NotAnAuthority,
}
