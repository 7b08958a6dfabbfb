//! The files of trust, kept up to date.
//!
//! The folders of the files are watched, not the files: Kubernetes replaces mounted files by moving a
//! symbolic link beside them, and editors replace files by renaming. Because a watch can be lost (limits of
//! inotify, network file systems), the files are also read once a minute; content that has not changed
//! changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use webpki::OwnedCertRevocationList;

use super::files::Source;
use super::roots::Root;
use super::{Roots, Trust, TrustError, TrustOptions};

/// How long files are left alone after a change, so that a change of several files is seen as one.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// How often files are read although nothing was reported.
const READ_ANYWAY: Duration = Duration::from_secs(60);

/// Publishes [`Trust`] and keeps it up to date. Clones share one state.
#[derive(Clone, Debug)]
pub struct TrustStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Mutex<Files>,
    current: watch::Sender<Arc<Trust>>,
    problems: watch::Sender<Vec<TrustError>>,
    folders: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Files {
    bundle: Vec<Source<Root>>,
    crl: Vec<Source<OwnedCertRevocationList>>,
    aliases: Arc<[adit_mesh::TrustDomain]>,
}

impl TrustStore {
    /// Reads every file.
    ///
    /// # Errors
    /// The first file that cannot be used; the caller is not to start.
    pub fn open(options: &TrustOptions) -> Result<Self, TrustError> {
        let files = Files {
            bundle: options
                .bundle
                .iter()
                .map(|path| Source::open(path))
                .collect::<Result<_, _>>()?,
            crl: options
                .crl
                .iter()
                .map(|path| Source::open(path))
                .collect::<Result<_, _>>()?,
            aliases: options.aliases.clone().into(),
        };
        let trust = files.trust(1);
        let paths = options.bundle.iter().chain(&options.crl);
        Ok(Self {
            inner: Arc::new(Inner {
                files: Mutex::new(files),
                current: watch::Sender::new(Arc::new(trust)),
                problems: watch::Sender::default(),
                folders: paths.map(|path| folder(path)).collect(),
            }),
        })
    }

    /// Trust as it is now.
    pub fn current(&self) -> Arc<Trust> {
        Arc::clone(&self.inner.current.borrow())
    }

    /// Changes with each new [`Trust`].
    pub fn subscribe(&self) -> watch::Receiver<Arc<Trust>> {
        self.inner.current.subscribe()
    }

    /// The files that cannot be used at present, while their last good content is in force. Empty when all is
    /// well. For metrics and the admin interface.
    pub fn problems(&self) -> Vec<TrustError> {
        self.inner.problems.borrow().clone()
    }

    /// Changes when the list of [`problems`](Self::problems) does.
    pub fn problem_changes(&self) -> watch::Receiver<Vec<TrustError>> {
        self.inner.problems.subscribe()
    }

    /// Reads every file again; blocks for as long as that takes. Returns whether anything changed. A file
    /// that has become unusable keeps its last good content and is reported, in the log and by
    /// [`problems`](Self::problems); the others take effect.
    pub fn reload(&self) -> bool {
        let mut files = self.files();
        let (changed, problems) = files.reload();
        if changed {
            let trust = files.trust(self.current().generation() + 1);
            tracing::info!(
                generation = trust.generation(),
                roots = trust.roots().map_or(0, |roots| roots.certificates().len()),
                revocation_lists = trust.revocation_lists(),
                "trust changed"
            );
            self.inner.current.send_replace(Arc::new(trust));
        }
        self.inner.problems.send_if_modified(|known| {
            for problem in problems.iter().filter(|problem| !known.contains(problem)) {
                tracing::error!(%problem, "a file of trust cannot be used; its last good content stays in force");
            }
            let differs = *known != problems;
            *known = problems;
            differs
        });
        changed
    }

    /// Keeps reading the files when they change, until the returned value is dropped. Runs on the tokio
    /// runtime that this is called in.
    pub fn follow_files(&self) -> Following {
        let changed = Arc::new(Notify::new());
        let watcher = self.watch_folders(&changed);
        let store = self.clone();
        let task = tokio::spawn(async move {
            // Something may have changed between the first reading and the watch.
            store.reload_elsewhere().await;
            loop {
                if timeout(READ_ANYWAY, changed.notified()).await.is_ok() {
                    sleep(DEBOUNCE).await;
                }
                store.reload_elsewhere().await;
            }
        });
        Following {
            task,
            _watcher: watcher,
        }
    }

    fn watch_folders(&self, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
        let notify = Arc::clone(changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an event too; it is not a change.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                notify.notify_one();
            }
        });
        let watched = watcher.and_then(|mut watcher| {
            for folder in &self.inner.folders {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        match watched {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, every = ?READ_ANYWAY, "cannot watch the files of trust; they are read regularly");
                None
            }
        }
    }

    async fn reload_elsewhere(&self) {
        let store = self.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || store.reload()).await {
            tracing::error!(%error, "reading the files of trust failed");
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // A panic while reading leaves each source with its old or its new content, both whole.
        self.inner.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn reload(&mut self) -> (bool, Vec<TrustError>) {
        let mut changed = false;
        let mut problems = Vec::new();
        let bundle = self.bundle.iter_mut().map(Source::reload);
        let crl = self.crl.iter_mut().map(Source::reload);
        for result in bundle.chain(crl) {
            match result {
                Ok(new) => changed |= new,
                Err(problem) => problems.push(problem),
            }
        }
        (changed, problems)
    }

    fn trust(&self, generation: u64) -> Trust {
        let roots = self.bundle.iter().flat_map(Source::content).cloned();
        let lists = self.crl.iter().flat_map(Source::content).cloned().collect();
        // Each file of a bundle holds a root, so with files there are roots.
        let roots = (!self.bundle.is_empty()).then(|| Roots::of(roots));
        Trust::of(generation, roots, lists, Arc::clone(&self.aliases))
    }
}

/// Files are followed until this is dropped.
#[derive(Debug)]
#[must_use = "the files are followed until this is dropped"]
pub struct Following {
    task: JoinHandle<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
