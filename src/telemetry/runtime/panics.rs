//! Defects, counted. A panic ends one task (tokio catches it), so one connection is lost and the process goes on;
//! without a line in the log and a number to alarm on, nobody would ever know.
//!
//! The panic hook is one per process by nature, so the count is too.

use std::any::Any;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// The scope of its lines.
const SCOPE: &str = "panic";

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Logs and counts every panic of the process from now on. Calling it again changes nothing.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            if !tracing::enabled!(target: SCOPE, tracing::Level::ERROR) {
                // There is no log (yet, or any more), and a defect that nobody hears of is worse than a stray line.
                return earlier(panic);
            }
            let thread = std::thread::current();
            tracing::error!(
                target: SCOPE,
                thread = thread.name().unwrap_or("unnamed"),
                location = panic.location().map(tracing::field::display),
                "a defect: {}",
                message(panic.payload()),
            );
        }));
    });
}

/// How many panics there were since [`install`].
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
