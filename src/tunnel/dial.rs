//! Opening sockets in a pod's namespace, with a deadline, and HBONE connections on them.

use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Instant;

use adit_hbone::Failure;
use adit_hbone::client::Connection;
use adit_hbone::pool::{Dial, Key};
use adit_hbone::share::Taken;
use adit_mesh::Outcome;
use adit_net::SocketOptions;
use adit_net::socket::{ConnectError, Source, connect, set_congestion};
use adit_telemetry::Direction;
use nix::errno::Errno;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::pod::Pod;

/// A socket that was dialled.
pub(crate) struct Dialled {
    /// It.
    pub(crate) socket: TcpStream,
    /// Counts it for the pod.
    pub(crate) descriptor: Taken,
}

/// Connects from the pod's namespace.
///
/// # Errors
/// [`Outcome::ConnectFailed`], [`Outcome::ConnectTimeout`], [`Outcome::SourceAddress`] or [`Outcome::Overloaded`].
pub(crate) async fn tcp(pod: &Pod, source: Source, destination: SocketAddr) -> Result<Dialled, Failure> {
    let within = pod.worker.hbone.deadlines.connect;
    let options = options(pod, destination);
    match timeout(within, connect(Some(&pod.network), source, destination, options)).await {
        Ok(Ok(socket)) => Ok(Dialled {
            descriptor: pod.admission.descriptor(&socket)?,
            socket,
        }),
        Ok(Err(ConnectError::Socket(Errno::EMFILE | Errno::ENFILE))) => {
            Err(pod.admission.out_of_descriptors())
        }
        Ok(Err(error)) => Err(failure(destination, error)),
        Err(_) => Err(Failure::new(
            Outcome::ConnectTimeout,
            format!("{destination} did not answer within {within:?}"),
        )),
    }
}

/// Makes the HBONE connections of a pod's pool.
pub(crate) fn for_pool(pod: Weak<Pod>) -> Box<Dial> {
    Box::new(move |key| {
        let pod = pod.clone();
        Box::pin(async move {
            match pod.upgrade() {
                Some(pod) => hbone(&pod, &key).await,
                None => Err(Failure::new(Outcome::PodGone, "the pod left")),
            }
        })
    })
}

async fn hbone(pod: &Rc<Pod>, key: &Key) -> Result<Connection, Failure> {
    let local = pod.wait_local().await?;
    // Without a certificate there is nothing to dial for.
    pod.credentials(&local).await?;
    let started = Instant::now();
    let Dialled { socket, descriptor } = tcp(pod, Source::Any, key.address)
        .await
        .map_err(on_the_hbone_port)?;
    let connected = started.elapsed();
    // The certificate and the trust of when its turn has come.
    let establish = async {
        let credentials = pod.credentials(&local).await?;
        let config = credentials.client_config(&key.expected);
        let connection = Connection::establish(socket, connected, config, &pod.worker.hbone).await?;
        Ok::<_, Failure>((connection, credentials))
    };
    let within = pod.worker.hbone.deadlines.tls;
    let (connection, credentials) = pod
        .admission
        .handshake(Direction::Outbound, within, establish)
        .await?;
    pod.still_trusts(connection.peer(), &credentials)?;
    connection.meter(pod.worker.dialled.clone());
    connection.account(pod.admission.ledger.clone());
    connection.count(descriptor);
    let metrics = &pod.worker.shared.metrics;
    metrics.connect[Direction::Outbound].observe(connection.timings().connect);
    metrics.tls_handshake[Direction::Outbound].observe(connection.timings().tls);
    metrics.pool.dials.inc();
    Ok(connection)
}

/// A workload that speaks HBONE listens whenever it lives, so silence on its port has another reason than a slow
/// application: usually a network policy that forgot the port.
fn on_the_hbone_port(failure: Failure) -> Failure {
    match failure.outcome {
        Outcome::ConnectTimeout => Failure {
            outcome: Outcome::NetworkPolicy,
            ..failure
        },
        _ => failure,
    }
}

/// Node-local hops have a congestion control of their own: a pacing one triples their cost.
fn options(pod: &Pod, destination: SocketAddr) -> &SocketOptions {
    pod.worker
        .shared
        .config
        .sockets
        .towards(is_on_this_node(pod, destination.ip()))
}

/// Gives a connection that a pod accepted from this node the options of such connections.
pub(crate) fn accepted(pod: &Pod, socket: &TcpStream, client: IpAddr) {
    let sockets = &pod.worker.shared.config.sockets;
    if sockets.local.congestion == sockets.remote.congestion {
        return;
    }
    if let Some(congestion) = &sockets.local.congestion
        && is_on_this_node(pod, client)
    {
        // It fails only on a connection that has ended, and then it does not matter.
        let _ = set_congestion(socket, congestion);
    }
}

fn is_on_this_node(pod: &Pod, ip: IpAddr) -> bool {
    let registry = pod.worker.shared.store.load();
    let node = registry.node();
    let found = registry.workload_at(&node.network, ip);
    ip.is_loopback() || found.is_some_and(|workload| !node.name.is_empty() && workload.node == node.name)
}

fn failure(destination: SocketAddr, error: ConnectError) -> Failure {
    let outcome = match error {
        ConnectError::SourceUnavailable { .. } => Outcome::SourceAddress,
        ConnectError::Socket(Errno::ENOBUFS | Errno::ENOMEM) => Outcome::Overloaded,
        ConnectError::Connect(Errno::EADDRNOTAVAIL) => Outcome::Overloaded,
        ConnectError::Connect(Errno::ETIMEDOUT) => Outcome::ConnectTimeout,
        ConnectError::Socket(_) | ConnectError::Connect(_) => Outcome::ConnectFailed,
    };
    Failure::new(outcome, format!("{destination}: {error}"))
}
