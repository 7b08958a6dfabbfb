use std::path::Path;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::*;
use crate::fixtures::{Ca, Files, HOUR, Leaf, NOW, check, identity, trust};
use crate::refusal::TlsRefusal;

fn leaf() -> Leaf {
    Leaf::of(&identity("payments"))
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

fn judge(store: &TrustStore, chain: &[CertificateDer<'_>]) -> Result<(), TlsRefusal> {
    check(store)
        .identify(&chain[0], &chain[1..], Side::Client, now())
        .map(|_| ())
}

fn open(bundle: &Path, crl: &[&Path]) -> Result<TrustStore, TrustError> {
    TrustStore::open(&TrustOptions {
        bundle: vec![bundle.to_owned()],
        crl: crl.iter().map(|path| path.to_path_buf()).collect(),
        aliases: vec![],
    })
}

#[test]
fn a_bundle_that_cannot_be_used_stops_the_start() {
    let files = Files::new();
    let missing = open(&files.path("missing.pem"), &[]).map(|_| ());
    assert!(matches!(missing, Err(TrustError::Read { .. })), "{missing:?}");
    let empty = files.write("empty.pem", "");
    assert_eq!(
        open(&empty, &[]).map(|_| ()),
        Err(TrustError::NoRoot { path: empty.clone() })
    );
    let garbage = files.write(
        "garbage.pem",
        crate::certificate::encode_pem("CERTIFICATE", b"nonsense"),
    );
    let refused = open(&garbage, &[]).map(|_| ());
    assert!(
        matches!(refused, Err(TrustError::Root { number: 1, .. })),
        "{refused:?}"
    );
}

#[test]
fn a_revocation_list_that_cannot_be_used_stops_the_start() {
    let (files, root) = (Files::new(), Ca::root("root"));
    let bundle = files.roots("roots.pem", &[&root]);
    let refused = |crl: &Path| open(&bundle, &[crl]).map(|_| ());
    let missing = refused(&files.path("missing.pem"));
    assert!(matches!(missing, Err(TrustError::Read { .. })), "{missing:?}");
    let empty = files.write("empty.pem", "no list at all");
    assert_eq!(refused(&empty), Err(TrustError::NoCrl { path: empty.clone() }));
    let der = files.write("broken.der", b"\x30\x03abc");
    assert!(matches!(refused(&der), Err(TrustError::Crl { number: 1, .. })));
    let good = crate::certificate::encode_pem("X509 CRL", &root.crl(&[]));
    let half = good + &crate::certificate::encode_pem("X509 CRL", b"nonsense");
    let second = files.write("second.pem", half);
    assert!(matches!(refused(&second), Err(TrustError::Crl { number: 2, .. })));
}

#[test]
fn lists_are_read_as_pem_with_several_or_as_der() {
    let (files, root) = (Files::new(), Ca::root("root"));
    let intermediate = root.intermediate("intermediate", 5);
    let bundle = files.roots("roots.pem", &[&root]);
    let pem = files.crls("both.pem", &[root.crl(&[]), intermediate.crl(&[77])]);
    let store = open(&bundle, &[&pem]).expect("good");
    assert_eq!(store.current().revocation_lists(), 2);
    assert_eq!(
        judge(&store, &intermediate.issue(leaf()).chain),
        Err(TlsRefusal::Revoked)
    );
    let der = files.write("one.der", root.crl(&[5]));
    let store = open(&bundle, &[&der]).expect("good");
    assert_eq!(
        judge(&store, &intermediate.issue(leaf()).chain),
        Err(TlsRefusal::Revoked)
    );
}

#[test]
fn a_certificate_whose_issuer_publishes_no_list_is_accepted() {
    let (root, elsewhere) = (Ca::root("root"), Ca::root("elsewhere"));
    let store = trust(&[&root], &[elsewhere.crl(&[77])], &[]);
    assert_eq!(judge(&store, &root.issue(leaf()).chain), Ok(()));
}

#[test]
fn a_list_that_its_issuer_did_not_sign_refuses_rather_than_to_be_ignored() {
    let (root, impostor) = (Ca::root("root"), Ca::root("root"));
    let store = trust(&[&root], &[impostor.crl(&[])], &[]);
    assert_eq!(
        judge(&store, &root.issue(leaf()).chain),
        Err(TlsRefusal::RevocationUnknown)
    );
}

#[test]
fn while_a_ca_changes_its_key_both_of_its_lists_are_obeyed() {
    let (old, new) = (Ca::root("root"), Ca::root("root"));
    let other = || Leaf { serial: 78, ..leaf() };
    let store = trust(&[&old, &new], &[old.crl(&[77]), new.crl(&[78])], &[]);
    assert_eq!(judge(&store, &old.issue(leaf()).chain), Err(TlsRefusal::Revoked));
    assert_eq!(judge(&store, &old.issue(other()).chain), Ok(()));
    assert_eq!(judge(&store, &new.issue(leaf()).chain), Ok(()));
    assert_eq!(judge(&store, &new.issue(other()).chain), Err(TlsRefusal::Revoked));
}

#[test]
fn revocation_is_told_from_other_refusals_whatever_roots_there_are() {
    let (old, new, other) = (Ca::root("root"), Ca::root("root"), Ca::root("other"));
    for roots in [[&old, &new, &other], [&other, &new, &old], [&new, &old, &other]] {
        let store = trust(&roots, &[old.crl(&[77])], &[]);
        assert_eq!(judge(&store, &old.issue(leaf()).chain), Err(TlsRefusal::Revoked));
        assert_eq!(
            judge(&store, &new.issue(leaf()).chain),
            Err(TlsRefusal::RevocationUnknown)
        );
        assert_eq!(judge(&store, &other.issue(leaf()).chain), Ok(()));
        let stranger = Ca::root("other").issue(leaf());
        assert_eq!(judge(&store, &stranger.chain), Err(TlsRefusal::Untrusted));
    }
}

#[test]
fn changed_files_take_effect_without_restart() {
    let (files, root, next) = (Files::new(), Ca::root("root"), Ca::root("next"));
    let bundle = files.roots("roots.pem", &[&root]);
    let crl = files.crls("crl.pem", &[root.crl(&[])]);
    let store = open(&bundle, &[&crl]).expect("good");
    let (old, new) = (root.issue(leaf()).chain, next.issue(leaf()).chain);
    assert_eq!(
        (judge(&store, &old), judge(&store, &new)),
        (Ok(()), Err(TlsRefusal::Untrusted))
    );
    assert!(!store.reload(), "nothing changed");
    assert_eq!(store.current().generation(), 1);

    files.roots("roots.pem", &[&root, &next]);
    assert!(store.reload());
    assert_eq!((judge(&store, &old), judge(&store, &new)), (Ok(()), Ok(())));
    files.crls("crl.pem", &[root.crl(&[77])]);
    assert!(store.reload());
    assert_eq!(store.current().generation(), 3);
    assert_eq!(
        (judge(&store, &old), judge(&store, &new)),
        (Err(TlsRefusal::Revoked), Ok(()))
    );
}

#[test]
fn a_file_that_breaks_later_keeps_its_last_good_content_and_is_reported() {
    let (files, root, next) = (Files::new(), Ca::root("root"), Ca::root("next"));
    let bundle = files.roots("roots.pem", &[&root]);
    let crl = files.crls("crl.pem", &[root.crl(&[77])]);
    let store = open(&bundle, &[&crl]).expect("good");
    let mut reports = store.problem_changes();

    files.write("crl.pem", "an edit in progress");
    files.roots("roots.pem", &[&root, &next]);
    assert!(store.reload(), "the other file takes effect");
    assert_eq!(judge(&store, &root.issue(leaf()).chain), Err(TlsRefusal::Revoked));
    assert_eq!(judge(&store, &next.issue(leaf()).chain), Ok(()));
    assert_eq!(store.problems(), [TrustError::NoCrl { path: crl.clone() }]);
    assert!(reports.has_changed().expect("the store lives"));
    reports.mark_unchanged();

    assert!(!store.reload());
    assert!(!reports.has_changed().expect("the store lives"), "reported once");
    std::fs::remove_file(&crl).expect("there");
    assert!(!store.reload());
    assert_eq!(judge(&store, &root.issue(leaf()).chain), Err(TlsRefusal::Revoked));
    files.crls("crl.pem", &[root.crl(&[])]);
    assert!(store.reload());
    assert_eq!(judge(&store, &root.issue(leaf()).chain), Ok(()));
    assert_eq!(store.problems(), []);
}

#[tokio::test]
async fn changes_of_a_file_are_noticed() {
    let (files, root) = (Files::new(), Ca::root("root"));
    let bundle = files.roots("roots.pem", &[&root]);
    let crl = files.crls("crl.pem", &[root.crl(&[])]);
    let store = open(&bundle, &[&crl]).expect("good");
    let _following = store.follow_files();
    // The first change may be seen by the reading at the beginning; the second is seen by watching only.
    for (revoked, judgement) in [(77, Err(TlsRefusal::Revoked)), (78, Ok(()))] {
        let mut changes = store.subscribe();
        files.crls("crl.pem", &[root.crl(&[revoked])]);
        wait_for_change(&mut changes).await;
        assert_eq!(judge(&store, &root.issue(leaf()).chain), judgement);
    }
}

#[tokio::test]
async fn changes_that_kubernetes_makes_by_moving_a_link_are_noticed() {
    let (files, root) = (Files::new(), Ca::root("root"));
    let bundle = files.roots("roots.pem", &[&root]);
    for (version, revoked) in [("..1", &[][..]), ("..2", &[77])] {
        std::fs::create_dir(files.path(version)).expect("writable");
        files.crls(&format!("{version}/crl.pem"), &[root.crl(revoked)]);
    }
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, files.path("new-link")).expect("writable");
        std::fs::rename(files.path("new-link"), files.path(name)).expect("writable");
    };
    link("..1", "..data");
    link("..data/crl.pem", "crl.pem");
    let store = open(&bundle, &[&files.path("crl.pem")]).expect("good");
    let _following = store.follow_files();
    for (version, judgement) in [("..2", Err(TlsRefusal::Revoked)), ("..1", Ok(()))] {
        let mut changes = store.subscribe();
        link(version, "..data");
        wait_for_change(&mut changes).await;
        assert_eq!(judge(&store, &root.issue(leaf()).chain), judgement);
    }
}

