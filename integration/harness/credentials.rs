//! Certificates for scripted peers: good ones, and with every flaw that a tunnel has to notice.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit::lab::host;
use adit_mesh::Identity;
use adit_pki::issuer::Issued;
use adit_pki::{Credentials, LocalCa, Request, TlsOptions, TrustOptions, TrustStore, peer_identity};
use anyhow::Context;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber};
use rustls::pki_types::CertificateDer;

use crate::harness::document::replace;

/// How long certificates of peers are valid.
const TTL: Duration = Duration::from_secs(3600);
/// Long before, and long after, anything that is valid now.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// When a certificate holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Validity {
    /// Now.
    #[default]
    Now,
    /// It has expired.
    Past,
    /// It does not hold yet.
    Future,
}

/// A certificate authority in a directory.
#[derive(Debug)]
pub struct Ca {
    local: LocalCa,
    directory: PathBuf,
}

impl Ca {
    /// The authority of the tunnels, unless they are told of another.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn of_the_mesh() -> anyhow::Result<Self> {
        Self::open("ca")
    }

    /// The authority in a directory of that name, made if there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        let directory = host::path(name);
        let local = LocalCa::open_or_create(&directory, TTL, SystemTime::now())?;
        Ok(Self { local, directory })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its root, as PEM.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn root(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.local.root_path())?)
    }

    /// A peer that is `identity` and trusts this authority.
    ///
    /// # Errors
    /// The cryptography fails.
    pub fn peer(&self, identity: &str) -> anyhow::Result<Arc<Credentials>> {
        self.flawed(identity, Validity::Now, self)
    }

    /// A peer whose certificate is of this authority and holds at some time, and who trusts another authority.
    ///
    /// # Errors
    /// The cryptography fails.
    pub fn flawed(
        &self,
        identity: &str,
        validity: Validity,
        trusts: &Self,
    ) -> anyhow::Result<Arc<Credentials>> {
        let identity: Identity = identity.parse()?;
        let now = SystemTime::now();
        let issued_at = match validity {
            Validity::Now => now,
            Validity::Past => now - FAR,
            Validity::Future => now + FAR,
        };
        let request = Request::new(&identity)?;
        let signed = self
            .local
            .authority()
            .issue(request.csr(), &identity, TTL, issued_at)?;
        let issued = Issued {
            chain: [signed.leaf].into_iter().chain(signed.intermediates).collect(),
            key: request.into_key(),
            roots: trusts.local.authority().roots().to_vec(),
        };
        // Scripted peers take whoever comes; it is the tunnel that has to be strict.
        let trust = TrustStore::open(&TrustOptions {
            aliases: vec!["cluster.local".parse()?, "partner.example".parse()?],
            ..TrustOptions::default()
        })?;
        let credentials = Credentials::new(&identity, issued, &trust.current(), &TlsOptions::default(), 1)?;
        Ok(Arc::new(credentials))
    }

    /// Makes the revocation list at `path` name these certificates and no others.
    ///
    /// # Errors
    /// It cannot be signed or written.
    pub fn revoke(&self, path: &Path, serials: &[String]) -> anyhow::Result<()> {
        let key = KeyPair::from_pem(&std::fs::read_to_string(self.directory.join("ca-key.pem"))?)?;
        let root = self
            .local
            .authority()
            .roots()
            .first()
            .context("an authority without a root")?;
        let issuer = rcgen::Issuer::from_ca_cert_der(root, key)?;
        let now = SystemTime::now();
        let params = CertificateRevocationListParams {
            this_update: (now - TTL).into(),
            next_update: (now + TTL).into(),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| revoked(serial, now))
                .collect::<Result<_, _>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        replace(path, &params.signed_by(&issuer)?.pem()?)
    }
}

/// The SPIFFE identity of a pod of the bed.
pub fn spiffe(service_account: &str) -> String {
    format!(
        "spiffe://cluster.local/ns/{}/sa/{service_account}",
        crate::harness::bed::NAMESPACE
    )
}

/// Whose certificate it is, for checks.
///
/// # Errors
/// It is nobody's.
pub fn identity_of(chain: &[CertificateDer<'_>]) -> anyhow::Result<String> {
    Ok(peer_identity(chain.first().context("no certificate")?)?.to_string())
}

fn revoked(serial: &str, now: SystemTime) -> anyhow::Result<RevokedCertParams> {
    let digits = |at: usize| serial.get(at..at + 2).context("a serial number of whole bytes");
    let bytes = (0..serial.len())
        .step_by(2)
        .map(|at| Ok(u8::from_str_radix(digits(at)?, 16)?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&bytes),
        revocation_time: (now - Duration::from_secs(60)).into(),
        reason_code: None,
        invalidity_date: None,
    })
}
