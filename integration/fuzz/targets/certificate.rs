//! Certificates: two parsers that share nothing (x509-parser, by which we name a peer, and webpki, by which its chain
//! is verified) find the same identity in one, so that it cannot mean two workloads.

#![no_main]

use adit_pki::{Certificate, peer_identity};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

fuzz_target!(|bytes: &[u8]| {
    let der = CertificateDer::from(bytes);
    if let Ok(certificate) = Certificate::parse(&der) {
        assert!(certificate.serial.first().is_none_or(|first| *first != 0));
        assert_eq!(certificate.serial_text().len(), 2 * certificate.serial.len());
    }
    let Ok(identity) = peer_identity(&der) else { return };
    let id = identity.to_string();
    assert!(
        bytes.windows(id.len()).any(|window| window == id.as_bytes()),
        "{id} does not stand in it"
    );
    if let Ok(certificate) = EndEntityCert::try_from(&der) {
        let names: Vec<_> = certificate.valid_uri_names().collect();
        assert_eq!(names, [id], "the verifier reads other names");
    }
});
