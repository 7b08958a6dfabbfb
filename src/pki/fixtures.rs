//! What the tests of this room share: a small hierarchy of authorities, certificates with every flaw,
//! revocation lists, a clock that stands still, and handshakes in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_mesh::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::certificate::encode_pem;
use crate::issuer::Issued;
use crate::tls::{self, Compliance, TlsOptions, unnamed};
use crate::trust::{PeerCheck, TrustOptions, TrustStore};
use crate::{TlsRefusal, certificate};

/// The moment of the tests.
pub(crate) const NOW: u64 = 1_800_000_000;
/// An hour, in seconds.
pub(crate) const HOUR: u64 = 3600;

pub(crate) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn identity(service_account: &str) -> Identity {
    spiffe("cluster.local", service_account)
}

pub(crate) fn spiffe(trust_domain: &str, service_account: &str) -> Identity {
    format!("spiffe://{trust_domain}/ns/bank/sa/{service_account}")
        .parse()
        .expect("well formed")
}

/// Standing time.
#[derive(Debug)]
pub(crate) struct At(pub(crate) u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

pub(crate) fn options(compliance: Compliance, now: u64) -> TlsOptions {
    TlsOptions {
        compliance,
        time: Arc::new(At(now)),
    }
}

/// A certificate authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    /// What has to be sent along with what this one signs.
    intermediates: Vec<CertificateDer<'static>>,
}

impl Ca {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    /// A root with a change.
    pub(crate) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = ca_params(name);
        change(&mut params);
        let certificate = params.self_signed(&key).expect("a root").der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
            intermediates: Vec::new(),
        }
    }

    pub(crate) fn intermediate(&self, name: &str, serial: u8) -> Self {
        self.below(name, &PKCS_ECDSA_P256_SHA256, |params| {
            params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        })
    }

    /// An intermediate with a change and a key of some kind.
    pub(crate) fn below(
        &self,
        name: &str,
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let mut params = ca_params(name);
        change(&mut params);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("an intermediate")
            .der()
            .clone();
        let mut intermediates = vec![certificate.clone()];
        intermediates.extend(self.intermediates.iter().cloned());
        Self {
            issuer: Issuer::new(params, key),
            certificate,
            intermediates,
        }
    }

    pub(crate) fn issue(&self, leaf: Leaf) -> Peer {
        self.issue_with(leaf, &PKCS_ECDSA_P256_SHA256, |_| {})
    }

    /// Issues a certificate with a change to a key of some kind.
    pub(crate) fn issue_with(
        &self,
        leaf: Leaf,
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Peer {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = leaf.names;
        params.extended_key_usages = leaf.purposes;
        params.serial_number = Some(SerialNumber::from_slice(&[leaf.serial]));
        params.not_before = date(leaf.not_before);
        params.not_after = date(leaf.not_after);
        change(&mut params);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .der()
            .clone();
        let mut chain = vec![certificate];
        chain.extend(self.intermediates.iter().cloned());
        Peer {
            chain,
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8"),
        }
    }

    /// Issues a certificate that is shown with this authority's own.
    pub(crate) fn issue_with_root(&self, leaf: Leaf) -> Peer {
        let mut peer = self.issue(leaf);
        peer.chain.push(self.certificate.clone());
        peer
    }

    /// The authority, showing its own certificate.
    pub(crate) fn as_peer(&self) -> Peer {
        Peer {
            chain: vec![self.certificate.clone()],
            key: PrivateKeyDer::try_from(self.issuer.key().serialize_der()).expect("PKCS #8"),
        }
    }

    pub(crate) fn crl(&self, serials: &[u8]) -> CertificateRevocationListDer<'static> {
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: date(NOW - HOUR),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date(NOW - HOUR),
            // Already past: a late list is obeyed all the same.
            next_update: date(NOW - HOUR / 2),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").der().clone()
    }
}

/// A certificate to be made, flaws included.
pub(crate) struct Leaf {
    pub(crate) names: Vec<SanType>,
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) serial: u8,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

impl Leaf {
    pub(crate) fn of(identity: &Identity) -> Self {
        Self {
            names: vec![uri(&identity.to_string())],
            purposes: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            serial: 77,
            not_before: NOW - HOUR,
            not_after: NOW + HOUR,
        }
    }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

pub(crate) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ASCII"))
}

