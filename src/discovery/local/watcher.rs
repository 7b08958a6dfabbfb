//! Notices that a file changed.
//!
//! The folder is watched and not the file: editors write another file and rename it, and Kubernetes swaps the symbolic
//! link `..data` that the file is reached through, and neither is an event of the file that was there. Where the
//! kernel tells nothing (network file systems, no inotify instance left, a folder that does not exist yet), a look at
//! the file's metadata once in a while notices too.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a burst of events must be over: an editor's save is several, a few milliseconds apart.
const QUIET: Duration = Duration::from_millis(50);
/// How long a burst may go on before the file is read all the same.
const LONGEST_BURST: Duration = Duration::from_secs(1);
/// How often the metadata are looked at: what the kernel does not tell is noticed after this time, at the price
/// of one system call.
const LOOK: Duration = Duration::from_secs(5);

/// Notices changes of one file.
#[derive(Debug)]
pub(super) struct Watcher {
    path: PathBuf,
    /// What the file was like when it was last looked at.
    seen: Option<Stamp>,
    events: mpsc::Receiver<()>,
    /// Watches as long as it lives; none where the kernel refused.
    watching: Option<RecommendedWatcher>,
}

impl Watcher {
    /// Starts to watch. Changes from here on are noticed.
    pub(super) fn new(path: &Path) -> Self {
        // One event waiting says everything that more could.
        let (sender, events) = mpsc::channel(1);
        Self {
            path: path.to_owned(),
            seen: Stamp::of(path),
            events,
            watching: watch(path, sender)
                .inspect_err(|error| {
                    let (path, every) = (path.display(), LOOK.as_secs());
                    tracing::warn!("{path}: no change is announced ({error}); looking every {every} s");
                })
                .ok(),
        }
    }

    /// Comes back when the file may have changed.
    pub(super) async fn changed(&mut self) {
        loop {
            let announced = match &self.watching {
                Some(_) => timeout(LOOK, self.events.recv()).await.is_ok(),
                None => {
                    tokio::time::sleep(LOOK).await;
                    false
                }
            };
            if announced {
                self.settle().await;
            }
            let now = Stamp::of(&self.path);
            if announced || now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    /// Waits until a burst of events is over.
    async fn settle(&mut self) {
        let latest = Instant::now() + LONGEST_BURST;
        loop {
            let quiet = Instant::now() + QUIET;
            tokio::select! {
                () = sleep_until(quiet.min(latest)) => return,
                event = self.events.recv() => if event.is_none() { return },
            }
        }
    }
}

fn watch(path: &Path, sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let target = path.canonicalize().ok();
    let names: Vec<_> = [Some(path), target.as_deref()]
        .into_iter()
        .flatten()
        .map(Path::to_owned)
        .collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let concerns = event.map_or(true, |event| concerns(&event, &names));
        if concerns {
            // Full means that an event is waiting already, closed that nobody cares any more.
            let _ = sender.try_send(());
        }
    })?;
    watcher.watch(folder(path), RecursiveMode::NonRecursive)?;
    // A link to elsewhere; Kubernetes' own lead to a folder that is replaced as a whole, which the first watch sees.
    if let Some(elsewhere) = target
        .as_deref()
        .map(folder)
        .filter(|elsewhere| *elsewhere != folder(path))
    {
        watcher.watch(elsewhere, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Whether an event may mean that one of the files has other contents. Reading is an event too, our own included.
pub(super) fn concerns(event: &Event, names: &[PathBuf]) -> bool {
    let changes = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let of_file = |path: &PathBuf| {
        let name = path.file_name();
        let of_kubernetes = name.is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        of_kubernetes || names.iter().any(|ours| ours.file_name() == name)
    };
    changes && (event.need_rescan() || event.paths.iter().any(of_file))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str() != OsStr::new("") => parent,
        _ => Path::new("."),
    }
}

/// What changes with a file's contents.
#[derive(PartialEq, Eq, Debug)]
struct Stamp {
    file: (u64, u64),
    modified: (i64, i64),
    length: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::new)
    }

    fn new(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            length: metadata.len(),
        }
    }
}
