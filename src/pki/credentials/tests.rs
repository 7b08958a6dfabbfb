use super::*;
use crate::fixtures::{Ca, HOUR, Leaf, NOW, at, identity, options, trust};
use crate::tls::Compliance;
use crate::trust::{TrustOptions, TrustStore};

fn credentials() -> Credentials {
    let root = Ca::root("root");
    let issued = root.issue(Leaf::of(&identity("payments"))).issued(vec![]);
    let trust = trust(&[&root], &[], &[]);
    let options = options(Compliance::Default, NOW);
    Credentials::new(&identity("payments"), issued, &trust.current(), &options, 3).expect("good")
}

#[test]
fn says_what_it_is_but_never_the_key() {
    let credentials = credentials();
    assert_eq!(credentials.generation(), 3);
    assert_eq!(credentials.serial(), "4d");
    assert_eq!(credentials.not_before(), at(NOW - HOUR));
    assert_eq!(credentials.not_after(), at(NOW + HOUR));
    assert!(
        credentials
            .chain_pem()
            .starts_with("-----BEGIN CERTIFICATE-----\n")
    );
    assert_eq!(credentials.roots_pem().matches("BEGIN CERTIFICATE").count(), 1);
    assert!(!format!("{credentials:?}").contains("PRIVATE"));
}

#[test]
fn configurations_are_built_once() {
    let credentials = credentials();
    assert!(Arc::ptr_eq(
        &credentials.server_config(),
        &credentials.server_config()
    ));
    let (one, same) = ([identity("a"), identity("b")], [identity("a"), identity("b")]);
    let first = credentials.client_config(&one.into());
    assert!(Arc::ptr_eq(&first, &credentials.client_config(&same.into())));
    assert!(!Arc::ptr_eq(
        &first,
        &credentials.client_config(&[identity("a")].into())
    ));
}

#[test]
fn the_configurations_that_are_kept_are_bounded() {
    let credentials = credentials();
    for n in 0..3 * CLIENT_CONFIGS {
        credentials.client_config(&[identity(&format!("a{n}"))].into());
    }
    let clients = credentials.clients.lock().expect("not poisoned");
    assert_eq!(clients.by_expected.len(), CLIENT_CONFIGS);
    assert_eq!(clients.oldest_first.len(), CLIENT_CONFIGS);
}

#[test]
fn refuses_what_an_issuer_should_not_have_returned() {
    let root = Ca::root("root");
    let trusted = trust(&[&root], &[], &[]).current();
    let nothing = TrustStore::open(&TrustOptions::default())
        .expect("no files")
        .current();
    let me = identity("payments");
    let mine = || root.issue(Leaf::of(&me)).issued(vec![]);
    let new = |issued, trust: &Trust| {
        Credentials::new(&me, issued, trust, &options(Compliance::Default, NOW), 1).map(|_| ())
    };
    let empty = Issued {
        chain: vec![],
        ..mine()
    };
    assert_eq!(new(empty, &trusted), Err(IssueError::Empty));
    let other = root.issue(Leaf::of(&identity("ledger"))).issued(vec![]);
    let issued = identity("ledger");
    assert_eq!(new(other, &trusted), Err(IssueError::OtherIdentity { issued }));
    let unnamed = root.issue(Leaf {
        names: vec![],
        ..Leaf::of(&me)
    });
    let reason = crate::InvalidCertificate::NoUri;
    assert_eq!(
        new(unnamed.issued(vec![]), &trusted),
        Err(IssueError::Unusable(reason))
    );
    let foreign_key = Issued {
        key: mine().key,
        ..mine()
    };
    assert!(matches!(new(foreign_key, &trusted), Err(IssueError::Key { .. })));
    assert_eq!(new(mine(), &nothing), Err(IssueError::NoRoots));
}

#[test]
fn without_a_bundle_the_roots_of_the_issuer_are_trusted_and_with_one_only_it() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let me = identity("payments");
    let new = |trust: &Trust| {
        let issued = root.issue(Leaf::of(&me)).issued(vec![root.certificate.clone()]);
        Credentials::new(&me, issued, trust, &options(Compliance::Default, NOW), 1).expect("good")
    };
    let nothing = TrustStore::open(&TrustOptions::default())
        .expect("no files")
        .current();
    assert_eq!(new(&nothing).roots(), std::slice::from_ref(&root.certificate));
    let bundle = trust(&[&other], &[], &[]).current();
    assert_eq!(new(&bundle).roots(), std::slice::from_ref(&other.certificate));
}