/// A certificate with its key.
pub(crate) struct Peer {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Peer {
    pub(crate) fn issued(&self, roots: Vec<CertificateDer<'static>>) -> Issued {
        Issued {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            roots,
        }
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let provider = tls::provider(Compliance::Default);
        let key = provider.key_provider.load_private_key(self.key.clone_key());
        // Not `from_der`, which takes no certificate that its own parser refuses.
        Arc::new(CertifiedKey::new(self.chain.clone(), key.expect("a key")))
    }

    /// This peer as a server, whatever is wrong with it.
    pub(crate) fn server(&self, check: &Arc<PeerCheck>) -> Arc<ServerConfig> {
        let config = tls::server_config(&options(Compliance::Default, NOW), &self.certified(), check);
        Arc::new(config.expect("a configuration"))
    }

    /// This peer as a client, whatever is wrong with it.
    pub(crate) fn client(&self, check: &Arc<PeerCheck>, expected: &[Identity]) -> Arc<ClientConfig> {
        let base = tls::client_config(&options(Compliance::Default, NOW), &self.certified(), check);
        Arc::new(tls::expecting(
            &base.expect("a configuration"),
            check,
            expected.into(),
        ))
    }
}

/// Files of trust in a directory of their own.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        replace(&path, content.as_ref());
        path
    }

    pub(crate) fn roots(&self, name: &str, roots: &[&Ca]) -> PathBuf {
        self.write(name, certificate::to_pem(roots.iter().map(|ca| &ca.certificate)))
    }

    pub(crate) fn crls(&self, name: &str, lists: &[CertificateRevocationListDer<'_>]) -> PathBuf {
        let text: String = lists.iter().map(|list| encode_pem("X509 CRL", list)).collect();
        self.write(name, text)
    }
}

/// Trust in these roots and lists.
pub(crate) fn trust(
    roots: &[&Ca],
    lists: &[CertificateRevocationListDer<'_>],
    aliases: &[&str],
) -> TrustStore {
    let files = Files::new();
    let crl = match lists {
        [] => Vec::new(),
        lists => vec![files.crls("crl.pem", lists)],
    };
    TrustStore::open(&TrustOptions {
        bundle: vec![files.roots("roots.pem", roots)],
        crl,
        aliases: aliases
            .iter()
            .map(|name| name.parse().expect("well formed"))
            .collect(),
    })
    .expect("good files")
}

/// How a workload of `cluster.local` judges under this trust.
pub(crate) fn check(trust: &TrustStore) -> Arc<PeerCheck> {
    let own = identity("any").trust_domain().clone();
    Arc::new(trust.current().peer_check(&own, None).expect("a bundle"))
}

/// How a handshake in memory ended, on both sides.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) client: Result<ClientConnection, rustls::Error>,
    pub(crate) server: Result<ServerConnection, rustls::Error>,
}

impl Handshake {
    pub(crate) fn succeeded(&self) -> bool {
        self.client.is_ok() && self.server.is_ok()
    }

    /// Why the server refused the client.
    pub(crate) fn server_refusal(&self) -> Option<TlsRefusal> {
        self.server.as_ref().err().and_then(TlsRefusal::of)
    }

    /// Why the client refused the server.
    pub(crate) fn client_refusal(&self) -> Option<TlsRefusal> {
        self.client.as_ref().err().and_then(TlsRefusal::of)
    }
}

pub(crate) fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Handshake {
    let mut client = ClientConnection::new(Arc::clone(client), unnamed()).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    let (mut client_end, mut server_end) = (None, None);
    loop {
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).expect("memory");
        }
        feed(&mut server, &sent, &mut server_end);
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).expect("memory");
        }
        feed(&mut client, &answer, &mut client_end);
        if sent.is_empty() && answer.is_empty() {
            break;
        }
    }
    Handshake {
        client: client_end.map_or(Ok(client), Err),
        server: server_end.map_or(Ok(server), Err),
    }
}

fn feed<Data>(
    connection: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<Data>>,
    mut bytes: &[u8],
    end: &mut Option<rustls::Error>,
) {
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).expect("memory");
        if let Err(error) = connection.process_new_packets() {
            end.get_or_insert(error);
            return;
        }
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date(NOW - 1000 * HOUR);
    params.not_after = date(NOW + 1000 * HOUR);
    params
}

pub(crate) fn date(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from(at(seconds))
}

/// As editors and Kubernetes do it: the new file takes the place of the old one.
fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("writable");
    fs::rename(&new, path).expect("writable");
}
