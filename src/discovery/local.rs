//! The mesh from a YAML file in the format of stock ztunnel's `LOCAL_XDS_PATH`.
//!
//! The top level has the lists `workloads`, `services` and `policies`; their keys are those of `config_dump`, so
//! that a dump is a file. The file is read again when it changes. A resource in it that cannot be understood
//! rejects itself and nothing else: its last good version stays, and without one it is refused by name. A file that is not
//! of this format at all changes nothing.
//!
//! ```yaml
//! workloads:
//! - namespace: bank              # required
//!   name: payments-1
//!   uid: c1//Pod/bank/payments-1 # else <clusterId>//Pod/<namespace>/<name>
//!   serviceAccount: payments     # else default
//!   workloadIps: [10.0.1.5]
//!   protocol: HBONE              # else TCP
//!   node: node-1
//!   services: {bank/ledger.bank.svc.cluster.local: {80: 8080}}
//!   authorizationPolicies: [istio-system/strict]
//! services:
//! - namespace: bank              # required
//!   hostname: ledger.bank.svc.cluster.local # required
//!   vips: [/10.96.0.10]          # <network>/<address>
//!   ports: {80: 8080}            # a target of 0 is a named port
//! policies:                      # every key but dryRun is required, and no other is known
//! - name: ledger
//!   namespace: bank
//!   scope: Namespace             # or Global, WorkloadSelector
//!   action: Allow                # or Deny
//!   rules: [[[{principals: [{Exact: cluster.local/ns/bank/sa/payments}]}]]]
//! ```
//!
//! Whoever writes the file should write another and rename it over this one, as every editor and Kubernetes do: of a
//! file that is written in place, the half that is there counts.

mod convert;
mod document;
mod endpoints;
mod error;
mod events;
mod parts;
mod policy;
mod service;
mod watcher;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use adit_mesh::registry::{ResourceName, Update};
use adit_mesh::{Interner, Registry, Store};
use tokio::sync::watch;

pub use convert::Mesh;
pub use error::LoadError;
use watcher::Watcher;

use crate::Status;

/// Keeps a [`Store`] as a file describes it. Nothing else may write to that store: what is in it and not in the file
/// is removed.
#[derive(Debug)]
pub struct LocalSource {
    path: PathBuf,
    store: Arc<Store>,
    texts: Interner,
    status: watch::Sender<Status>,
    changed: watch::Sender<u64>,
}

impl LocalSource {
    /// A source that will read `path` and write to `store`. Nothing is read before [`load`](Self::load) or
    /// [`run`](Self::run).
    pub fn new(path: impl Into<PathBuf>, store: Arc<Store>) -> Self {
        Self {
            path: path.into(),
            store,
            texts: Interner::default(),
            status: watch::Sender::new(Status::default()),
            changed: watch::Sender::new(0),
        }
    }

    /// How the source fares: the last load, its error, what was rejected. Changes after each load.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The generation of the store, after each load that made a new one.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reads the file once and applies it, as one batch. After the first success the store is complete.
    ///
    /// # Errors
    /// The file cannot be read, or is not a document of this format; the store is left as it was. A resource in it
    /// that cannot be understood is no error of the load: it is in the status, and the rest is applied.
    pub fn load(&mut self) -> Result<(), LoadError> {
        let read = read(&self.path, &mut self.texts, &self.store.snapshot());
        match read {
            Ok(mesh) => {
                self.apply(mesh);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "configuration not applied; what was applied before stays");
                self.status
                    .send_modify(|status| status.error = Some(error.clone().into()));
                Err(error)
            }
        }
    }

    /// Loads the file now and after each change, until the runtime ends. A load that fails is reported in the status,
    /// and the next change is the next chance.
    pub async fn run(mut self) {
        let mut watcher = Watcher::new(&self.path);
        loop {
            // A file of a large mesh takes seconds to read, which must not hold up who else runs here.
            let loaded = tokio::task::spawn_blocking(move || {
                // Reported in the status and in the log.
                let _ = self.load();
                self
            });
            self = match loaded.await {
                Ok(source) => source,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is shutting down.
                    Err(_) => return,
                },
            };
            watcher.changed().await;
        }
    }

    fn apply(&mut self, mesh: Mesh) {
        let before = self.store.snapshot();
        report(&self.path, &mesh, changes(&before, &mesh));
        let gone = names(&before).filter(|name| !mesh.resources.contains_key(name));
        let mut batch: Vec<_> = gone.map(Update::Remove).collect();
        drop(before);
        // What the store has already changes nothing.
        batch.extend(mesh.resources.into_values());
        let generation = self.store.update(batch);
        self.store.mark_complete();
        // Names that only the former file used.
        self.texts.sweep();
        self.status.send_replace(Status {
            applied_at: Some(SystemTime::now()),
            error: None,
            rejected: mesh.rejected.into(),
            warnings: mesh.warnings.into(),
            workloads: mesh.counts[0],
            services: mesh.counts[1],
            policies: mesh.counts[2],
        });
        self.changed.send_if_modified(|seen| {
            let newer = *seen != generation;
            *seen = generation;
            newer
        });
    }
}

fn read(path: &Path, texts: &mut Interner, known: &Registry) -> Result<Mesh, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|error| LoadError::Read {
        path: path.to_owned(),
        kind: error.kind(),
    })?;
    parse(&text, path, texts, known)
}

/// Reads a text of this format; `path` is where it came from, for the errors. What is in `known` already is taken from
/// there instead of being made a second time.
///
/// # Errors
/// The text is not a document of this format. A resource in it that cannot be understood is no error: it is among what
/// was rejected.
pub fn parse(text: &str, path: &Path, texts: &mut Interner, known: &Registry) -> Result<Mesh, LoadError> {
    convert::parse(text, &path.display().to_string(), texts, known)
        .map_err(|error| LoadError::Syntax {
            path: path.to_owned(),
            line: error.line,
            column: error.column,
            reason: error.reason,
        })?
        .map_err(|error| LoadError::Shape {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

/// The names of everything that is in a registry.
fn names(registry: &Registry) -> impl Iterator<Item = ResourceName> {
    let workloads = registry
        .workloads()
        .map(|workload| ResourceName::Workload(workload.uid.clone()));
    let services = registry
        .services()
        .map(|service| ResourceName::Service(service.key.clone()));
    let policies = registry
        .policies()
        .map(|policy| ResourceName::Policy(policy.key.clone()));
    let tombstones = registry.tombstones().map(|(name, _)| name);
    workloads.chain(services).chain(policies).chain(tombstones)
}

/// How many resources the mesh changes, for people.
fn changes(before: &Registry, mesh: &Mesh) -> usize {
    let differs = |update: &&Update| match update {
        Update::Workload(workload) => before.workload(&workload.uid) != Some(workload),
        Update::Service(service) => before.service(&service.key) != Some(service),
        Update::Policy(policy) => before.policy(&policy.key) != Some(policy),
        Update::Reject(_) | Update::Remove(_) => false,
    };
    let changed = mesh.resources.values().filter(differs).count();
    changed
        + names(before)
            .filter(|name| !mesh.resources.contains_key(name))
            .count()
}

fn report(path: &Path, mesh: &Mesh, changes: usize) {
    let path = path.display();
    for rejected in &mesh.rejected {
        tracing::error!("{} rejected: {}", rejected.name, rejected.reason);
    }
    for warning in &mesh.warnings {
        tracing::warn!("{path}: {warning}");
    }
    let [workloads, services, policies] = mesh.counts;
    tracing::info!(
        workloads,
        services,
        policies,
        changes,
        "configuration applied from {path}"
    );
}

#[cfg(test)]
mod tests;
