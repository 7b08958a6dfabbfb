//! The rustls verifiers: [`PeerCheck`] on both sides, then who it may be.

use std::sync::Arc;

use adit_mesh::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Compliance, provider};
use crate::refusal::TlsRefusal;
use crate::trust::{PeerCheck, Side};

/// Judges clients: a certificate is mandatory, any workload of an accepted trust domain may speak.
#[derive(Debug)]
pub(super) struct Clients {
    check: Arc<PeerCheck>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    pub(super) fn new(check: Arc<PeerCheck>) -> Self {
        let algorithms = algorithms();
        Self { check, algorithms }
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A hint is of use to clients with several certificates; ours have one. It would cost bytes in every
        // handshake and tell strangers whom we trust.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let peer = self
            .check
            .identify(end_entity, intermediates, Side::Client, now)?;
        if !self.check.accepts(peer.trust_domain()) {
            return Err(TlsRefusal::ForeignTrustDomain(peer).into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Judges servers: one of the expected workloads, nobody else.
#[derive(Debug)]
pub(super) struct Servers {
    check: Arc<PeerCheck>,
    expected: Arc<[Identity]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Servers {
    pub(super) fn new(check: Arc<PeerCheck>, expected: Arc<[Identity]>) -> Self {
        let algorithms = algorithms();
        Self {
            check,
            expected,
            algorithms,
        }
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = self
            .check
            .identify(end_entity, intermediates, Side::Server, now)?;
        if !self.expected.contains(&presented) {
            let expected = Arc::clone(&self.expected);
            return Err(TlsRefusal::WrongIdentity { presented, expected }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What signatures are accepted; the compliance policy is about key exchange and does not change them.
fn algorithms() -> WebPkiSupportedAlgorithms {
    provider(Compliance::Default).signature_verification_algorithms
}
