use rustls_pki_types::UnixTime;
use x509_parser::extensions::ParsedExtension;

use super::*;
use crate::Request;
use crate::certificate::peer_identity;
use crate::fixtures::{HOUR, NOW, at, identity};
use crate::trust::{Side, TrustOptions, TrustStore};

fn issue(ttl: Duration) -> Result<Signed, SignError> {
    let authority = Authority::self_signed(at(NOW)).expect("a root");
    let request = Request::new(&identity("payments")).expect("a request");
    authority.issue(request.csr(), &identity("payments"), ttl, at(NOW))
}

#[test]
fn a_certificate_has_the_shape_of_istio() {
    let signed = issue(Duration::from_secs(HOUR)).expect("issued");
    let (_, leaf) = x509_parser::parse_x509_certificate(&signed.leaf).expect("well formed");
    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf.subject_alternative_name().expect("once").expect("present");
    assert!(names.critical);
    assert_eq!(peer_identity(&signed.leaf), Ok(identity("payments")));
    let usage = leaf.key_usage().expect("once").expect("present").value;
    assert!(usage.digital_signature() && usage.key_encipherment());
    assert_eq!(usage.flags.count_ones(), 2);
    let purposes = leaf.extended_key_usage().expect("once").expect("present").value;
    assert!(purposes.server_auth && purposes.client_auth && !purposes.any);
    assert!(!leaf.is_ca());
    let identifier = |extension: &&x509_parser::extensions::X509Extension<'_>| {
        matches!(
            extension.parsed_extension(),
            ParsedExtension::AuthorityKeyIdentifier(_)
        )
    };
    assert_eq!(leaf.extensions().iter().filter(identifier).count(), 1);
}

#[test]
fn a_certificate_holds_from_two_minutes_ago_for_the_time_asked_for() {
    let signed = issue(Duration::from_secs(HOUR)).expect("issued");
    let certificate = Certificate::parse(&signed.leaf).expect("well formed");
    assert_eq!(certificate.not_before, at(NOW - 120));
    assert_eq!(certificate.not_after, at(NOW + HOUR));
    let default = Certificate::parse(&issue(Duration::ZERO).expect("issued").leaf).expect("well formed");
    assert_eq!(default.not_after, at(NOW + 24 * HOUR));
}

#[test]
fn nobody_gets_more_time_than_is_allowed() {
    let too_long = LONGEST_TTL + Duration::from_secs(1);
    assert_eq!(issue(too_long), Err(SignError::TtlTooLong));
    assert!(issue(LONGEST_TTL).is_ok());
}

#[test]
fn a_certificate_does_not_outlive_its_signer() {
    let authority = Authority::self_signed(at(NOW)).expect("a root");
    let end = at(NOW) + ROOT_TTL;
    let request = Request::new(&identity("payments")).expect("a request");
    let issue = |now| {
        authority.issue(
            request.csr(),
            &identity("payments"),
            Duration::from_secs(HOUR),
            now,
        )
    };
    let signed = issue(end - Duration::from_secs(60)).expect("issued");
    assert_eq!(
        Certificate::parse(&signed.leaf).expect("well formed").not_after,
        end
    );
    assert_eq!(issue(end), Err(SignError::AuthorityExpired));
}

#[test]
fn the_identity_is_the_authenticated_one_whatever_the_request_says() {
    let authority = Authority::self_signed(at(NOW)).expect("a root");
    let request = Request::new(&identity("admin")).expect("a request");
    let signed = authority.issue(request.csr(), &identity("payments"), Duration::ZERO, at(NOW));
    assert_eq!(
        peer_identity(&signed.expect("issued").leaf),
        Ok(identity("payments"))
    );
}

#[test]
fn a_request_must_prove_possession_of_its_key() {
    let authority = Authority::self_signed(at(NOW)).expect("a root");
    let request = Request::new(&identity("payments")).expect("a request");
    let mut der = request.csr().to_vec();
    // The last byte belongs to the signature.
    if let Some(last) = der.last_mut() {
        *last ^= 1;
    }
    let issue = |der: Vec<u8>| authority.issue(&der.into(), &identity("payments"), Duration::ZERO, at(NOW));
    assert_eq!(issue(der), Err(SignError::Possession));
    assert_eq!(issue(b"nonsense".to_vec()), Err(SignError::Request));
    let mut trailing = request.csr().to_vec();
    trailing.push(0);
    assert_eq!(issue(trailing), Err(SignError::Request));
}

#[test]
fn serial_numbers_have_128_bits_and_differ() {
    let serial = || {
        let signed = issue(Duration::ZERO).expect("issued");
        Certificate::parse(&signed.leaf).expect("well formed").serial
    };
    let (one, other) = (serial(), serial());
    assert_eq!((one.len(), other.len()), (16, 16));
    assert_ne!(one, other);
}

#[test]
fn a_chain_goes_from_the_certificate_over_the_intermediates_to_the_roots() {
    let root = Authority::self_signed(at(NOW)).expect("a root");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_after = OffsetDateTime::from(at(NOW + HOUR));
    let intermediate = params
        .signed_by(&key, &root.issuer)
        .expect("an intermediate")
        .der()
        .clone();
    let top = root.roots()[0].clone();
    let authority = Authority::new(key, vec![intermediate.clone(), top.clone()], vec![top.clone()]);
    let request = Request::new(&identity("payments")).expect("a request");
    let signed = authority
        .expect("belong together")
        .issue(request.csr(), &identity("payments"), Duration::ZERO, at(NOW))
        .expect("issued");
    assert_eq!(signed.intermediates, [intermediate]);
    assert_eq!(signed.roots, [top]);
    assert_eq!(signed.pem_chain().len(), 3);
    let trust = TrustStore::open(&TrustOptions::default())
        .expect("no files")
        .current();
    let roots = crate::trust::Roots::new(signed.roots).expect("a root");
    let check = trust
        .peer_check(identity("a").trust_domain(), Some(roots.into()))
        .expect("roots");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let who = check.identify(&signed.leaf, &signed.intermediates, Side::Client, now);
    assert_eq!(who, Ok(identity("payments")));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let one = Authority::self_signed(at(NOW)).expect("a root");
    let other = KeyPair::generate().expect("a key");
    let chain = one.roots().to_vec();
    let refused = Authority::new(other, chain.clone(), chain).map(|_| ());
    assert_eq!(refused, Err(SignError::KeyMismatch));
    let nobody = Authority::new(KeyPair::generate().expect("a key"), vec![], vec![]).map(|_| ());
    assert_eq!(nobody, Err(SignError::EmptyChain));
}
