//! What becomes of the store when the file changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adit_mesh::Store;
use adit_mesh::authorize::{Connection, decide};
use adit_mesh::registry::LocalNode;
use notify::event::{AccessKind, AccessMode, CreateKind, Flag, RemoveKind};
use notify::{Event, EventKind};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::local::watcher::{Watcher, concerns};
use crate::{LocalSource, Status, local::LoadError};

const PAYMENTS: &str = "cluster1//Pod/bank/payments-1";
/// Longer than any announced change takes, shorter than the look at the metadata that would hide that none was.
const ANNOUNCED: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(30);

fn source(folder: &TempDir, yaml: &str) -> (LocalSource, Arc<Store>) {
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, yaml).expect("writes");
    let store = Arc::new(Store::new(LocalNode::default()));
    (LocalSource::new(path, store.clone()), store)
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn rewrite(folder: &TempDir, yaml: &str) {
    replace(&folder.path().join("mesh.yaml"), yaml);
}

fn replace(path: &Path, yaml: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, yaml).expect("writes");
    fs::rename(beside, path).expect("renames");
}

#[test]
fn what_the_file_says_is_in_the_store() {
    let folder = folder();
    let (mut source, store) = source(&folder, SMALL);
    assert!(!store.is_complete());
    source.load().expect("loads");
    let registry = store.snapshot();
    assert!(store.is_complete());
    assert!(registry.workload(PAYMENTS).is_some());
    assert!(
        registry
            .service(&service_key("bank", "ledger.bank.svc.cluster.local"))
            .is_some()
    );
    assert!(registry.policy(&policy_key("bank", "ledger")).is_some());
    assert_eq!(*source.changed().borrow(), registry.generation());
    let status = source.status().borrow().clone();
    assert_eq!((status.workloads, status.services, status.policies), (1, 1, 1));
    assert!(status.applied_at.is_some() && status.error.is_none());
}

#[test]
fn what_the_file_no_longer_says_is_gone() {
    let folder = folder();
    let (mut source, store) = source(&folder, SMALL);
    source.load().expect("loads");
    rewrite(&folder, "workloads: []");
    source.load().expect("loads");
    let registry = store.snapshot();
    assert_eq!(registry.workloads().count(), 0);
    assert_eq!(registry.services().count(), 0);
    assert_eq!(registry.policies().count(), 0);
}

#[test]
fn the_same_file_again_is_no_change() {
    let folder = folder();
    let (mut source, store) = source(&folder, SMALL);
    source.load().expect("loads");
    let before = store.snapshot();
    let mut changed = source.changed();
    changed.mark_unchanged();
    source.load().expect("loads");
    assert!(Arc::ptr_eq(&before, &store.snapshot()));
    assert!(!changed.has_changed().expect("the source lives"));
}

