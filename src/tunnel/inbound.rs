//! HBONE connections of peers to a pod, on port 15008 of its namespace.
//!
//! TLS with a client certificate, HTTP/2, and for every CONNECT: the destination must be this pod, the policies of
//! the pod must allow the peer's identity, and then the application is dialled from the peer's address.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use adit_hbone::Failure;
use adit_hbone::allowance::Allowance;
use adit_hbone::server::{Accepted, Control, Incoming};
use adit_mesh::authorize::{self, Verdict};
use adit_mesh::registry::Local;
use adit_mesh::route::{self, Authority, Delivery};
use adit_mesh::{Identity, Outcome, Text};
use adit_net::Source;
use adit_pki::peer_identity;
use adit_telemetry::Direction::Inbound as AtDestination;
use adit_telemetry::metrics::Limit;
use adit_telemetry::spans::Phase;
use http::HeaderValue;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::carry::{Established, carry};
use crate::config::KeepSource;
use crate::dial::Dialled;
use crate::live::{Connection, Direction, Entry};
use crate::pod::{Pod, Server};
use crate::relay::Sides;
use crate::report::Report;
use crate::{accept, dial, proxy_protocol};

/// Requests that a peer may give up before they are answered, on one connection, at once and in every [`GIVE_UP_PERIOD`].
/// Each has made us dial the application, so a peer that does nothing else (a "rapid reset") makes much work with few
/// bytes. An honest one passes on clients that lost their patience, and a port scan.
const GIVE_UPS: u32 = 500;
/// See [`GIVE_UPS`].
const GIVE_UP_PERIOD: Duration = Duration::from_secs(10);

/// A peer's connection, for the CONNECTs in it.
struct Peer {
    /// Where it comes from.
    address: SocketAddr,
    /// Our end of it.
    socket: SocketAddr,
    identity: Identity,
    server: Server,
    give_ups: RefCell<Allowance>,
}

/// Serves one HBONE connection to its end.
pub(crate) async fn serve(pod: Rc<Pod>, socket: TcpStream, client: SocketAddr) {
    let _accepting = pod.accepting();
    let _tunnel = match pod.admission.tunnel(client.ip()) {
        Ok(tunnel) => tunnel,
        Err(failure) => return accept::turn_away(&pod, Direction::Inbound, &socket, client, &failure),
    };
    let mut report = Report::new(&pod, Direction::Inbound, client);
    report.begin_trace();
    let (accepted, peer) = match shake_hands(&pod, socket, client, &mut report).await {
        Ok(accepted) => accepted,
        Err(failure) => return report.refuse(&failure),
    };
    report.proved(&peer.identity);
    let peer = Rc::new(peer);
    let _admitted = pod.admit(&peer.server);
    let served = accepted
        .serve(&pod.worker.hbone, &peer.server.control, |incoming| {
            let beginning = Box::pin(begin(pod.clone(), peer.clone(), incoming));
            tokio::task::spawn_local(carry(beginning, None));
        })
        .await;
    match served {
        Err(failure) if is_the_peers_doing(failure.outcome) => report.refuse(&failure),
        // Each CONNECT was told for itself; a tunnel is no connection of an application.
        Err(failure) => {
            report.withdraw();
            tracing::debug!(pod = %pod.info.name, peer = %client, %failure, "HBONE connection broke");
        }
        Ok(()) => {
            report.withdraw();
            tracing::debug!(pod = %pod.info.name, peer = %client, "HBONE connection ended");
        }
    }
}

/// Whether a tunnel that ends like this is worth a line of its own, beside those of the connections in it.
fn is_the_peers_doing(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Http2Failed | Outcome::ProtocolViolation | Outcome::TlsFailed | Outcome::Overloaded
    )
}

async fn shake_hands(
    pod: &Pod,
    socket: TcpStream,
    client: SocketAddr,
    report: &mut Report,
) -> Result<(Accepted, Peer), Failure> {
    let address = socket
        .local_addr()
        .map_err(|error| Failure::new(Outcome::ConnectFailed, error))?;
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    report.called(address);
    let local = pod.wait_local().await?;
    report.local(&local.workload);
    let within = pod.worker.hbone.deadlines.tls;
    begun(&socket, within).await?;
    // The certificate and the trust of when its turn has come.
    let handshake = async {
        let credentials = pod.credentials(&local).await?;
        let started = Instant::now();
        let accepted = Accepted::handshake(socket, credentials.server_config(), &pod.worker.hbone).await?;
        pod.worker.shared.metrics.tls_handshake[AtDestination].observe(started.elapsed());
        Ok::<_, Failure>((accepted, credentials))
    };
    let (accepted, credentials) = pod.admission.handshake(AtDestination, within, handshake).await?;
    let chain = accepted.peer().clone();
    pod.still_trusts(&chain, &credentials)?;
    let leaf = chain
        .first()
        .ok_or_else(|| Failure::new(Outcome::TlsFailed, "the peer has no certificate"))?;
    let identity = peer_identity(leaf).map_err(|error| Failure::new(Outcome::IdentityMismatch, error))?;
    let server = Server {
        control: Control::metered(pod.worker.accepted.clone(), pod.admission.ledger.clone()),
        chain,
    };
    Ok((
        accepted,
        Peer {
            address: client,
            socket: address,
            identity,
            server,
            give_ups: RefCell::new(Allowance::new(GIVE_UPS, GIVE_UP_PERIOD)),
        },
    ))
}

