//! Revocation lists, DER or PEM: no list makes a stranger trusted, and none takes a workload's certificate away that
//! its own authority has not signed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use adit_pki::TlsRefusal;
use adit_pki::trust::Side;

const WORKLOAD: &[u8] = include_bytes!("../corpus/certificate/workload.der");
const STRANGER: &[u8] = include_bytes!("../corpus/certificate/stranger.der");
/// The only list that the root has signed in which the workload's certificate stands.
const REVOKING: &[u8] = include_bytes!("../corpus/crl/revoking.der");

fuzz_target!(|bytes: &[u8]| {
    let Some(check) = adit_fuzz::check(&[(adit_fuzz::nowhere(), bytes)]) else {
        return;
    };
    let judge = |der: &[u8]| check.identify(&CertificateDer::from(der), &[], Side::Client, adit_fuzz::now());
    assert_eq!(judge(STRANGER), Err(TlsRefusal::Untrusted));
    match judge(WORKLOAD) {
        Ok(identity) => assert_eq!(identity, adit_fuzz::workload()),
        Err(TlsRefusal::RevocationUnknown) => {}
        Err(TlsRefusal::Revoked) => assert!(holds_signed_part(bytes), "revoked by what nobody signed"),
        Err(other) => panic!("a list cannot make it {other:?}"),
    }
});

/// Whether the signed part of [`REVOKING`] stands in one of the lists.
fn holds_signed_part(bytes: &[u8]) -> bool {
    let (_, list) = element(REVOKING);
    let (part, _) = element(list);
    let lists = CertificateRevocationListDer::pem_slice_iter(bytes).filter_map(Result::ok);
    let holds = |list: &[u8]| list.windows(part.len()).any(|window| window == part);
    holds(bytes) || lists.into_iter().any(|list| holds(&list))
}

/// The first element of DER, whole, and what is in it and after it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = match usize::from(der[1]) {
        short @ ..=0x7f => (2, short),
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        _ => panic!("longer than a list of ours"),
    };
    (&der[..header + length], &der[header..])
}
