//! The allocator, jemalloc, and its heap profiler. Its settings stand in `.cargo/config.toml`, because they must be
//! known before the first line of the program runs: the profiler is built in and asleep until somebody wakes it.

use std::sync::Arc;

use adit_telemetry::server::admin::HeapProfile;
use jemalloc_pprof::PROF_CTL;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Makes a profile of the heap in pprof's format.
pub(crate) fn profile() -> HeapProfile {
    Arc::new(|| {
        let control = PROF_CTL.as_ref().ok_or(NOT_BUILT_IN)?;
        let mut control = control.try_lock().map_err(|_| BUSY)?;
        if !control.activated() {
            return Err(
                "nothing was sampled: POST /debug/pprof/heap/profiling?activate=true first".to_owned(),
            );
        }
        control
            .dump_pprof()
            .map_err(|error| format!("the heap profile failed: {error}"))
    })
}

/// Turns the sampling of allocations on or off.
///
/// # Errors
/// The profiler is not built in, busy, or refuses.
pub(crate) fn sample(activate: bool) -> Result<(), String> {
    let control = PROF_CTL.as_ref().ok_or(NOT_BUILT_IN)?;
    let mut control = control.try_lock().map_err(|_| BUSY)?;
    let changed = if activate {
        control.activate()
    } else {
        control.deactivate()
    };
    changed.map_err(|error| format!("the heap profiler refuses: {error}"))
}

const NOT_BUILT_IN: &str =
    "the allocator was built without its profiler (see .cargo/config.toml); build in the project's folder";
const BUSY: &str = "another heap profile is being made";
