//! Accepting connections in a pod, and stopping without losing one.
//!
//! When a tunnel is replaced, old and new listen side by side (`SO_REUSEPORT`) and the kernel gives each a share of
//! the new connections. So an old listener stops at once when it has a successor, after it has taken what waits in
//! its backlog; without one it goes on until the deadline, because whatever it does not accept is refused.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use adit_mesh::Outcome;
use adit_net::listeners;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::pod::Pod;

/// After an error that has to do with the process (no descriptors, no memory): long enough not to spin, short enough
/// that clients only see a slow connect.
const AFTER_ERROR: Duration = Duration::from_millis(50);
/// How often a stopping listener looks for its successor.
const LOOK: Duration = Duration::from_millis(100);

/// Tells the listeners of a pod to stop, and who waits for it that one has.
pub struct Stop {
    order: watch::Sender<Option<Order>>,
    progress: Notify,
}

/// When to stop.
#[derive(Clone, Debug)]
struct Order {
    deadline: Instant,
    /// Listeners that stop as well, by inode: they are no successors.
    stopping: Rc<[u64]>,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            order: watch::Sender::new(None),
            progress: Notify::new(),
        }
    }
}

impl Stop {
    /// Stop at `deadline`, or before it as soon as somebody else listens who is not among `stopping`.
    pub fn at(&self, deadline: Instant, stopping: Rc<[u64]>) {
        self.order.send_replace(Some(Order { deadline, stopping }));
    }

    /// Waits until a listener has stopped.
    pub async fn progress(&self) {
        self.progress.notified().await;
    }
}

/// Accepts connections until the pod's [`Stop`] ends it.
pub async fn run(listener: &TcpListener, pod: &Pod, mut serve: impl FnMut(TcpStream, SocketAddr)) {
    let mut stop = pod.stop.order.subscribe();
    let order = loop {
        tokio::select! {
            accepted = listener.accept() => handle(accepted, pod, &mut serve).await,
            order = stop.wait_for(Option::is_some) => break order.ok().and_then(|order| order.clone()),
        }
    };
    if let Some(order) = order {
        stopping(listener, pod, &order, &mut serve).await;
    }
    pod.stop.progress.notify_one();
}

async fn handle(
    accepted: io::Result<(TcpStream, SocketAddr)>,
    pod: &Pod,
    serve: &mut impl FnMut(TcpStream, SocketAddr),
) {
    match accepted {
        Ok((socket, client)) => serve(socket, SocketAddr::new(client.ip().to_canonical(), client.port())),
        // The client left while it waited.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
        Err(error) => {
            pod.worker
                .shared
                .metrics
                .refused(Outcome::Overloaded, adit_telemetry::Direction::Inbound);
            tracing::warn!(pod = %pod.info.name, namespace = %pod.info.namespace, %error, "cannot accept a connection");
            sleep(AFTER_ERROR).await;
        }
    }
}

async fn stopping(
    listener: &TcpListener,
    pod: &Pod,
    order: &Order,
    serve: &mut impl FnMut(TcpStream, SocketAddr),
) {
    let mut look = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = sleep_until(order.deadline) => return,
            () = sleep_until(look) => {
                if has_successor(listener, pod, order) {
                    empty_backlog(listener, pod, serve).await;
                    return;
                }
                look = Instant::now() + LOOK;
            }
            accepted = listener.accept() => handle(accepted, pod, serve).await,
        }
    }
}

/// Takes what the kernel had given to this listener already.
async fn empty_backlog(listener: &TcpListener, pod: &Pod, serve: &mut impl FnMut(TcpStream, SocketAddr)) {
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => handle(accepted, pod, serve).await,
            () = std::future::ready(()) => return,
        }
    }
}

fn has_successor(listener: &TcpListener, pod: &Pod, order: &Order) -> bool {
    let found = listener
        .local_addr()
        .and_then(|address| listeners::another_listener(&pod.network, address.port(), &order.stopping));
    found.unwrap_or_else(|error| {
        tracing::debug!(pod = %pod.info.name, %error, "cannot tell whether another tunnel listens");
        false
    })
}
