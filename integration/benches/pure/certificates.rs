//! Certificates: asked for, issued, read and judged. What is read and judged is a certificate that stands beside this
//! file, so that its instructions repeat; keys and signatures are random, so those of a request and of an issue vary
//! by some in a thousand.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use adit_mesh::Identity;
use adit_pki::trust::Side;
use adit_pki::{
    Authority, Certificate, Credentials, Issued, Request, TlsOptions, TrustOptions, TrustStore, peer_identity,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::case::Case;

/// A moment at which the certificates of the files hold.
const MOMENT: Duration = Duration::from_secs(1_800_000_000);

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("key and signing request", || {
            let identity = identity();
            move || Request::new(&identity)
        }),
        Case::new("certificate issued", || {
            let (authority, identity) = (authority(), identity());
            let request = Request::new(&identity).expect("a request");
            move || {
                let signed = authority.issue(request.csr(), &identity, Duration::ZERO, SystemTime::now());
                signed.expect("a certificate")
            }
        }),
        Case::new("certificate read", || {
            let leaf = read("leaf.pem");
            move || Certificate::parse(&leaf).expect("good")
        }),
        Case::new("SPIFFE identity read", || {
            let leaf = read("leaf.pem");
            move || peer_identity(&leaf).expect("good")
        }),
        Case::new("peer's chain verified", || {
            let check = credentials().peer_check().clone();
            let (leaf, moment) = (read("leaf.pem"), UnixTime::since_unix_epoch(MOMENT));
            move || check.identify(&leaf, &[], Side::Client, moment).expect("trusted")
        }),
    ]
}

fn identity() -> Identity {
    "spiffe://cluster.local/ns/bank/sa/payments"
        .parse()
        .expect("an identity")
}

fn authority() -> Authority {
    Authority::self_signed(SystemTime::now()).expect("an authority")
}

/// Credentials that trust the root of the files.
fn credentials() -> Credentials {
    let (authority, identity) = (authority(), identity());
    let trust = TrustStore::open(&TrustOptions {
        bundle: vec![file("root.pem")],
        ..TrustOptions::default()
    });
    let request = Request::new(&identity).expect("a request");
    let signed = authority
        .issue(request.csr(), &identity, Duration::ZERO, SystemTime::now())
        .expect("a certificate");
    let issued = Issued {
        chain: vec![signed.leaf],
        key: request.into_key(),
        roots: signed.roots,
    };
    let trust = trust.expect("a good file").current();
    Credentials::new(&identity, issued, &trust, &TlsOptions::default(), 1).expect("usable")
}

fn read(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(name)).expect("a certificate")
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/pure")
        .join(name)
}
