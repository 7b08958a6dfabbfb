//! Certificates that are refused, as both sides see it.

use std::io::Write;
use std::sync::Arc;

use adit_hbone::Failure;
use adit_mesh::Outcome;
use adit_pki::{Credentials, TrustOptions};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tempfile::NamedTempFile;

use crate::support::certificates::Ca;
use crate::support::server::Server;
use crate::support::{Client, connect, run, settings};

/// The failures of client and server when `client` calls `server` and expects `expected`.
async fn refused(
    client: &Arc<Credentials>,
    server: &Arc<Credentials>,
    expected: &Credentials,
) -> (Failure, Failure) {
    let mut listening = Server::echo(server, settings()).await;
    let calling = Client::new(listening.address, client, expected, settings());
    let ours = calling.open().await.err().expect("no stream");
    assert!(calling.pool.is_empty());
    let theirs = listening
        .ends
        .recv()
        .await
        .expect("an end")
        .expect_err("a failure");
    (ours, theirs)
}

#[test]
fn a_server_of_another_identity() {
    run(async {
        let ca = Ca::new();
        let (web, ledger, intruder) = (
            ca.credentials("web"),
            ca.credentials("ledger"),
            ca.credentials("intruder"),
        );
        let (ours, theirs) = refused(&web, &intruder, &ledger).await;
        assert_eq!(ours.outcome, Outcome::IdentityMismatch);
        assert!(
            ours.detail.contains("sa/intruder") && ours.detail.contains("sa/ledger"),
            "{ours}"
        );
        assert_eq!(theirs.outcome, Outcome::TlsFailed);
    });
}

#[test]
fn a_client_of_a_foreign_trust_domain() {
    run(async {
        let ca = Ca::new();
        let foreign = ca.credentials_of(
            "spiffe://elsewhere.example/ns/bank/sa/web",
            &TrustOptions::default(),
        );
        let ledger = ca.credentials("ledger");
        let (ours, theirs) = refused(&foreign, &ledger, &ledger).await;
        assert_eq!(theirs.outcome, Outcome::IdentityMismatch);
        assert!(theirs.detail.contains("elsewhere.example"), "{theirs}");
        // In TLS 1.3 the client hears of it after its own handshake.
        assert_eq!(ours.outcome, Outcome::TlsFailed, "{ours}");
    });
}

#[test]
fn peers_of_another_authority() {
    run(async {
        let (ca, other) = (Ca::new(), Ca::new());
        let (web, ledger) = (ca.credentials("web"), other.credentials("ledger"));
        let (ours, theirs) = refused(&web, &ledger, &ledger).await;
        assert_eq!(
            (ours.outcome, theirs.outcome),
            (Outcome::TlsFailed, Outcome::TlsFailed)
        );
    });
}

#[test]
fn a_revoked_server_and_a_revoked_client() {
    run(async {
        let ca = Ca::new();
        let revoked = ca.credentials("revoked");
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(&ca.revoke(&revoked)).expect("written");
        let trust = TrustOptions {
            crl: vec![file.path().to_owned()],
            ..TrustOptions::default()
        };
        let careful = ca.credentials_of("spiffe://cluster.local/ns/bank/sa/careful", &trust);
        let (ours, theirs) = refused(&careful, &revoked, &revoked).await;
        assert_eq!(
            (ours.outcome, theirs.outcome),
            (Outcome::CertificateRevoked, Outcome::TlsFailed)
        );
        let (ours, theirs) = refused(&revoked, &careful, &careful).await;
        assert_eq!(
            (ours.outcome, theirs.outcome),
            (Outcome::TlsFailed, Outcome::CertificateRevoked)
        );
    });
}

#[derive(Debug)]
struct Anonymous;

impl ResolvesClientCert for Anonymous {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_client_without_a_certificate() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let mut server = Server::echo(&ledger, settings()).await;
        let mut config = ClientConfig::clone(&web.client_config(&[ledger.identity().clone()].into()));
        config.client_auth_cert_resolver = Arc::new(Anonymous);
        let socket = tokio::net::TcpStream::connect(server.address)
            .await
            .expect("a server");
        let connection = adit_hbone::client::Connection::establish(
            socket,
            Default::default(),
            Arc::new(config),
            &settings(),
        )
        .await
        .expect("the client's part of the handshake");
        let ours = connection.open(connect(), settings().deadlines.answer).await;
        assert!(ours.is_err());
        let theirs = server.ends.recv().await.expect("an end").expect_err("a failure");
        assert_eq!(theirs.outcome, Outcome::TlsFailed);
        assert!(theirs.detail.contains("certificate"), "{theirs}");
    });
}
