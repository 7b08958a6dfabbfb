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
use adit_net::socket::accept_waiting;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::pod::Pod;

/// After an error that has to do with the process (no descriptors, no memory): long enough not to spin, short enough
/// that clients only see a slow connect.
const AFTER_ERROR: Duration = Duration::from_millis(50);
/// How often a stopping listener looks for its successor.
const LOOK: Duration = Duration::from_millis(100);

/// Tells the listeners of a pod to stop.
pub struct Stop(watch::Sender<Option<Order>>);

/// When to stop.
#[derive(Clone, Debug)]
struct Order {
    deadline: Option<Instant>,
    /// Listeners that stop as well, by inode: they are no successors.
    stopping: Rc<[u64]>,
}

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Stop {
    /// Stop at `deadline` (`None`: whenever), or before it as soon as somebody else listens who is not among
    /// `stopping`. The last order holds.
    pub fn at(&self, deadline: Option<Instant>, stopping: Rc<[u64]>) {
        self.0.send_replace(Some(Order { deadline, stopping }));
    }
}

/// Accepts connections until the pod's [`Stop`] ends it.
pub async fn run(listener: &TcpListener, pod: &Pod, mut serve: impl FnMut(TcpStream, SocketAddr)) {
    let mut orders = pod.stop.0.subscribe();
    loop {
        let order = orders.borrow_and_update().clone();
        if let Some(order) = order {
            tokio::select! {
                _ = orders.changed() => {}
                () = stopping(listener, pod, &order, &mut serve) => return,
            }
        } else {
            tokio::select! {
                _ = orders.changed() => {}
                accepted = listener.accept() => handle(accepted, pod, &mut serve).await,
            }
        }
    }
}

async fn handle(
    accepted: io::Result<(TcpStream, SocketAddr)>,
    pod: &Pod,
    serve: &mut impl FnMut(TcpStream, SocketAddr),
) {
    match accepted {
        Ok((socket, client)) => serve(socket, canonical(client)),
        // The client left while it waited.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
        Err(error) => {
            refused(pod, &error);
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
            () = passed(order.deadline) => return,
            () = sleep_until(look) => {
                if has_successor(listener, pod, order) {
                    empty_backlog(listener, pod, serve);
                    return;
                }
                look = Instant::now() + LOOK;
            }
            accepted = listener.accept() => handle(accepted, pod, serve).await,
        }
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Takes what the kernel had given to this listener already, asking the kernel itself: what is closed with connections
/// in its backlog resets them.
fn empty_backlog(listener: &TcpListener, pod: &Pod, serve: &mut impl FnMut(TcpStream, SocketAddr)) {
    loop {
        match accept_waiting(listener) {
            Ok(None) => return,
            Ok(Some(accepted)) => serve(accepted.0, canonical(accepted.1)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return refused(pod, &error),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn refused(pod: &Pod, error: &io::Error) {
    let metrics = &pod.worker.shared.metrics;
    metrics.refused(Outcome::Overloaded, adit_telemetry::Direction::Inbound);
    tracing::warn!(pod = %pod.info.name, namespace = %pod.info.namespace, %error, "cannot accept a connection");
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
