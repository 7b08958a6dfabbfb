mod chains;

use std::io::Write;
use std::sync::Arc;

use adit_mesh::{Identity, Outcome};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{CipherSuite, ClientConfig, NamedGroup, ProtocolVersion};

use super::*;
use crate::certificate::InvalidCertificate;
use crate::fixtures::{
    Ca, HOUR, Handshake, Leaf, NOW, check, dns, handshake, identity, options, spiffe, trust, uri,
};
use crate::refusal::{TlsRefusal, outcome_of};
use crate::{Credentials, TrustStore};

/// A server `ledger` and a client `payments`, under the same root unless told otherwise.
struct Mesh {
    root: Ca,
    trust: TrustStore,
}

impl Mesh {
    fn new() -> Self {
        let root = Ca::root("root");
        let trust = trust(&[&root], &[], &[]);
        Self { root, trust }
    }

    fn credentials(&self, who: &Identity, compliance: Compliance) -> Credentials {
        let leaf = Leaf {
            serial: 1,
            ..Leaf::of(who)
        };
        let issued = self.root.issue(leaf).issued(vec![]);
        let options = options(compliance, NOW);
        Credentials::new(who, issued, &self.trust.current(), &options, 1).expect("good")
    }

    /// The server's judgement of a client with this certificate.
    fn accept(&self, client: Leaf) -> Handshake {
        let check = check(&self.trust);
        let server = self.credentials(&identity("ledger"), Compliance::Default);
        let client = self.root.issue(client).client(&check, &[identity("ledger")]);
        handshake(&server.server_config(), &client)
    }

    /// The client's judgement of a server with this certificate.
    fn connect(&self, server: Leaf, expected: &[Identity]) -> Handshake {
        let client = self.credentials(&identity("payments"), Compliance::Default);
        let server = self.root.issue(server).server(&check(&self.trust));
        handshake(&server, &client.client_config(&expected.into()))
    }
}

fn payments() -> Leaf {
    Leaf::of(&identity("payments"))
}

fn ledger() -> Leaf {
    Leaf::of(&identity("ledger"))
}

#[test]
fn two_workloads_of_a_mesh_agree_on_the_best_of_everything() {
    let mesh = Mesh::new();
    let server = mesh.credentials(&identity("ledger"), Compliance::Default);
    let client = mesh.credentials(&identity("payments"), Compliance::Default);
    let ended = handshake(
        &server.server_config(),
        &client.client_config(&[identity("ledger")].into()),
    );
    let (client, mut server) = (ended.client.expect("accepted"), ended.server.expect("accepted"));
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let suite = client.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(CipherSuite::TLS13_AES_256_GCM_SHA384));
    let group = client.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(server.server_name(), None);
    assert_eq!(client.tls13_tickets_received(), 0);
    let peer = server.peer_certificates().expect("mandatory");
    assert_eq!(crate::peer_identity(&peer[0]), Ok(identity("payments")));
    server.writer().write_all(b"usable").expect("established");
}

#[test]
fn a_server_is_one_of_those_expected() {
    let mesh = Mesh::new();
    let expected = [identity("ledger"), identity("ledger-canary")];
    assert!(mesh.connect(ledger(), &expected).succeeded());
    assert!(
        mesh.connect(Leaf::of(&identity("ledger-canary")), &expected)
            .succeeded()
    );
}

#[test]
fn refuses_a_server_of_another_identity() {
    let ended = Mesh::new().connect(payments(), &[identity("ledger")]);
    let expected = TlsRefusal::WrongIdentity {
        presented: identity("payments"),
        expected: [identity("ledger")].into(),
    };
    assert_eq!(ended.client_refusal(), Some(expected));
    assert_eq!(
        ended.client.as_ref().map(|_| ()).map_err(outcome_of),
        Err(Outcome::IdentityMismatch)
    );
}

#[test]
fn refuses_every_server_when_nobody_is_expected() {
    let ended = Mesh::new().connect(ledger(), &[]);
    assert!(matches!(
        ended.client_refusal(),
        Some(TlsRefusal::WrongIdentity { .. })
    ));
}

#[test]
fn refuses_the_same_name_in_another_trust_domain() {
    let ended = Mesh::new().connect(
        Leaf::of(&spiffe("other.example", "ledger")),
        &[identity("ledger")],
    );
    assert!(matches!(
        ended.client_refusal(),
        Some(TlsRefusal::WrongIdentity { .. })
    ));
}

