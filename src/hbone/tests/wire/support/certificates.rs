//! An authority and certificates of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_mesh::Identity;
use adit_pki::{Authority, Credentials, Issued, Request, TlsOptions, TrustOptions, TrustStore};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

/// An authority whose key the tests know, so that they can revoke.
pub struct Ca {
    authority: Authority,
    root: CertificateDer<'static>,
    key: String,
}

impl Ca {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "a root of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).expect("a root").der().clone();
        let pem = key.serialize_pem();
        let authority = Authority::new(key, vec![root.clone()], vec![root.clone()]).expect("an authority");
        Self {
            authority,
            root,
            key: pem,
        }
    }

    /// Credentials of `spiffe://cluster.local/ns/bank/sa/<account>`.
    pub fn credentials(&self, account: &str) -> Arc<Credentials> {
        self.credentials_of(
            &format!("spiffe://cluster.local/ns/bank/sa/{account}"),
            &TrustOptions::default(),
        )
    }

    pub fn credentials_of(&self, identity: &str, trust: &TrustOptions) -> Arc<Credentials> {
        let identity: Identity = identity.parse().expect("an identity");
        let request = Request::new(&identity).expect("a request");
        let signed = self
            .authority
            .issue(request.csr(), &identity, Duration::ZERO, SystemTime::now())
            .expect("a certificate");
        let issued = Issued {
            chain: vec![signed.leaf],
            key: request.into_key(),
            roots: signed.roots,
        };
        let trust = TrustStore::open(trust).expect("trust").current();
        let made = Credentials::new(&identity, issued, &trust, &TlsOptions::default(), 1);
        Arc::new(made.expect("credentials"))
    }

    /// A revocation list that names `revoked`, as DER.
    pub fn revoke(&self, revoked: &Credentials) -> Vec<u8> {
        let key = KeyPair::from_pem(&self.key).expect("the key");
        let issuer = Issuer::from_ca_cert_der(&self.root, key).expect("an issuer");
        let serial = revoked.serial();
        let digits: Vec<u8> = serial.bytes().filter(u8::is_ascii_hexdigit).collect();
        let serial: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("a byte"))
            .collect();
        let now = OffsetDateTime::now_utc();
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::from_secs(3600),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial),
                revocation_time: now,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&issuer).expect("a list").der().to_vec()
    }
}
