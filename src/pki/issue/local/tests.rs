use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::thread;

use super::*;
use crate::certificate::peer_identity;
use crate::fixtures::identity;

const TTL: Duration = Duration::from_secs(3600);

fn open(directory: &Path) -> Result<LocalCa, LocalCaError> {
    LocalCa::open_or_create(directory, TTL, SystemTime::now())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o777
}

#[test]
fn a_ca_is_created_on_first_use_and_then_the_same() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("ca");
    let first = open(&directory).expect("created");
    assert_eq!(mode(&directory.join(KEY)), 0o600);
    assert_eq!(mode(&directory), 0o755);
    let second = open(&directory).expect("opened");
    assert_eq!(first.authority().roots(), second.authority().roots());
    let files = fs::read_dir(&directory).expect("there").count();
    assert_eq!(files, 2, "no temporary file is left");
    let issued = second.issue_now(&identity("payments")).expect("issued");
    assert_eq!(peer_identity(&issued.chain[0]), Ok(identity("payments")));
    assert_eq!(issued.chain.len(), 1);
    assert_eq!(issued.roots, first.authority().roots());
}

#[test]
fn those_who_create_it_at_the_same_moment_agree() {
    for _ in 0..20 {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("ca");
        let start = Barrier::new(4);
        let roots: Vec<_> = thread::scope(|scope| {
            let tunnels: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        open(&directory).map(|ca| ca.authority().roots().to_vec())
                    })
                })
                .collect();
            tunnels
                .into_iter()
                .map(|tunnel| tunnel.join().expect("no panic"))
                .collect()
        });
        assert!(roots[0].is_ok(), "{roots:?}");
        assert!(roots.iter().all(|other| *other == roots[0]), "{roots:?}");
    }
}

#[test]
fn a_creation_that_was_cut_short_is_completed() {
    let parent = tempfile::tempdir().expect("a directory");
    let first = open(parent.path()).expect("created");
    fs::remove_file(first.root_path()).expect("there");
    assert!(open(parent.path()).is_ok());
}

#[test]
fn what_others_may_read_or_change_is_refused() {
    let parent = tempfile::tempdir().expect("a directory");
    open(parent.path()).expect("created");
    let cases = [
        (parent.path().join(KEY), 0o640, 0o600, "chmod 600"),
        (parent.path().join(ROOT), 0o664, 0o644, "chmod go-w"),
        (parent.path().to_owned(), 0o777, 0o700, "chmod go-w"),
    ];
    for (path, mode, good, remedy) in cases {
        set_mode(&path, mode);
        let refused = open(parent.path()).map(|_| ());
        set_mode(&path, good);
        assert_eq!(refused, Err(LocalCaError::Permissions { path, mode, remedy }));
        assert!(open(parent.path()).is_ok());
    }
}

#[test]
fn a_root_without_its_key_is_not_replaced_in_silence() {
    let parent = tempfile::tempdir().expect("a directory");
    open(parent.path()).expect("created");
    let path = parent.path().join(KEY);
    fs::remove_file(&path).expect("there");
    assert_eq!(
        open(parent.path()).map(|_| ()),
        Err(LocalCaError::KeyMissing { path })
    );
}

#[test]
fn a_key_of_another_root_is_refused() {
    let (one, other) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    open(one.path()).expect("created");
    open(other.path()).expect("created");
    fs::copy(one.path().join(ROOT), other.path().join(ROOT)).expect("ours");
    let refused = LocalCaError::Mismatch {
        key: other.path().join(KEY),
        root: other.path().join(ROOT),
    };
    assert_eq!(open(other.path()).map(|_| ()), Err(refused));
}

#[test]
fn further_roots_in_the_file_are_trusted_but_do_not_sign() {
    let (one, other) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let (ours, theirs) = (
        open(one.path()).expect("created"),
        open(other.path()).expect("created"),
    );
    let mut roots = theirs.authority().roots().to_vec();
    roots.extend(ours.authority().roots().iter().cloned());
    fs::write(ours.root_path(), to_pem(&roots)).expect("ours");
    let both = open(one.path()).expect("opened");
    assert_eq!(both.authority().roots(), roots);
}

#[test]
fn nonsense_in_a_file_is_named() {
    let parent = tempfile::tempdir().expect("a directory");
    open(parent.path()).expect("created");
    fs::write(parent.path().join(KEY), "nonsense").expect("ours");
    let refused = open(parent.path()).map(|_| ());
    assert!(
        matches!(refused, Err(LocalCaError::Content { ref path, .. }) if path.ends_with(KEY)),
        "{refused:?}"
    );
}
