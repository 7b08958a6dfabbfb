//! Whether this process may be sent work: a set of named reasons why not.
//!
//! Each reason is held by whoever waits for something, and goes when it is dropped; the process is ready when there is
//! none. So a part that fails while it starts cannot forget to say so, and the probe's answer names what is pending.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;

use super::router::{Router, text};

/// The reasons why the process is not ready. Clones are the same set.
#[derive(Clone, Default, Debug)]
pub struct Readiness {
    blockers: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Readiness {
    /// Not ready because of `name`, until the result is dropped. Several of one name are named once.
    #[must_use = "dropping the blocker takes it away"]
    pub fn block(&self, name: &'static str) -> Blocker {
        *self.lock().entry(name).or_default() += 1;
        Blocker {
            readiness: self.clone(),
            name,
        }
    }

    /// The names of what is pending, sorted; none means ready.
    pub fn pending(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    /// Whether nothing is pending.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// The pages of the readiness port.
    pub fn router(&self) -> Router {
        let readiness = self.clone();
        Router::default().get("/healthz/ready", "whether this process is ready", move |_| {
            let pending = readiness.pending();
            async move {
                if pending.is_empty() {
                    text(StatusCode::OK, "ready\n")
                } else {
                    let words = format!("not ready, pending: {}\n", pending.join(", "));
                    text(StatusCode::INTERNAL_SERVER_ERROR, words)
                }
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.blockers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reason why the process is not ready, for as long as it lives.
pub struct Blocker {
    readiness: Readiness,
    name: &'static str,
}

impl fmt::Debug for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocker({})", self.name)
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        let mut blockers = self.readiness.lock();
        if let Some(count) = blockers.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                blockers.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_the_last_reason_has_gone() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let zds = readiness.block("zds");
        let configuration = readiness.block("configuration");
        let again = readiness.block("zds");
        assert_eq!(readiness.pending(), ["configuration", "zds"]);
        drop(zds);
        drop(configuration);
        assert_eq!(readiness.pending(), ["zds"]);
        drop(again);
        assert!(readiness.is_ready());
    }
}
