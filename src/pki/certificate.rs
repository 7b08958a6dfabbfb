//! Reading certificates: whose they are and how long they hold.
//!
//! A workload's certificate has exactly one URI among its subject alternative names (X.509-SVID
//! specification, section 2), and that URI is read strictly. Taking the first that happens to parse, as
//! others do, would let a certificate mean different workloads to different readers.

use std::time::{Duration, SystemTime};

use adit_mesh::{Identity, InvalidIdentity};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// What the mesh needs to know about a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// From when on it holds, in whole seconds.
    pub not_before: SystemTime,
    /// Until when it holds, in whole seconds.
    pub not_after: SystemTime,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// [`InvalidCertificate::Encoding`] if it is not one certificate and nothing else.
    pub fn parse(der: &CertificateDer<'_>) -> Result<Self, InvalidCertificate> {
        let certificate = parse(der)?;
        let serial = certificate.raw_serial();
        let leading_zeros = serial.iter().take_while(|byte| **byte == 0).count();
        let validity = certificate.validity();
        Ok(Self {
            serial: serial[leading_zeros..].to_vec(),
            not_before: system_time(validity.not_before),
            not_after: system_time(validity.not_after),
        })
    }

    /// The serial number as `openssl` and `istioctl` print it: lower-case hexadecimal.
    pub fn serial_text(&self) -> String {
        self.serial.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The SPIFFE identity of the owner of a certificate.
///
/// # Errors
/// Any certificate that does not have exactly one URI among its names, or whose URI is not the identity of a
/// workload.
pub fn peer_identity(leaf: &CertificateDer<'_>) -> Result<Identity, InvalidCertificate> {
    let certificate = parse(leaf)?;
    // An extension that occurs twice is an error here (RFC 5280, section 4.2).
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| InvalidCertificate::Encoding)?
        .ok_or(InvalidCertificate::NoUri)?;
    // A name that cannot be read, such as a URI that is not text, may be a second one to another reader.
    let unreadable = |name: &GeneralName<'_>| matches!(name, GeneralName::Invalid(..));
    if names.value.general_names.iter().any(unreadable) {
        return Err(InvalidCertificate::Encoding);
    }
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (None, _) => Err(InvalidCertificate::NoUri),
        (Some(_), Some(_)) => Err(InvalidCertificate::SeveralUris),
        (Some(uri), None) => uri.parse().map_err(InvalidCertificate::Identity),
    }
}

/// What the key of a certificate may sign (RFC 5280, section 4.2.1.3). A certificate that does not say allows both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyUses {
    /// Handshakes, and nothing that an authority signs (X.509-SVID specification, section 4.3).
    pub(crate) handshakes: bool,
    /// Certificates.
    pub(crate) certificates: bool,
}

impl KeyUses {
    /// Reads what a certificate says.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Result<Self, InvalidCertificate> {
        let certificate = parse(der)?;
        let usage = certificate
            .key_usage()
            .map_err(|_| InvalidCertificate::Encoding)?;
        Ok(usage.map_or(
            Self {
                handshakes: true,
                certificates: true,
            },
            |usage| Self {
                handshakes: usage.value.digital_signature()
                    && !usage.value.key_cert_sign()
                    && !usage.value.crl_sign(),
                certificates: usage.value.key_cert_sign(),
            },
        ))
    }
}

/// How many authorities an authority allows between itself and a workload, where it says so.
///
/// # Errors
/// The certificate cannot be read, or is not an authority's.
pub(crate) fn path_length(authority: &CertificateDer<'_>) -> Result<Option<u32>, NotAnAuthority> {
    let certificate = parse(authority).map_err(|_| NotAnAuthority)?;
    let constraints = certificate.basic_constraints().map_err(|_| NotAnAuthority)?;
    match constraints {
        Some(constraints)
            if constraints.value.ca && KeyUses::of(authority).is_ok_and(|uses| uses.certificates) =>
        {
            Ok(constraints.value.path_len_constraint)
        }
        _ => Err(NotAnAuthority),
    }
}

/// Writes certificates as PEM, one after another.
pub fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    certificates
        .into_iter()
        .map(|der| encode_pem("CERTIFICATE", der))
        .collect()
}

/// Writes one PEM block (RFC 7468).
pub(crate) fn encode_pem(label: &str, der: &[u8]) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), lines)
}

/// A certificate that is no authority's was given for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotAnAuthority;

/// Why a certificate cannot be a workload's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidCertificate {
    /// The bytes are not one certificate.
    #[error("the certificate cannot be read")]
    Encoding,
    /// No URI among the subject alternative names.
    #[error("the certificate names no SPIFFE identity: it has no URI among its subject alternative names")]
    NoUri,
    /// More than one URI, so that it could mean more than one workload.
    #[error(
        "the certificate has more than one URI among its subject alternative names; exactly one is allowed"
    )]
    SeveralUris,
    /// The URI is not the identity of a workload.
    #[error("the certificate's URI is not the identity of a workload: {0}")]
    Identity(InvalidIdentity),
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, InvalidCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(InvalidCertificate::Encoding),
    }
}

fn system_time(time: ASN1Time) -> SystemTime {
    // No certificate of a workload is older than 1970; one that claims so holds from the epoch on.
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use rcgen::SanType;
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::fixtures::{Ca, HOUR, Leaf, NOW, at, identity, uri};

    fn leaf() -> CertificateDer<'static> {
        Ca::root("root")
            .issue(Leaf::of(&identity("payments")))
            .chain
            .remove(0)
    }

    #[test]
    fn a_certificate_tells_its_serial_number_and_its_time() {
        let certificate = Certificate::parse(&leaf()).expect("well formed");
        assert_eq!(certificate.serial_text(), "4d");
        assert_eq!(
            (certificate.not_before, certificate.not_after),
            (at(NOW - HOUR), at(NOW + HOUR))
        );
        // DER puts a zero before a number whose first bit is set.
        let high = Leaf {
            serial: 0xc8,
            ..Leaf::of(&identity("payments"))
        };
        let chain = Ca::root("root").issue(high).chain;
        assert_eq!(
            Certificate::parse(&chain[0]).map(|one| one.serial_text()),
            Ok("c8".to_owned())
        );
    }

    #[test]
    fn what_follows_a_certificate_is_refused() {
        let mut der = leaf().to_vec();
        der.push(0);
        assert_eq!(peer_identity(&der.into()), Err(InvalidCertificate::Encoding));
    }

    #[test]
    fn pem_reads_back() {
        let certificates = [leaf(), leaf()];
        let text = to_pem(&certificates);
        let back: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        assert_eq!(back.expect("PEM"), certificates);
    }

    #[test]
    fn the_longest_identity_is_read() {
        let name = "a".repeat(1024);
        let names: Vec<SanType> = vec![uri(&format!("spiffe://cluster.local/ns/bank/sa/{name}"))];
        let long = Leaf {
            names,
            ..Leaf::of(&identity("a"))
        };
        let chain = Ca::root("root").issue(long).chain;
        assert_eq!(peer_identity(&chain[0]), Ok(identity(&name)));
    }

    #[test]
    fn damaged_certificates_are_errors_or_identities_but_never_a_panic() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        println!("seed {seed}");
        let whole = leaf();
        for _ in 0..20_000 {
            let mut der = whole.to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..der.len());
                der[at] = random.u8(..);
            }
            der.truncate(random.usize(..2 * der.len()));
            let der = CertificateDer::from(der);
            let _ = (peer_identity(&der), Certificate::parse(&der));
        }
    }
}