#[test]
fn denies_a_client_of_another_trust_domain() {
    let stranger = spiffe("other.example", "payments");
    let ended = Mesh::new().accept(Leaf::of(&stranger));
    assert_eq!(
        ended.server_refusal(),
        Some(TlsRefusal::ForeignTrustDomain(stranger))
    );
}

#[test]
fn accepts_a_client_of_an_aliased_trust_domain() {
    let root = Ca::root("root");
    let trust = trust(&[&root], &[], &["old.example"]);
    let mesh = Mesh { root, trust };
    assert!(
        mesh.accept(Leaf::of(&spiffe("old.example", "payments")))
            .succeeded()
    );
    assert!(mesh.accept(payments()).succeeded());
    assert!(
        !mesh
            .accept(Leaf::of(&spiffe("third.example", "payments")))
            .succeeded()
    );
}

#[test]
fn denies_a_client_without_a_certificate() {
    let mesh = Mesh::new();
    let server = mesh.credentials(&identity("ledger"), Compliance::Default);
    let check = check(&mesh.trust);
    let verifier = verify::Servers::new(check, [identity("ledger")].into());
    let mut anonymous = ClientConfig::builder_with_details(
        provider(Compliance::Default),
        options(Compliance::Default, NOW).time,
    )
    .with_protocol_versions(&[&TLS13])
    .expect("supported")
    .dangerous()
    .with_custom_certificate_verifier(Arc::new(verifier))
    .with_no_client_auth();
    anonymous.alpn_protocols = vec![ALPN.to_vec()];
    let ended = handshake(&server.server_config(), &Arc::new(anonymous));
    assert_eq!(ended.server_refusal(), Some(TlsRefusal::NoCertificate));
}

#[test]
fn denies_a_client_that_does_not_speak_h2() {
    let mesh = Mesh::new();
    let server = mesh.credentials(&identity("ledger"), Compliance::Default);
    let check = check(&mesh.trust);
    let mut client = (*mesh.root.issue(payments()).client(&check, &[identity("ledger")])).clone();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let ended = handshake(&server.server_config(), &Arc::new(client));
    assert!(matches!(ended.server, Err(rustls::Error::NoApplicationProtocol)));
    assert_eq!(
        ended.server.as_ref().map(|_| ()).map_err(outcome_of),
        Err(Outcome::TlsFailed)
    );
}

#[test]
fn denies_a_certificate_outside_its_time() {
    let expired = Leaf {
        not_after: NOW - 1,
        ..payments()
    };
    assert_eq!(
        Mesh::new().accept(expired).server_refusal(),
        Some(TlsRefusal::Expired)
    );
    let early = Leaf {
        not_before: NOW + 1,
        not_after: NOW + HOUR,
        ..payments()
    };
    assert_eq!(
        Mesh::new().accept(early).server_refusal(),
        Some(TlsRefusal::NotYetValid)
    );
    let expired = Leaf {
        not_after: NOW - 1,
        ..ledger()
    };
    let ended = Mesh::new().connect(expired, &[identity("ledger")]);
    assert_eq!(ended.client_refusal(), Some(TlsRefusal::Expired));
}

#[test]
fn denies_a_certificate_that_does_not_name_exactly_one_workload() {
    use InvalidCertificate as I;
    let me = identity("payments").to_string();
    let twice = vec![uri(&me), uri(&identity("ledger").to_string())];
    let cases = [
        (vec![], I::NoUri),
        (vec![dns("payments.bank.svc")], I::NoUri),
        (twice, I::SeveralUris),
        (vec![uri(&me), uri("https://payments.example")], I::SeveralUris),
        (
            vec![uri("spiffe://cluster.local/ns/bank/sa/payments/")],
            I::Identity(adit_mesh::InvalidIdentity::Path),
        ),
        (
            vec![uri("https://payments.example")],
            I::Identity(adit_mesh::InvalidIdentity::Scheme),
        ),
    ];
    for (names, reason) in cases {
        let ended = Mesh::new().accept(Leaf { names, ..payments() });
        assert_eq!(ended.server_refusal(), Some(TlsRefusal::Invalid(reason)));
    }
}

#[test]
fn a_dns_name_beside_the_identity_does_no_harm() {
    let names = vec![dns("payments.bank.svc"), uri(&identity("payments").to_string())];
    assert!(Mesh::new().accept(Leaf { names, ..payments() }).succeeded());
}

