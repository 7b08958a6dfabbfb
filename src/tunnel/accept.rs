//! Accepting connections in a pod, and stopping without losing one.
//!
//! When a tunnel is replaced, old and new listen side by side (`SO_REUSEPORT`) and the kernel gives each a share of
//! the new connections. So an old listener stops at once when it has a successor, after it has taken what waits in
//! its backlog; without one it goes on until the deadline, because whatever it does not accept is refused.
//!
//! Where no descriptor is left, those who wait are told so with a spare one: a client that is reset can try elsewhere, one
//! that hangs in a backlog cannot.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use adit_hbone::Failure;
use adit_mesh::Outcome;
use adit_net::listeners;
use adit_net::socket::{accept_waiting, original_destination, reset};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::live::Direction;
use crate::pod::Pod;
use crate::report::Report;

/// After an error that has to do with the process (no descriptors, no memory): long enough not to spin, short enough
/// that clients only see a slow connect.
const AFTER_ERROR: Duration = Duration::from_millis(50);
/// Those who are told no with the spare descriptor before others get their turn.
const AT_ONCE: usize = 64;
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
pub async fn run(
    listener: &TcpListener,
    pod: &Rc<Pod>,
    direction: Direction,
    mut serve: impl FnMut(TcpStream, SocketAddr),
) {
    let mut listening = Listening {
        listener,
        pod,
        direction,
        serve: &mut serve,
    };
    let mut orders = pod.stop.0.subscribe();
    loop {
        let order = orders.borrow_and_update().clone();
        if let Some(order) = order {
            tokio::select! {
                _ = orders.changed() => {}
                () = listening.stopping(&order) => return,
            }
        } else {
            tokio::select! {
                _ = orders.changed() => {}
                accepted = listener.accept() => listening.handle(accepted).await,
            }
        }
    }
}

/// Resets a connection that may not come in, and tells why.
pub fn turn_away(
    pod: &Rc<Pod>,
    direction: Direction,
    socket: &TcpStream,
    client: SocketAddr,
    failure: &Failure,
) {
    // Fails only if the client has left already.
    let _ = reset(socket);
    let mut report = Report::new(pod, direction, client);
    let called = match direction {
        Direction::Inbound => socket.local_addr(),
        Direction::Outbound | Direction::Plaintext => original_destination(socket),
    };
    if let Ok(called) = called {
        report.called(canonical(called));
    }
    report.refuse(failure);
}

/// A listener at work.
struct Listening<'a, S> {
    listener: &'a TcpListener,
    pod: &'a Rc<Pod>,
    direction: Direction,
    serve: &'a mut S,
}

impl<S: FnMut(TcpStream, SocketAddr)> Listening<'_, S> {
    async fn handle(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((socket, client)) => (self.serve)(socket, canonical(client)),
            // The client left while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                self.failed(&error);
                sleep(AFTER_ERROR).await;
            }
        }
    }

    async fn stopping(&mut self, order: &Order) {
        let mut look = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = passed(order.deadline) => return,
                () = sleep_until(look) => {
                    if has_successor(self.listener, self.pod, order) {
                        self.empty_backlog();
                        return;
                    }
                    look = Instant::now() + LOOK;
                }
                accepted = self.listener.accept() => self.handle(accepted).await,
            }
        }
    }

    /// Takes what the kernel had given to this listener already, asking the kernel itself: what is closed with
    /// connections in its backlog resets them.
    fn empty_backlog(&mut self) {
        loop {
            match accept_waiting(self.listener) {
                Ok(None) => return,
                Ok(Some(accepted)) => (self.serve)(accepted.0, canonical(accepted.1)),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return self.failed(&error),
            }
        }
    }

    /// A connection could not be accepted. Where that is for want of descriptors, those who wait are told.
    fn failed(&self, error: &io::Error) {
        if !matches!(error.raw_os_error(), Some(nix::libc::EMFILE | nix::libc::ENFILE)) {
            let metrics = &self.pod.worker.shared.metrics;
            metrics.refused(Outcome::Overloaded, self.direction.reported());
            tracing::warn!(pod = %self.pod.info.name, namespace = %self.pod.info.namespace, %error,
                "cannot accept a connection");
            return;
        }
        let spare = &self.pod.worker.spare;
        for _ in 0..AT_ONCE {
            match spare.lend(|| self.refuse_waiting()) {
                Some(Ok(true)) => {}
                Some(Ok(false)) => return,
                // Not even the spare one: whoever waits has to wait on.
                Some(Err(_)) | None => return drop(self.pod.admission.out_of_descriptors()),
            }
        }
    }

    /// Takes one connection that waits, and tells it no; `false` if there is none.
    fn refuse_waiting(&self) -> io::Result<bool> {
        let Some((socket, client)) = accept_waiting(self.listener)? else {
            return Ok(false);
        };
        let failure = self.pod.admission.out_of_descriptors();
        turn_away(self.pod, self.direction, &socket, canonical(client), &failure);
        Ok(true)
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
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
