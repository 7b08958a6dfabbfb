//! With which algorithms certificates may be signed.

use std::path::Path;

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{BOTH, Row, judge, payments};
use crate::certificate::{InvalidCertificate as C, to_pem};
use crate::fixtures::{Ca, check, trust};
use crate::refusal::{ChainRule, TlsRefusal as R};
use crate::trust::{Side, Trust};

#[test]
fn strong_algorithms_are_accepted() {
    let with = |name, algorithm: &'static SignatureAlgorithm| {
        let root = Ca::root("the root");
        let peer = root
            .below("i", algorithm, |_| {})
            .issue_with(payments(), algorithm, |_| {});
        Row::new(name, vec![root], peer, Ok(()))
    };
    judge(vec![
        with("ECDSA on P-256", &PKCS_ECDSA_P256_SHA256),
        with("ECDSA on P-384", &PKCS_ECDSA_P384_SHA384),
        with("ECDSA on P-521", &PKCS_ECDSA_P521_SHA512),
        with("Ed25519", &PKCS_ED25519),
    ]);
}

/// Made by OpenSSL, because rcgen makes nothing weak: `openssl req -x509 -newkey rsa:<bits>` for the root,
/// `openssl x509 -req -<digest>` for the leaf, which comes first.
#[test]
fn weak_algorithms_are_refused() {
    let rows: [(&str, &[u8], _); 4] = [
        ("RSA of 2048 bits", include_bytes!("weak/rsa2048.pem"), Ok(())),
        (
            "SHA-1",
            include_bytes!("weak/sha1.pem"),
            Err(R::RuleBroken(ChainRule::Algorithm)),
        ),
        // The library takes no signature of so short a key for one.
        (
            "RSA of 1024 bits",
            include_bytes!("weak/rsa1024.pem"),
            Err(R::Untrusted),
        ),
        (
            "version 1, without extensions",
            include_bytes!("weak/version1.pem"),
            Err(R::Invalid(C::Encoding)),
        ),
    ];
    for (name, pem, expected) in rows {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .map(|der| der.expect("PEM"))
            .collect();
        let bundle = to_pem(&chain[1..]);
        let path = Path::new("roots.pem");
        let trust = Trust::read(&[(path, bundle.as_bytes())], &[], &[]).expect("a root");
        let check = trust.peer_check(&Default::default(), None).expect("a root");
        let now = super::now();
        for side in BOTH {
            assert_eq!(
                check.identify(&chain[0], &[], *side, now).map(drop),
                expected,
                "{name}"
            );
        }
    }
}

#[test]
fn an_algorithm_that_nobody_knows_is_refused() {
    let root = Ca::root("the root");
    let mut der = root.issue(payments()).chain[0].to_vec();
    // ecdsa-with-SHA256, 1.2.840.10045.4.3.2, inside of the signed part and outside of it.
    let known = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let places: Vec<_> = der
        .windows(8)
        .enumerate()
        .filter(|(_, window)| **window == known)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 2);
    let judge = |der: &[u8]| {
        let now = super::now();
        check(&trust(&[&root], &[], &[]))
            .identify(&CertificateDer::from(der), &[], Side::Client, now)
            .map(drop)
    };
    der[places[1] + 7] = 0x7f;
    assert_eq!(judge(&der), Err(R::Untrusted), "the two places differ");
    der[places[0] + 7] = 0x7f;
    assert_eq!(judge(&der), Err(R::RuleBroken(ChainRule::Algorithm)));
}
