//! One tunnel's connection, from its hello to its end: one request at a time, each with its deadline.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};

use tokio::time::timeout;
use tracing::{info, warn};

use super::state::{Delivered, Joined, Order, State, Task};
use crate::DEADLINE;
use crate::failure::{ConnectionFailure, Malformed};
use crate::message::{self, Packet};
use crate::socket::Connection;

/// Serves a tunnel until the connection is lost, and returns why it was.
pub(super) async fn run(connection: &Connection, state: &State) -> ConnectionFailure {
    if let Err(failure) = read_hello(connection).await {
        return failure;
    }
    let mut joined = state.join();
    let left = Left { state, id: joined.id };
    let failure = match tell(connection, state, &mut joined).await {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    // First out of the list, then the unanswered tasks: who sees an order lost finds the tunnel gone.
    drop(left);
    drop(joined);
    failure
}

/// Takes the tunnel out of the list also when the session's task is aborted.
struct Left<'a> {
    state: &'a State,
    id: u64,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.state.leave(self.id);
    }
}

async fn read_hello(connection: &Connection) -> Result<(), ConnectionFailure> {
    let packet = within("waiting for the hello", connection.receive()).await?;
    Ok(message::read_hello(&packet)?)
}

async fn tell(
    connection: &Connection,
    state: &State,
    joined: &mut Joined,
) -> Result<Infallible, ConnectionFailure> {
    let pods = joined.snapshot.len();
    for order in joined.snapshot.drain(..) {
        request(connection, &order).await?;
    }
    match exchange(connection, &message::snapshot_sent(), None).await? {
        Ok(()) => {
            state.synchronised(joined.id);
            info!(pods, "a tunnel has acknowledged the snapshot");
        }
        Err(reason) => warn!(%reason, "the tunnel refuses the snapshot"),
    }
    loop {
        let Task { order, answer } = next(connection, joined).await?;
        let delivered = request(connection, &order).await?;
        if let Some(answer) = answer {
            // Whoever asked may no longer care.
            let _unheard = answer.send(delivered);
        }
    }
}

/// The next task. Between requests the tunnel has nothing to say, so that whatever can be read ends the connection.
async fn next(connection: &Connection, joined: &mut Joined) -> Result<Task, ConnectionFailure> {
    tokio::select! {
        packet = connection.receive() => {
            let Packet { .. } = packet?;
            Err(Malformed::OutOfTurn.into())
        }
        // The list holds the sender until this session leaves it.
        Some(task) = joined.tasks.recv() => Ok(task),
    }
}

async fn request(connection: &Connection, order: &Order) -> Result<Delivered, ConnectionFailure> {
    let (uid, bytes, namespace) = match order {
        Order::Add(pod) => {
            let bytes = message::add(&pod.uid, &pod.workload);
            (&pod.uid, bytes, Some(pod.namespace.as_fd()))
        }
        Order::Keep(uid) => (uid, message::keep(uid), None),
        Order::Delete(uid) => (uid, message::delete(uid), None),
    };
    let outcome = exchange(connection, &bytes, namespace).await?;
    Ok(match outcome {
        Ok(()) => Delivered::Acknowledged,
        Err(reason) => {
            warn!(pod = %uid, %reason, "the tunnel refuses");
            Delivered::Refused(reason)
        }
    })
}

async fn exchange(
    connection: &Connection,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<Result<(), String>, ConnectionFailure> {
    within("sending a request", connection.send(bytes, descriptor)).await?;
    let packet = within("waiting for the tunnel's answer", connection.receive()).await?;
    Ok(message::read_answer(&packet)?)
}

async fn within<T>(
    action: &'static str,
    work: impl Future<Output = Result<T, ConnectionFailure>>,
) -> Result<T, ConnectionFailure> {
    match timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => Err(ConnectionFailure::Deadline { action }),
    }
}
