//! Signing requests: a certificate names whom the authority authenticated and holds the key of the request, whatever
//! else the request asks for.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use adit_pki::{Authority, peer_identity};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateSigningRequestDer;

static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::self_signed(moment()).expect("an authority"));

fuzz_target!(|bytes: &[u8]| {
    let request = CertificateSigningRequestDer::from(bytes);
    let identity = adit_fuzz::workload();
    let Ok(signed) = AUTHORITY.issue(&request, &identity, Duration::ZERO, moment()) else {
        return;
    };
    assert_eq!(peer_identity(&signed.leaf), Ok(identity));
    let (_, leaf) = x509_parser::parse_x509_certificate(&signed.leaf).expect("we made it");
    assert!(!leaf.is_ca(), "a request made an authority");
    let key = &leaf.public_key().subject_public_key.data;
    assert!(
        bytes.windows(key.len()).any(|window| window == &**key),
        "the key is not the request's"
    );
});

fn moment() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(adit_fuzz::NOW)
}