/// Waits until the peer has said something: who only connects takes no turn from those who shake hands.
async fn begun(socket: &TcpStream, within: Duration) -> Result<(), Failure> {
    match timeout(within, socket.readable()).await {
        // What broke is seen by who reads.
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::new(
            Outcome::TlsTimeout,
            format!("no beginning of a TLS handshake within {within:?}"),
        )),
    }
}

/// Begins the connection of one CONNECT: decides, and dials the application.
async fn begin(pod: Rc<Pod>, peer: Rc<Peer>, mut incoming: Incoming) -> Option<Established> {
    let mut report = Report::new(&pod, Direction::Inbound, peer.address);
    report.tunnelled_from(&peer.identity, peer.socket);
    report.headers(incoming.headers());
    let admitted = peer.take_give_up(&pod).and_then(|()| pod.admission.connection());
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(failure) => return refuse(incoming, report, &failure),
    };
    let (local, delivery) = match deliver(&pod, &peer, &incoming, &mut report).await {
        Ok(delivered) => delivered,
        Err(failure) => {
            peer.answered();
            return refuse(incoming, report, &failure);
        }
    };
    // Entered before it is decided: a policy that changes in between finds it in the table.
    let entry = pod.table.enter(Connection {
        authorized: delivery.authorized,
        peer: Some(peer.identity.clone()),
        ..Connection::new(Direction::Inbound, peer.address, delivery.destination)
    });
    *entry.chain.borrow_mut() = Some(peer.server.chain.clone());
    *entry.service.borrow_mut() = delivery.service.clone();
    let reached = tokio::select! {
        biased;
        (outcome, detail) = entry.cut.wait() => Err(Failure::new(outcome, detail)),
        reached = reach(&pod, &entry, &delivery, &mut report) => reached,
        () = incoming.abandoned() => Err(Failure::new(Outcome::ClientGone, "the peer gave the request up")),
    };
    let Dialled {
        mut socket,
        descriptor,
    } = match reached {
        Ok(dialled) => dialled,
        Err(failure) => {
            if failure.outcome != Outcome::ClientGone {
                peer.answered();
            }
            return refuse(incoming, report, &failure);
        }
    };
    peer.answered();
    let accepted = incoming.accept(response_baggage(&pod, &local));
    let announced = match accepted {
        Ok(stream) => {
            report.passed(Phase::ConnectAnswered);
            announce(&entry, &delivery, &mut socket).await.map(|()| stream)
        }
        Err(failure) => Err(failure),
    };
    match announced {
        Ok(stream) => Some(Established {
            opened: report.open(entry.connection()),
            sides: Sides::inbound(stream, socket),
            entry,
            active: None,
            admitted: Some(admitted),
            descriptor: Some(descriptor),
        }),
        Err(failure) => {
            report.refuse(&failure);
            None
        }
    }
}

fn refuse(incoming: Incoming, report: Report, failure: &Failure) -> Option<Established> {
    incoming.refuse(failure.outcome);
    report.refuse(failure);
    None
}

impl Peer {
    /// Takes what a request costs that is given up before it is answered. [`Peer::answered`] gives it back.
    fn take_give_up(&self, pod: &Pod) -> Result<(), Failure> {
        if self.give_ups.borrow_mut().take() {
            return Ok(());
        }
        let detail = format!(
            "the peer gave up more than {GIVE_UPS} requests on this connection within {GIVE_UP_PERIOD:?} before they \
             were answered"
        );
        Err(pod.admission.reached(Limit::AbandonedRequests, detail))
    }

    fn answered(&self) {
        self.give_ups.borrow_mut().restore();
    }
}

