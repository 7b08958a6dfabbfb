//! What the targets share: the little that several of them need to know.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use adit_mesh::registry::LocalNode;
use adit_mesh::{Identity, Interner, Registry, Store, TrustDomain};
use adit_pki::{Trust, trust::PeerCheck};
use rustls_pki_types::UnixTime;

/// The moment at which certificates of the corpus are judged, in seconds since 1970.
pub const NOW: u64 = 1_800_000_000;

/// The root of the corpus' certificates; `cargo run --example seeds` makes a new one, and them.
pub const ROOT: &[u8] = include_bytes!("corpus/bundle/root.pem");

/// The workload that the corpus' root has issued certificates to.
pub const WORKLOAD: &str = "spiffe://cluster.local/ns/bank/sa/payments";

/// The text that `bytes` are, as everything that reads text is given it.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// [`NOW`] for verifiers.
pub fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

/// The name of what has no file.
pub fn nowhere() -> &'static Path {
    Path::new("fuzz")
}

/// How a workload judges its peers that trusts [`ROOT`], with these revocation lists; none if they cannot be used.
pub fn check(crl: &[(&Path, &[u8])]) -> Option<PeerCheck> {
    let trust = Trust::read(&[(nowhere(), ROOT)], crl, &[]).ok()?;
    trust.peer_check(&TrustDomain::default(), None)
}

/// [`WORKLOAD`], read.
pub fn workload() -> Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| WORKLOAD.parse().expect("an identity"));
    IDENTITY.clone()
}

/// The registry that a mesh file makes, and how many of its resources were rejected or warned of; none if it is not a
/// mesh file.
pub fn registry(file: &str) -> Option<(Arc<Registry>, usize)> {
    let mesh = adit_discovery::local::parse(file, nowhere(), &mut Interner::default()).ok()?;
    let blemishes = mesh.rejected.len() + mesh.warnings.len();
    let store = Store::new(LocalNode::default());
    store.update(mesh.resources.into_values());
    Some((store.snapshot(), blemishes))
}

/// Takes up to and with the length that the first two bytes say, big-endian.
pub fn take_counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (taken, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    *bytes = rest;
    Some(taken)
}
