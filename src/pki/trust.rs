//! Whom we trust: roots, trust domains and revocations, as an immutable snapshot.
//!
//! A [`TrustStore`] reads the files and publishes a new [`Trust`] whenever one of them changes; connections
//! use the snapshot they began with. At the start everything must be readable, because a mesh that starts
//! without the revocations somebody configured lets in those that were shut out. Later a file that breaks is
//! reported and the last good content stays, because an edit in progress must not cut the node.

mod crl;
mod files;
mod peer;
mod roots;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_mesh::TrustDomain;
use webpki::OwnedCertRevocationList;

pub(crate) use crl::Crls;
use files::Content;
pub use peer::{PeerCheck, Side};
use roots::Root;
pub use roots::{InvalidRoot, Roots};
pub use store::TrustStore;

/// Where trust comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustOptions {
    /// Files with trusted roots (PEM, one or more certificates each). With at least one of them they alone
    /// decide; with none, the roots that come with each certificate do, as under Istio.
    pub bundle: Vec<PathBuf>,
    /// Files with certificate revocation lists (PEM with one or more, or DER with one).
    pub crl: Vec<PathBuf>,
    /// Trust domains whose workloads may connect beside those of the workload's own trust domain.
    pub aliases: Vec<TrustDomain>,
}

/// Trust at one moment.
#[derive(Debug)]
pub struct Trust {
    generation: u64,
    roots: Option<Arc<Roots>>,
    crls: Arc<Crls>,
    aliases: Arc<[TrustDomain]>,
}

impl Trust {
    /// Trust as the bytes of files say it, each with the file's name for errors: of bundles and of revocation lists as
    /// in [`TrustOptions`].
    ///
    /// # Errors
    /// The first content that cannot be used.
    pub fn read(
        bundle: &[(&Path, &[u8])],
        crl: &[(&Path, &[u8])],
        aliases: &[TrustDomain],
    ) -> Result<Self, TrustError> {
        let roots = bundle.iter().map(|(path, bytes)| Root::read(path, bytes));
        let roots = roots.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        let lists = crl
            .iter()
            .map(|(path, bytes)| OwnedCertRevocationList::read(path, bytes));
        let lists = lists.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        Ok(Self::of(
            1,
            (!bundle.is_empty()).then(|| Roots::of(roots)),
            lists.collect(),
            aliases.into(),
        ))
    }

    /// Puts together what was read.
    fn of(
        generation: u64,
        roots: Option<Roots>,
        lists: Vec<OwnedCertRevocationList>,
        aliases: Arc<[TrustDomain]>,
    ) -> Self {
        Self {
            generation,
            roots: roots.map(Arc::new),
            crls: Arc::new(Crls::new(lists)),
            aliases,
        }
    }

    /// Grows by one with each change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The roots of the configured bundle; `None` if none is configured.
    pub fn roots(&self) -> Option<&Arc<Roots>> {
        self.roots.as_ref()
    }

    /// The trust domains that are accepted beside a workload's own.
    pub fn aliases(&self) -> &[TrustDomain] {
        &self.aliases
    }

    /// How many revocation lists are obeyed.
    pub fn revocation_lists(&self) -> usize {
        self.crls.len()
    }

    /// How a workload of `own` trust domain judges its peers. `issued` are the roots that came with its
    /// certificate; they count only while no bundle is configured.
    ///
    /// Returns `None` if neither gives a root: nobody could be trusted.
    pub fn peer_check(&self, own: &TrustDomain, issued: Option<Arc<Roots>>) -> Option<PeerCheck> {
        let roots = self.roots.clone().or(issued)?;
        Some(PeerCheck::new(
            roots,
            Arc::clone(&self.crls),
            own.clone(),
            Arc::clone(&self.aliases),
        ))
    }
}

/// A file that trust depends on cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// No certificate in a bundle.
    #[error("{} holds no certificate; a trust bundle is PEM with one or more root certificates", .path.display())]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in a bundle that cannot be a root.
    #[error("certificate {number} of {} cannot be used as a root: {reason}", .path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Which certificate of the file, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// No revocation list in a CRL file.
    #[error("{} holds no revocation list; it must be PEM (\"X509 CRL\") or DER", .path.display())]
    NoCrl {
        /// The file.
        path: PathBuf,
    },
    /// A revocation list that cannot be used.
    #[error("revocation list {number} of {} cannot be used: {reason}", .path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// Which list of the file, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
