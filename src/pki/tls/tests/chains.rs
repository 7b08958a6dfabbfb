//! Which chains are believed: a table of certificates with every flaw, each with the exact refusal, judged alone and in
//! handshakes in which the peer is the client and the server.

mod algorithms;
mod authorities;
mod leaves;
mod names;

use std::sync::Arc;
use std::time::Duration;

use adit_mesh::Identity;
use rcgen::{CertificateParams, CustomExtension, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use crate::TlsRefusal;
use crate::fixtures::{Ca, Leaf, NOW, Peer, check, handshake, identity, trust};
use crate::trust::{PeerCheck, Side};

/// Both sides of a connection.
const BOTH: &[Side] = &[Side::Client, Side::Server];

/// A chain, and what becomes of it.
struct Row {
    name: &'static str,
    peer: Peer,
    /// As what the peer shows it.
    sides: &'static [Side],
    /// The roots that are trusted beside that of the honest end.
    roots: Vec<Ca>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    expected: Result<(), TlsRefusal>,
}

impl Row {
    /// What `roots` have to do with is trusted; as both sides.
    fn new(name: &'static str, roots: Vec<Ca>, peer: Peer, expected: Result<(), TlsRefusal>) -> Self {
        Self {
            name,
            peer,
            sides: BOTH,
            roots,
            lists: Vec::new(),
            expected,
        }
    }

    /// A certificate that a trusted root signed.
    fn signed(
        name: &'static str,
        leaf: Leaf,
        change: impl FnOnce(&mut CertificateParams),
        expected: Result<(), TlsRefusal>,
    ) -> Self {
        let root = Ca::root("the root");
        let peer = root.issue_with(leaf, &PKCS_ECDSA_P256_SHA256, change);
        Self::new(name, vec![root], peer, expected)
    }

    fn only_as(self, sides: &'static [Side]) -> Self {
        Self { sides, ..self }
    }

    /// What differs from what was expected.
    fn judge(&self) -> Vec<String> {
        let honest = Ca::root("the honest end's root");
        let mut roots: Vec<_> = self.roots.iter().collect();
        roots.push(&honest);
        let check = check(&trust(&roots, &self.lists, &[]));
        let mut wrong = Vec::new();
        let mut compare = |how: &str, found: Result<(), TlsRefusal>| {
            if found != self.expected {
                wrong.push(format!(
                    "{}, {how}: {found:?}, expected {:?}",
                    self.name, self.expected
                ));
            }
        };
        for side in self.sides {
            let shaken = match side {
                Side::Client => self.as_client(&honest, &check),
                Side::Server => self.as_server(&honest, &check),
            };
            compare(&format!("as {side:?}"), shaken);
            if !self.is_about_identity() {
                compare(&format!("alone, as {side:?}"), self.alone(&check, *side));
            }
        }
        if self.expected.is_ok() {
            compare("once more", check.recheck(&self.peer.chain));
        }
        wrong
    }

    /// Whether the refusal is that of a side, not of the chain.
    fn is_about_identity(&self) -> bool {
        matches!(
            self.expected,
            Err(TlsRefusal::ForeignTrustDomain(_) | TlsRefusal::WrongIdentity { .. })
        )
    }

    fn alone(&self, check: &PeerCheck, side: Side) -> Result<(), TlsRefusal> {
        let (leaf, rest) = self.peer.chain.split_first().expect("a certificate");
        let who = check.identify(leaf, rest, side, now())?;
        assert_eq!(who, identity("payments"), "{}", self.name);
        Ok(())
    }

    fn as_client(&self, honest: &Ca, check: &Arc<PeerCheck>) -> Result<(), TlsRefusal> {
        let server = honest.issue(Leaf::of(&identity("ledger"))).server(check);
        let ended = handshake(&server, &self.peer.client(check, &[identity("ledger")]));
        assert!(ended.server.is_err() || ended.client.is_ok(), "{}", self.name);
        ended.server.map(drop).map_err(|error| refusal(self.name, &error))
    }

    fn as_server(&self, honest: &Ca, check: &Arc<PeerCheck>) -> Result<(), TlsRefusal> {
        let client = honest.issue(Leaf::of(&identity("ledger")));
        let ended = handshake(
            &self.peer.server(check),
            &client.client(check, &[identity("payments")]),
        );
        assert!(ended.client.is_err() || ended.server.is_ok(), "{}", self.name);
        ended.client.map(drop).map_err(|error| refusal(self.name, &error))
    }
}

fn refusal(row: &str, error: &rustls::Error) -> TlsRefusal {
    TlsRefusal::of(error).unwrap_or_else(|| panic!("{row}: ended with {error:?}"))
}

fn judge(rows: Vec<Row>) {
    let wrong: Vec<_> = rows.iter().flat_map(Row::judge).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

fn payments() -> Leaf {
    Leaf::of(&identity("payments"))
}

/// An extension below id-ce, the arc of X.509's own.
fn extension(number: u64, content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, number], content)
}

/// An element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    assert!(length < 0x80, "one byte of length");
    [&[tag, length], content].concat()
}

/// A peer with other certificates in its chain.
fn with_chain(peer: Peer, change: impl FnOnce(&mut Vec<CertificateDer<'static>>)) -> Peer {
    let mut peer = peer;
    change(&mut peer.chain);
    peer
}

fn expecting(who: &Identity) -> TlsRefusal {
    TlsRefusal::WrongIdentity {
        presented: who.clone(),
        expected: [identity("payments")].into(),
    }
}