#[test]
fn a_broken_edit_is_reported_and_the_last_good_state_stays() {
    let folder = folder();
    let (mut source, store) = source(&folder, SMALL);
    source.load().expect("loads");
    let before = store.snapshot();
    rewrite(&folder, "workloads:\n- uid: [\n");
    let error = source.load().expect_err("is not YAML");
    assert!(matches!(error, LoadError::Syntax { line: 2.., .. }), "{error:?}");
    rewrite(&folder, "workload: []");
    let error = source.load().expect_err("has another key");
    assert!(matches!(error, LoadError::Shape { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with(&folder.path().display().to_string()),
        "{error}"
    );
    fs::remove_file(folder.path().join("mesh.yaml")).expect("removes");
    let error = source.load().expect_err("is not there");
    assert!(
        matches!(
            error,
            LoadError::Read {
                kind: std::io::ErrorKind::NotFound,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(source.status().borrow().error, Some(error.into()));
    assert!(Arc::ptr_eq(&before, &store.snapshot()));
    rewrite(&folder, SMALL);
    source.load().expect("is good again");
    assert_eq!(source.status().borrow().error, None);
}

#[test]
fn without_a_readable_file_the_store_is_not_complete() {
    let folder = folder();
    let (mut source, store) = source(&folder, "");
    assert!(source.load().is_err());
    assert!(!store.is_complete());
}

#[test]
fn a_resource_that_broke_keeps_its_last_good_version_and_the_rest_applies() {
    let folder = folder();
    let (mut source, store) = source(&folder, SMALL);
    source.load().expect("loads");
    let broken = SMALL
        .replace("protocol: HBONE", "protocol: QUIC")
        .replace("{80: 8080}", "{80: 9090}");
    rewrite(&folder, &broken);
    source.load().expect("loads");
    let registry = store.snapshot();
    assert!(registry.workload(PAYMENTS).is_some());
    let ledger = registry.service(&service_key("bank", "ledger.bank.svc.cluster.local"));
    let target = ledger.and_then(|ledger| ledger.ports.target(80)).flatten();
    assert_eq!(target.map(u16::from), Some(9090));
    let rejected = source.status().borrow().rejected.clone();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].name, uid(PAYMENTS));
    assert!(
        rejected[0]
            .reason
            .contains("mesh.yaml: workloads[0].protocol: \"QUIC\""),
        "{}",
        rejected[0].reason
    );
}

#[test]
fn a_policy_that_is_broken_or_missing_refuses_whom_it_was_to_protect_and_says_why() {
    let folder = folder();
    let yaml = SMALL
        .replace("node: one", "node: one\n  authorizationPolicies: [root/strict]")
        .replace("rules:", "rulez: []\n  rules:");
    let (mut source, store) = source(&folder, &yaml);
    source.load().expect("loads");
    let verdict = |store: &Store| {
        let registry = store.snapshot();
        let local = registry
            .local("bank", "payments-1", "payments")
            .expect("is local");
        let connection = Connection {
            peer: None,
            source: [10, 0, 1, 6].into(),
            destination: ([10, 0, 1, 5], 8080).into(),
        };
        decide(&local.policies, &connection).to_string()
    };
    let refused = verdict(&store);
    assert!(
        refused.starts_with("denied because policy bank/ledger applies here and was rejected: "),
        "{refused}"
    );
    assert!(
        refused.contains("mesh.yaml: policies[0]: unknown key \"rulez\""),
        "{refused}"
    );
    rewrite(&folder, &yaml.replace("rulez: []\n  ", ""));
    source.load().expect("loads");
    assert_eq!(
        verdict(&store),
        "denied because policy root/strict applies here and has not arrived"
    );
}

async fn until(status: &mut watch::Receiver<Status>, holds: impl FnMut(&Status) -> bool) -> Status {
    let found = timeout(PATIENCE, status.wait_for(holds)).await;
    found.expect("in time").expect("the source lives").clone()
}

#[tokio::test]
async fn a_running_source_follows_its_file() {
    let folder = folder();
    let (source, store) = source(&folder, SMALL);
    let mut status = source.status();
    let running = tokio::spawn(source.run());
    until(&mut status, |status| status.workloads == 1).await;
    rewrite(&folder, "broken: [");
    until(&mut status, |status| status.error.is_some()).await;
    assert!(store.snapshot().workload(PAYMENTS).is_some());
    rewrite(&folder, "policies: []");
    until(&mut status, |status| {
        status.error.is_none() && status.workloads == 0
    })
    .await;
    assert!(store.snapshot().workload(PAYMENTS).is_none());
    running.abort();
}

#[tokio::test]
async fn a_source_waits_for_a_file_that_is_not_there_yet() {
    let folder = folder();
    let store = Arc::new(Store::new(LocalNode::default()));
    let source = LocalSource::new(folder.path().join("mesh.yaml"), store.clone());
    let mut status = source.status();
    let running = tokio::spawn(source.run());
    until(&mut status, |status| status.error.is_some()).await;
    rewrite(&folder, SMALL);
    until(&mut status, |status| status.error.is_none()).await;
    assert!(store.is_complete());
    running.abort();
}

#[tokio::test]
async fn a_rename_over_the_file_is_announced() {
    let folder = folder();
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, "a").expect("writes");
    let mut watcher = Watcher::new(&path);
    replace(&path, "b");
    timeout(ANNOUNCED, watcher.changed()).await.expect("announced");
}

#[tokio::test]
async fn writing_in_place_is_announced() {
    let folder = folder();
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, "a").expect("writes");
    let mut watcher = Watcher::new(&path);
    fs::write(&path, "b").expect("writes");
    timeout(ANNOUNCED, watcher.changed()).await.expect("announced");
}

#[tokio::test]
async fn a_swapped_config_map_is_announced() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for version in ["..1", "..2"] {
        fs::create_dir(at(version)).expect("makes a folder");
        fs::write(at(version).join("mesh.yaml"), version).expect("writes");
    }
    symlink("..1", at("..data")).expect("links");
    symlink("..data/mesh.yaml", at("mesh.yaml")).expect("links");
    let mut watcher = Watcher::new(&at("mesh.yaml"));
    symlink("..2", at("..data_tmp")).expect("links");
    fs::rename(at("..data_tmp"), at("..data")).expect("swaps");
    timeout(ANNOUNCED, watcher.changed()).await.expect("announced");
}

#[test]
fn reading_the_file_and_writing_another_is_no_change() {
    let path = Path::new("/config/mesh.yaml");
    let event = |kind, path: &str| Event::new(kind).add_path(path.into());
    let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let cases = [
        (event(read, "/config/mesh.yaml"), false),
        (event(written, "/config/mesh.yaml"), true),
        (event(written, "/config/other.yaml"), false),
        (
            event(EventKind::Create(CreateKind::File), "/config/mesh.yaml"),
            true,
        ),
        (
            event(EventKind::Remove(RemoveKind::File), "/config/mesh.yaml"),
            true,
        ),
        (event(EventKind::Create(CreateKind::Any), "/config/..data"), true),
        (Event::new(EventKind::Other).set_flag(Flag::Rescan), true),
    ];
    for (event, expected) in cases {
        assert_eq!(concerns(&event, &[path.to_owned()]), expected, "{event:?}");
    }
}