async fn deliver(
    pod: &Pod,
    peer: &Peer,
    incoming: &Incoming,
    report: &mut Report,
) -> Result<(std::sync::Arc<Local>, Delivery), Failure> {
    let text = incoming
        .authority()
        .ok_or_else(|| Failure::new(Outcome::BadRequest, "not a CONNECT with an authority"))?;
    let authority: Authority = text
        .parse()
        .map_err(|error| Failure::new(Outcome::BadRequest, format!("authority {text:?}: {error}")))?;
    if let Authority::Address(address) = &authority {
        report.called(*address);
    }
    let local = pod.wait_policies(pod.wait_local().await?).await;
    report.local(&local.workload);
    let registry = pod.worker.shared.store.load();
    let delivery = route::accept(&registry, &local.workload, peer.socket, &authority)
        .map_err(|refusal| Failure::new(refusal.outcome, refusal.detail))?;
    let port = delivery.authorized.port();
    let service = route::attribute(&registry, &local.workload, port, report.named_host());
    report.delivery(&delivery, service);
    Ok((local.clone(), delivery))
}

/// Decides, and dials the application.
async fn reach(
    pod: &Pod,
    entry: &Entry,
    delivery: &Delivery,
    report: &mut Report,
) -> Result<Dialled, Failure> {
    authorize(pod, entry, report)?;
    let address = delivery.dial(pod.worker.shared.config.traffic.localhost_app_tunnel);
    entry.actual.set(Some(address));
    let dialled = application(pod, entry, address).await?;
    report.passed(Phase::TcpConnected);
    Ok(dialled)
}

/// Decides whether the pod's policies of this moment allow the connection.
///
/// # Errors
/// The refusal, in the words of the verdict.
pub(crate) fn authorize(pod: &Pod, entry: &Connection, report: &mut Report) -> Result<(), Failure> {
    let Some(verdict) = verdict(pod, entry) else {
        return Err(Failure::new(
            Outcome::UnknownWorkload,
            "the workload has left the configuration",
        ));
    };
    let decided = match verdict.outcome() {
        None => Ok(()),
        Some(outcome) => Err(Failure::new(outcome, &verdict)),
    };
    report.verdict(verdict);
    decided
}

/// What the pod's policies of this moment say; `None` if the pod is not part of the configuration.
pub(crate) fn verdict(pod: &Pod, connection: &Connection) -> Option<Verdict> {
    let local = pod.local()?;
    let connection = authorize::Connection {
        peer: connection.peer.as_ref(),
        source: connection.source_ip(),
        destination: connection.authorized,
    };
    Some(authorize::decide(&local.policies, &connection))
}

/// Dials the application in the name of the client.
///
/// # Errors
/// Those of [`dial::tcp`].
pub(crate) async fn application(
    pod: &Pod,
    entry: &Connection,
    address: SocketAddr,
) -> Result<Dialled, Failure> {
    let started = Instant::now();
    let dialled = dial_application(pod, entry, address).await?;
    pod.worker.shared.metrics.connect[AtDestination].observe(started.elapsed());
    Ok(dialled)
}

async fn dial_application(pod: &Pod, entry: &Connection, address: SocketAddr) -> Result<Dialled, Failure> {
    let client = entry.source_ip();
    let keep = pod.worker.shared.config.sockets.keep_source;
    // On loopback, and to itself, a pod would drop packets from an address that is not its own.
    let kept_anyway =
        address.ip().is_loopback() || client == address.ip() || client.is_ipv4() != address.is_ipv4();
    if keep == KeepSource::Never || kept_anyway {
        return dial::tcp(pod, Source::Any, address).await;
    }
    match dial::tcp(pod, Source::Transparent(client), address).await {
        Err(failure) if failure.outcome == Outcome::SourceAddress && keep == KeepSource::Try => {
            if !pod.source_unavailable.replace(true) {
                tracing::warn!(pod = %pod.info.name, namespace = %pod.info.namespace, detail = %failure.detail,
                    "applications of this pod see the pod's own address instead of their clients'; \
                     set ENABLE_ORIG_SRC=true to refuse such connections");
            }
            dial::tcp(pod, Source::Any, address).await
        }
        result => result,
    }
}

/// Tells the application of its client by a PROXY header, where it asked for one.
async fn announce(entry: &Entry, delivery: &Delivery, socket: &mut TcpStream) -> Result<(), Failure> {
    if !delivery.proxy_header {
        return Ok(());
    }
    let service = delivery.service.as_ref();
    let hostname = service.map(|service| Text::as_str(&service.key.hostname));
    let header = proxy_protocol::header(entry.source, delivery.destination, entry.peer.as_ref(), hostname);
    // A few hundred bytes into the empty send buffer of a new connection.
    socket.write_all(&header).await.map_err(|error| {
        let detail = format!("the application closed before the PROXY header: {error}");
        Failure::new(Outcome::ConnectFailed, detail)
    })
}

fn response_baggage(pod: &Pod, local: &Local) -> Option<HeaderValue> {
    if !pod.worker.shared.config.traffic.response_baggage || local.baggage.is_empty() {
        return None;
    }
    HeaderValue::from_maybe_shared(local.baggage.clone()).ok()
}
