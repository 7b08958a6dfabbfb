//! The agent's end: keeps the list of enrolled pods and tells it to every tunnel that connects.
//!
//! Usually there is one tunnel; during an upgrade there are two, and the newest one is the one that new pods belong to,
//! while the older only hears of pods that go. Each connection has a task of its own, so that a tunnel which stalls
//! or breaks the protocol costs its own connection and nobody else's. What could not be told is not lost: it is
//! part of what the next tunnel is told.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use self::state::{Delivered, State};
use crate::socket::{Connection, Listener};
use crate::{LONGEST_MESSAGE, WorkloadInfo, message};

mod session;
mod state;
#[cfg(test)]
mod tests;

/// Connections that wait to be accepted. Tunnels are few and retry.
const BACKLOG: i32 = 16;

/// Connections that are served at a time: two tunnels during an upgrade, and a margin for those that the kernel has
/// not yet reported as gone.
const MOST_CONNECTIONS: usize = 16;

/// How long accepting rests after it failed, which it does when file descriptors are short.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// A pod that is enrolled.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The pod's uid in Kubernetes.
    pub uid: String,
    /// Who the pod is.
    pub workload: WorkloadInfo,
    /// The pod's network namespace. Each tunnel receives a duplicate.
    pub namespace: Arc<OwnedFd>,
}

/// What became of an added pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// A tunnel serves the pod.
    Served,
    /// No tunnel was there to answer. The pod is part of what the next one is told.
    Deferred,
}

/// The tunnel could not serve a pod. The pod stays in the agent's list; the tunnel tries again by itself.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the tunnel cannot serve pod {uid}: {reason}")]
pub struct Nack {
    /// The pod.
    pub uid: String,
    /// The tunnel's own words.
    pub reason: String,
}

/// How many tunnels are connected.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Connections {
    /// Those that have said hello.
    pub open: usize,
    /// Those of them that have acknowledged the whole snapshot.
    pub synchronised: usize,
    /// The snapshots acknowledged since the agent started.
    pub snapshots: u64,
}

/// The agent's end of the protocol. Dropping it closes every connection and removes the socket.
#[derive(Debug)]
pub struct Agent {
    state: Arc<State>,
    accepting: AbortHandle,
    path: PathBuf,
}

impl Agent {
    /// Listens on `path`, which only the owner may then connect to, and serves the tunnels that connect in tasks of
    /// the current runtime. A socket that a dead process left at `path` is replaced.
    ///
    /// # Errors
    /// The socket cannot be made, or somebody listens on it ([`io::ErrorKind::AddrInUse`]).
    pub fn listen(path: &Path) -> io::Result<Self> {
        let listener = bind(path)?;
        let state = Arc::new(State::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Ok(Self {
            state,
            accepting,
            path: path.to_owned(),
        })
    }

    /// Enrols a pod and tells the newest tunnel, and waits for its answer.
    ///
    /// # Errors
    /// The tunnel's refusal; the pod is enrolled all the same. A pod that no message can describe (no uid, or names far
    /// longer than Kubernetes allows) is not.
    pub async fn add(&self, pod: Pod) -> Result<Delivery, Nack> {
        let uid = pod.uid.clone();
        if uid.is_empty() {
            let reason = "a pod without uid cannot be enrolled".to_owned();
            return Err(Nack { uid, reason });
        }
        let length = message::add(&uid, &pod.workload).len();
        if length > LONGEST_MESSAGE {
            let reason = format!("its names make {length} bytes, of which a message holds {LONGEST_MESSAGE}");
            return Err(Nack { uid, reason });
        }
        let Some(answer) = self.state.add(pod) else {
            return Ok(Delivery::Deferred);
        };
        match answer.await {
            Ok(Delivered::Acknowledged) => Ok(Delivery::Served),
            Ok(Delivered::Refused(reason)) => Err(Nack { uid, reason }),
            Err(_) => Ok(Delivery::Deferred),
        }
    }

    /// Tells tunnels that connect from now on to go on serving a pod that was enrolled by an earlier agent and whose
    /// network namespace has not been found yet.
    pub fn keep(&self, uid: &str) {
        self.state.keep(uid);
    }

    /// Removes a pod and tells every tunnel; returns when each has answered or is lost.
    pub async fn remove(&self, uid: &str) {
        for answer in self.state.remove(uid) {
            // A tunnel that is lost serves nothing, and one that refuses has had its words logged.
            let _answered = answer.await;
        }
    }

    /// How many tunnels are connected, as it changes.
    pub fn connections(&self) -> watch::Receiver<Connections> {
        self.state.connections()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.accepting.abort();
        // Nothing to do about a socket that somebody else has removed already.
        let _removed = fs::remove_file(&self.path);
    }
}

/// Binds beside `path` and moves the socket there once only its owner can connect: at `path` there is never a socket
/// that is open to all, and never none.
fn bind(path: &Path) -> io::Result<Listener> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} exists and is not a socket", path.display()),
            ));
        }
        Ok(_) if Connection::connect(path).is_ok() => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another agent listens on {}", path.display()),
            ));
        }
        Ok(_) => {}
    }
    let mut unready = path.as_os_str().to_owned();
    unready.push(".new");
    match fs::remove_file(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = Listener::bind(Path::new(&unready), BACKLOG)?;
    fs::set_permissions(&unready, Permissions::from_mode(0o600))?;
    fs::rename(&unready, path)?;
    Ok(listener)
}

async fn accept(listener: Listener, state: Arc<State>) {
    // Owned by this task, so that aborting it ends the sessions too.
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if sessions.len() < MOST_CONNECTIONS => match accepted {
                Ok(connection) => {
                    sessions.spawn(serve(connection, Arc::clone(&state)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a tunnel's connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn serve(connection: Connection, state: Arc<State>) {
    let failure = session::run(&connection, &state).await;
    info!(reason = %failure, "a tunnel's connection ended");
}
