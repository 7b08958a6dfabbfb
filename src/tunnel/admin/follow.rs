//! Turns what the sources of configuration and certificates report into readiness and metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_discovery::Status;
use adit_telemetry::server::readiness::Blocker;
use tokio::sync::watch;
use tokio::time::interval;

use crate::worker::Shared;

/// How often series of pods that have gone are looked for: they stay for an hour, so a minute is soon enough.
const PERIOD: Duration = Duration::from_secs(60);

/// Runs for as long as the process. `source` is the name of the source of configuration in metrics; `complete` is released
/// once the first complete configuration has arrived.
pub(crate) async fn follow(
    shared: Arc<Shared>,
    source: &'static str,
    mut changes: watch::Receiver<u64>,
    mut status: watch::Receiver<Status>,
    complete: Blocker,
) {
    let mut complete = Some(complete);
    let mut period = interval(PERIOD);
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                shared.metrics.configuration_applied(source, Instant::now());
            }
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                if status.borrow_and_update().error.is_some() {
                    shared.metrics.configuration_error(source);
                }
            }
            _ = period.tick() => {
                let registry = shared.store.snapshot();
                let known = |uid: &str| registry.workload(uid).is_some();
                shared.metrics.forget_unless(known, Instant::now());
                shared.metrics.expire(Instant::now());
            }
        }
        if shared.store.is_complete() {
            complete = None;
        }
        let _ = &complete;
    }
}