#[test]
fn denies_a_certificate_for_another_purpose() {
    let server_only = Leaf {
        purposes: vec![ExtendedKeyUsagePurpose::ServerAuth],
        ..payments()
    };
    assert_eq!(
        Mesh::new().accept(server_only).server_refusal(),
        Some(TlsRefusal::WrongPurpose)
    );
    let client_only = Leaf {
        purposes: vec![ExtendedKeyUsagePurpose::ClientAuth],
        ..ledger()
    };
    let ended = Mesh::new().connect(client_only, &[identity("ledger")]);
    assert_eq!(ended.client_refusal(), Some(TlsRefusal::WrongPurpose));
}

#[test]
fn denies_a_certificate_of_another_root() {
    let mesh = Mesh::new();
    let server = mesh.credentials(&identity("ledger"), Compliance::Default);
    // The same name, another key: only the signature tells them apart.
    let impostor = Ca::root("root").issue(payments());
    let ended = handshake(
        &server.server_config(),
        &impostor.client(&check(&mesh.trust), &[identity("ledger")]),
    );
    assert_eq!(ended.server_refusal(), Some(TlsRefusal::Untrusted));
}

#[test]
fn while_a_root_is_replaced_both_are_trusted() {
    let (old, new) = (Ca::root("old"), Ca::root("new"));
    let trust = trust(&[&old, &new], &[], &[]);
    let check = check(&trust);
    let old_server = old.issue(ledger()).server(&check);
    let new_client = new.issue(payments()).client(&check, &[identity("ledger")]);
    assert!(handshake(&old_server, &new_client).succeeded());
}

#[test]
fn denies_a_certificate_that_is_revoked_anywhere_in_its_chain() {
    let root = Ca::root("root");
    let intermediate = root.intermediate("intermediate", 5);
    let lists = |leafs: &[u8], intermediates: &[u8]| [intermediate.crl(leafs), root.crl(intermediates)];
    for (lists, refusal) in [
        (lists(&[], &[]), None),
        (lists(&[78], &[6]), None),
        (lists(&[77], &[]), Some(TlsRefusal::Revoked)),
        (lists(&[], &[5]), Some(TlsRefusal::Revoked)),
    ] {
        let check = check(&trust(&[&root], &lists, &[]));
        let server = intermediate
            .issue(Leaf {
                serial: 1,
                ..ledger()
            })
            .server(&check);
        let client = intermediate
            .issue(payments())
            .client(&check, &[identity("ledger")]);
        let ended = handshake(&server, &client);
        // The intermediate is the server's too, so the client may be the first to refuse.
        let refused = ended.server_refusal().or(ended.client_refusal());
        assert_eq!(refused, refusal);
        assert_eq!(ended.succeeded(), refusal.is_none());
    }
}

#[test]
fn a_refused_client_learns_why_from_the_alert() {
    let root = Ca::root("root");
    let trust = trust(&[&root], &[root.crl(&[77])], &[]);
    let ended = Mesh { root, trust }.accept(payments());
    let alert = rustls::AlertDescription::CertificateRevoked;
    assert_eq!(ended.client.err(), Some(rustls::Error::AlertReceived(alert)));
}

#[test]
fn post_quantum_or_no_connection() {
    let mesh = Mesh::new();
    let server = mesh.credentials(&identity("ledger"), Compliance::Pqc);
    let client = mesh.credentials(&identity("payments"), Compliance::Pqc);
    let expected = [identity("ledger")].into();
    let ended = handshake(&server.server_config(), &client.client_config(&expected));
    let group = ended
        .client
        .expect("accepted")
        .negotiated_key_exchange_group()
        .map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));

    let mut classical = build_provider(Compliance::Default);
    classical
        .kx_groups
        .retain(|group| group.name() != NamedGroup::X25519MLKEM768);
    let verifier = verify::Servers::new(check(&mesh.trust), Arc::clone(&expected));
    let classical = ClientConfig::builder_with_provider(Arc::new(classical))
        .with_protocol_versions(&[&TLS13])
        .expect("supported")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let ended = handshake(&server.server_config(), &Arc::new(classical));
    assert!(matches!(ended.server, Err(rustls::Error::PeerIncompatible(_))));
}

#[test]
fn an_unknown_compliance_policy_is_an_error() {
    assert_eq!("pqc".parse(), Ok(Compliance::Pqc));
    assert_eq!("".parse(), Ok(Compliance::Default));
    let unknown = "fips-140-2".parse::<Compliance>();
    assert_eq!(unknown, Err(UnknownCompliance("fips-140-2".to_owned())));
}
