//! The tunnel's end: connects to the node agent for as long as the tunnel lives, and turns what the agent says into
//! calls of [`Pods`].
//!
//! Losing the agent never takes a pod out of the mesh: pods go only when the agent says so, or when a complete
//! snapshot no longer holds them. A malformed message is answered with the reason and costs the connection, since
//! after it the two ends may disagree about what was agreed; the next connection starts with a snapshot and settles it.

use std::collections::HashSet;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::DEADLINE;
use crate::failure::{ConnectionFailure, Malformed};
use crate::message::{self, Request, WorkloadInfo};
use crate::socket::Connection;

#[cfg(test)]
mod tests;

/// First wait after a lost connection; it doubles with each failure in a row.
pub const FIRST_RETRY: Duration = Duration::from_millis(10);

/// Longest wait between two attempts, so that a restarted agent gets its tunnel back soon.
pub const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// What serves the node's pods. Calls come one at a time, in the agent's order, and the agent waits for each of them
/// ([`DEADLINE`]): a call returns when its effect is visible, and leaves longer work, such as draining, to a task.
pub trait Pods: Send {
    /// Serves a pod, whose network namespace `namespace` is said to be.
    ///
    /// The same uid may come again: with the same namespace nothing changes, with another one the pod was made anew
    /// and the old one is gone. Returns once new connections of the pod are served.
    ///
    /// # Errors
    /// Why the pod cannot be served now; the agent shows it to its operator. The agent does not send the pod again on
    /// this connection, so the implementer tries again by itself.
    fn add(
        &mut self,
        uid: String,
        workload: WorkloadInfo,
        namespace: OwnedFd,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Goes on serving a pod whose namespace the agent does not have at hand.
    ///
    /// # Errors
    /// The pod is not served here.
    fn keep(&mut self, uid: &str) -> Result<(), String>;

    /// Stops serving a pod, because the pod is gone or no longer enrolled. Unknown ones are no error.
    fn remove(&mut self, uid: &str) -> impl Future<Output = ()> + Send;

    /// The snapshot of a new connection is complete: pods that it does not hold are no longer enrolled.
    fn retain(&mut self, enrolled: &HashSet<String>) -> impl Future<Output = ()> + Send;

    /// The agent has been lost; pods stay as they are until the next [`Pods::retain`].
    fn disconnected(&mut self, failure: &ConnectionFailure);
}

/// Connects to the agent that listens on `path` and obeys it, for ever. Ends only by being dropped.
pub async fn run(path: &Path, pods: &mut impl Pods) -> Infallible {
    let mut retry = Retry::default();
    let mut reported = None;
    loop {
        let mut session = Session::default();
        let failure = session.run(path, pods).await;
        if session.synchronised() {
            // Only a useful connection resets the wait: an agent that accepts and closes is not reachable.
            retry = Retry::default();
            reported = None;
        }
        pods.disconnected(&failure);
        let wait = retry.next();
        if reported.as_ref() == Some(&failure) {
            debug!(socket = %path.display(), error = %failure, ?wait, "node agent still not reachable");
        } else {
            warn!(socket = %path.display(), error = %failure, ?wait,
                "no connection to the node agent; pods that are enrolled stay served");
            reported = Some(failure);
        }
        tokio::time::sleep(wait).await;
    }
}

/// The waits between attempts: doubling, each shortened at random by up to half, so that the tunnels of a cluster
/// whose agents restart together do not come back together.
#[derive(Debug)]
struct Retry {
    ceiling: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { ceiling: FIRST_RETRY }
    }
}

impl Retry {
    fn next(&mut self) -> Duration {
        let wait = self.ceiling.mul_f64(1.0 - fastrand::f64() / 2.0);
        self.ceiling = (self.ceiling * 2).min(LONGEST_RETRY);
        wait
    }
}

/// One connection: the pods of its snapshot, until that is complete.
#[derive(Debug)]
struct Session {
    /// `None` once the snapshot is complete.
    snapshot: Option<HashSet<String>>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            snapshot: Some(HashSet::new()),
        }
    }
}

impl Session {
    fn synchronised(&self) -> bool {
        self.snapshot.is_none()
    }

    async fn run(&mut self, path: &Path, pods: &mut impl Pods) -> ConnectionFailure {
        let connection = match Connection::connect(path) {
            Ok(connection) => connection,
            Err(error) => return ConnectionFailure::system("connecting", &error),
        };
        if let Err(failure) = send(&connection, "sending the hello", &message::hello()).await {
            return failure;
        }
        loop {
            if let Err(failure) = self.serve_one(&connection, pods).await {
                return failure;
            }
        }
    }

    async fn serve_one(
        &mut self,
        connection: &Connection,
        pods: &mut impl Pods,
    ) -> Result<(), ConnectionFailure> {
        let request = match connection.receive().await {
            Ok(packet) => Request::try_from(packet).map_err(ConnectionFailure::from),
            Err(failure) => Err(failure),
        };
        let handled = match request {
            Ok(request) => self.handle(request, pods).await.map_err(ConnectionFailure::from),
            Err(failure) => Err(failure),
        };
        let answer = match &handled {
            Ok(outcome) => message::answer(outcome),
            Err(ConnectionFailure::Malformed(reason)) => message::answer(&Err(reason.to_string())),
            Err(_) => return handled.map(drop),
        };
        let sent = send(connection, "answering the agent", &answer).await;
        // What was wrong with the message says more than that its sender did not wait for the answer.
        handled.map(drop).and(sent)
    }

    async fn handle(
        &mut self,
        request: Request,
        pods: &mut impl Pods,
    ) -> Result<Result<(), String>, Malformed> {
        match request {
            Request::Add {
                uid,
                workload,
                namespace,
            } => {
                // A pod that fails to start is enrolled all the same: the snapshot must not remove it.
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.insert(uid.clone());
                }
                Ok(pods.add(uid, workload, namespace).await)
            }
            Request::Keep { uid } => match &mut self.snapshot {
                None => Err(Malformed::KeepAfterSnapshot { uid }),
                Some(snapshot) => {
                    let kept = pods.keep(&uid);
                    snapshot.insert(uid);
                    Ok(kept)
                }
            },
            Request::Delete { uid } => {
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.remove(&uid);
                }
                pods.remove(&uid).await;
                Ok(Ok(()))
            }
            Request::SnapshotSent => {
                let snapshot = self.snapshot.take().ok_or(Malformed::SecondSnapshot)?;
                info!(pods = snapshot.len(), "the node agent has sent its pods");
                pods.retain(&snapshot).await;
                Ok(Ok(()))
            }
        }
    }
}

async fn send(
    connection: &Connection,
    action: &'static str,
    message: &[u8],
) -> Result<(), ConnectionFailure> {
    match timeout(DEADLINE, connection.send(message, None)).await {
        Ok(sent) => sent,
        Err(_) => Err(ConnectionFailure::Deadline { action }),
    }
}