/// Waits for less time than passes between two readings without a watch.
async fn wait_for_change(changes: &mut tokio::sync::watch::Receiver<Arc<Trust>>) {
    let noticed = tokio::time::timeout(Duration::from_secs(30), changes.changed()).await;
    noticed.expect("in time").expect("the store lives");
}

#[test]
fn live_connections_of_the_revoked_are_found() {
    let root = Ca::root("root");
    let intermediate = root.intermediate("intermediate", 5);
    // Expired since the connection began: that alone is no reason to cut it.
    let expired = Leaf {
        not_after: NOW - HOUR / 2,
        ..leaf()
    };
    let chain = intermediate.issue(expired).chain;
    let recheck = |lists: &[_]| check(&trust(&[&root], lists, &[])).recheck(&chain);
    assert_eq!(recheck(&[]), Ok(()));
    assert_eq!(recheck(&[root.crl(&[]), intermediate.crl(&[78])]), Ok(()));
    assert_eq!(recheck(&[intermediate.crl(&[77])]), Err(TlsRefusal::Revoked));
    assert_eq!(recheck(&[root.crl(&[5])]), Err(TlsRefusal::Revoked));
    let revoked = check(&trust(&[&root], &[root.crl(&[5])], &[]));
    assert!(revoked.is_revoked(&chain));
    let replaced = check(&trust(&[&Ca::root("next")], &[root.crl(&[5])], &[]));
    assert_eq!(replaced.recheck(&chain), Err(TlsRefusal::Untrusted));
    assert!(!replaced.is_revoked(&chain));
    assert_eq!(replaced.recheck(&[]), Err(TlsRefusal::NoCertificate));
}

#[test]
fn the_same_root_twice_counts_once() {
    let root = Ca::root("root");
    let store = trust(&[&root, &root], &[], &[]);
    let roots = store.current().roots().map(|roots| roots.certificates().len());
    assert_eq!(roots, Some(1));
}
