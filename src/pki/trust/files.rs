//! Files that are read again and again: the last good content of each stays until there is a better one.

use std::fs;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::OwnedCertRevocationList;

use super::roots::Root;
use super::{Crls, TrustError};

/// What a file holds.
pub(super) trait Content: Sized {
    /// Reads everything in `bytes`.
    fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Self>, TrustError>;
}

/// A file and its last good content.
#[derive(Debug)]
pub(super) struct Source<T> {
    path: PathBuf,
    bytes: Vec<u8>,
    content: Vec<T>,
}

impl<T: Content> Source<T> {
    /// Reads a file for the first time; it must be good.
    pub(super) fn open(path: &Path) -> Result<Self, TrustError> {
        let bytes = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            content: T::read(path, &bytes)?,
            bytes,
        })
    }

    /// Reads it again. Returns whether there is new content; on an error the old one stays.
    pub(super) fn reload(&mut self) -> Result<bool, TrustError> {
        let bytes = read(&self.path)?;
        if bytes == self.bytes {
            return Ok(false);
        }
        self.content = T::read(&self.path, &bytes)?;
        self.bytes = bytes;
        Ok(true)
    }

    /// The last good content.
    pub(super) fn content(&self) -> &[T] {
        &self.content
    }
}

impl Content for Root {
    fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Self>, TrustError> {
        let invalid = |number, reason| TrustError::Root {
            path: path.to_owned(),
            number,
            reason,
        };
        let mut roots = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(bytes) {
            let number = roots.len() + 1;
            let certificate = certificate.map_err(|error| invalid(number, error.to_string()))?;
            roots.push(Self::new(certificate).map_err(|error| invalid(number, error.to_string()))?);
        }
        if roots.is_empty() {
            return Err(TrustError::NoRoot {
                path: path.to_owned(),
            });
        }
        Ok(roots)
    }
}

impl Content for OwnedCertRevocationList {
    fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Self>, TrustError> {
        let invalid = |number, reason| TrustError::Crl {
            path: path.to_owned(),
            number,
            reason,
        };
        // DER begins with the tag of a SEQUENCE, which is no character of a PEM file's first line.
        if bytes.first() == Some(&0x30) {
            let list = Crls::parse(&CertificateRevocationListDer::from(bytes));
            return Ok(vec![list.map_err(|error| invalid(1, error.to_string()))?]);
        }
        let mut lists = Vec::new();
        for der in CertificateRevocationListDer::pem_slice_iter(bytes) {
            let number = lists.len() + 1;
            let der = der.map_err(|error| invalid(number, error.to_string()))?;
            lists.push(Crls::parse(&der).map_err(|error| invalid(number, error.to_string()))?);
        }
        if lists.is_empty() {
            return Err(TrustError::NoCrl {
                path: path.to_owned(),
            });
        }
        Ok(lists)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    fs::read(path).map_err(|error| TrustError::Read {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
