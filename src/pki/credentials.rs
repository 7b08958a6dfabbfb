//! One certificate generation of one identity, with everything that is built from it once.
//!
//! Building a rustls configuration parses keys and allocates; doing so for each connection is what a proxy
//! can afford least. So each renewal, and each change of trust, makes a new [`Credentials`], and connections
//! only clone its `Arc`s.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use adit_mesh::Identity;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;

use crate::certificate::{Certificate, peer_identity, to_pem};
use crate::issuer::{IssueError, Issued};
use crate::tls::{self, TlsOptions};
use crate::trust::{PeerCheck, Roots, Trust};

/// Client configurations that are kept: one for each set of identities that the pods of one service account
/// call. Beyond that the oldest is built again when it is needed, which costs microseconds.
const CLIENT_CONFIGS: usize = 256;

/// A certificate, its key and what is trusted, ready for use.
pub struct Credentials {
    generation: u64,
    identity: Identity,
    certificate: Certificate,
    key: Arc<CertifiedKey>,
    issued_roots: Option<Arc<Roots>>,
    check: Arc<PeerCheck>,
    trust_generation: u64,
    options: TlsOptions,
    server: Arc<ServerConfig>,
    client: ClientConfig,
    clients: Mutex<ClientConfigs>,
}

impl Credentials {
    /// Checks what an issuer returned for `identity` and builds its configurations.
    ///
    /// `generation` tells apart the credentials of one identity; later ones have higher numbers.
    ///
    /// # Errors
    /// Whatever makes the certificate unusable: it is empty, for another identity, does not fit its key, or
    /// there is no root to trust.
    pub fn new(
        identity: &Identity,
        issued: Issued,
        trust: &Trust,
        options: &TlsOptions,
        generation: u64,
    ) -> Result<Self, IssueError> {
        let leaf = issued.chain.first().ok_or(IssueError::Empty)?;
        let certificate = Certificate::parse(leaf).map_err(IssueError::Unusable)?;
        let owner = peer_identity(leaf).map_err(IssueError::Unusable)?;
        if owner != *identity {
            return Err(IssueError::OtherIdentity { issued: owner });
        }
        let provider = tls::provider(options.compliance);
        let key = CertifiedKey::from_der(issued.chain, issued.key, &provider).map_err(key_error)?;
        let issued_roots = match issued.roots {
            none if none.is_empty() => None,
            roots => Some(Arc::new(Roots::new(roots).map_err(|_| IssueError::Root)?)),
        };
        let parts = Parts {
            identity: identity.clone(),
            certificate,
            key: Arc::new(key),
            issued_roots,
            options: options.clone(),
        };
        Self::build(parts, trust, generation)
    }

    /// The same certificate under changed trust.
    pub(crate) fn under(&self, trust: &Trust, generation: u64) -> Result<Self, IssueError> {
        let parts = Parts {
            identity: self.identity.clone(),
            certificate: self.certificate.clone(),
            key: Arc::clone(&self.key),
            issued_roots: self.issued_roots.clone(),
            options: self.options.clone(),
        };
        Self::build(parts, trust, generation)
    }

    /// Which credentials of this identity these are.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The [`Trust::generation`] that was in force when they were built.
    pub fn trust_generation(&self) -> u64 {
        self.trust_generation
    }

    /// Whose they are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The serial number, in hexadecimal.
    pub fn serial(&self) -> String {
        self.certificate.serial_text()
    }

    /// From when on the certificate holds.
    pub fn not_before(&self) -> SystemTime {
        self.certificate.not_before
    }

    /// Until when the certificate holds.
    pub fn not_after(&self) -> SystemTime {
        self.certificate.not_after
    }

    /// The certificate, then the intermediates.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// The roots that peers' certificates must lead to.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        self.check.roots()
    }

    /// The chain as PEM.
    pub fn chain_pem(&self) -> String {
        to_pem(self.chain())
    }

    /// The roots as PEM.
    pub fn roots_pem(&self) -> String {
        to_pem(self.roots())
    }

    /// What peers' certificates are held against; for judging live connections again.
    pub fn peer_check(&self) -> &Arc<PeerCheck> {
        &self.check
    }

    /// Whether the certificate chain of a live connection (the peer's certificate first) is revoked.
    pub fn is_revoked(&self, peer_chain: &[CertificateDer<'_>]) -> bool {
        self.check.is_revoked(peer_chain)
    }

    /// The configuration for accepting connections: a client certificate of an accepted trust domain is
    /// demanded.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// The configuration for connecting to a workload that is one of `expected`. Built once for each set.
    pub fn client_config(&self, expected: &Arc<[Identity]>) -> Arc<ClientConfig> {
        // The cache is valid after each of its statements, so a panic elsewhere under the lock spoils
        // nothing.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.find_or_build(expected, || {
            tls::expecting(&self.client, &self.check, Arc::clone(expected))
        })
    }

    fn build(parts: Parts, trust: &Trust, generation: u64) -> Result<Self, IssueError> {
        let Parts {
            identity,
            certificate,
            key,
            issued_roots,
            options,
        } = parts;
        let check = trust
            .peer_check(identity.trust_domain(), issued_roots.clone())
            .ok_or(IssueError::NoRoots)?;
        let check = Arc::new(check);
        let server = tls::server_config(&options, &key, &check).map_err(key_error)?;
        let client = tls::client_config(&options, &key, &check).map_err(key_error)?;
        Ok(Self {
            generation,
            identity,
            certificate,
            key,
            issued_roots,
            check,
            trust_generation: trust.generation(),
            options,
            server: Arc::new(server),
            client,
            clients: Mutex::default(),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("generation", &self.generation)
            .field("serial", &self.serial())
            .finish_non_exhaustive()
    }
}

/// What stays the same when only trust changes.
struct Parts {
    identity: Identity,
    certificate: Certificate,
    key: Arc<CertifiedKey>,
    issued_roots: Option<Arc<Roots>>,
    options: TlsOptions,
}

/// Client configurations by the identities they expect; bounded, first in first out.
#[derive(Default)]
struct ClientConfigs {
    by_expected: HashMap<Arc<[Identity]>, Arc<ClientConfig>>,
    oldest_first: VecDeque<Arc<[Identity]>>,
}

impl ClientConfigs {
    fn find_or_build(
        &mut self,
        expected: &Arc<[Identity]>,
        build: impl FnOnce() -> ClientConfig,
    ) -> Arc<ClientConfig> {
        if let Some(known) = self.by_expected.get(expected) {
            return Arc::clone(known);
        }
        if self.oldest_first.len() >= CLIENT_CONFIGS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_expected.remove(&oldest);
        }
        let config = Arc::new(build());
        self.oldest_first.push_back(Arc::clone(expected));
        self.by_expected.insert(Arc::clone(expected), Arc::clone(&config));
        config
    }
}

fn key_error(error: rustls::Error) -> IssueError {
    IssueError::Key {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
