//! Follows a directory of manifests.

use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Told;
use super::directory::{Directory, Problem};

/// What an editor writes comes in several pieces.
const GATHER: Duration = Duration::from_millis(50);
/// Some file systems tell of no change; a look costs some milliseconds.
const LOOK: Duration = Duration::from_secs(5);

/// Tells what is in a directory, and then whatever changes, until nobody listens.
pub async fn run(mut directory: Directory, out: mpsc::Sender<Told>) {
    let (changes, mut changed) = mpsc::channel::<()>(1);
    // Kept for as long as it is followed.
    let watcher = watch(&directory, changes);
    if let Err(error) = &watcher {
        tracing::warn!(%error, "the directory is looked at every {LOOK:?}, because its changes cannot be watched");
    }
    let mut complete = false;
    let mut reported = Vec::new();
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let read = directory.read();
            (directory, read)
        });
        let Ok((back, read)) = read.await else {
            return;
        };
        directory = back;
        match read {
            Ok((events, problems)) => {
                report(&problems, &mut reported);
                for event in events {
                    if out.send(Told::Event(event)).await.is_err() {
                        return;
                    }
                }
                if !complete {
                    complete = true;
                    if out.send(Told::Complete).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::error!(
                %error,
                directory = %directory.path().display(),
                "the directory of manifests cannot be read; what was read before stays"
            ),
        }
        let look = sleep_until(Instant::now() + LOOK);
        tokio::select! {
            Some(()) = changed.recv() => tokio::time::sleep(GATHER).await,
            () = look => {}
            () = out.closed() => return,
        }
        // What came meanwhile is read now.
        let _ = changed.try_recv();
    }
}

/// Each problem once, for as long as it is there.
fn report(problems: &[Problem], reported: &mut Vec<Problem>) {
    for problem in problems.iter().filter(|problem| !reported.contains(problem)) {
        tracing::error!("{problem}");
    }
    for solved in reported.iter().filter(|known| !problems.contains(known)) {
        tracing::info!("solved: {solved}");
    }
    *reported = problems.to_vec();
}

fn watch(directory: &Directory, changes: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |_| {
        // Full means that a look is due already.
        let _ = changes.try_send(());
    })?;
    watcher.watch(directory.path(), RecursiveMode::Recursive)?;
    Ok(watcher)
}
