//! Connections of a pod's applications to the world, redirected to port 15001.
//!
//! Original destination, decision, dial, relay. A dial that fails before any byte of the application was read tries
//! the next endpoint that the decision gives; a client that leaves meanwhile cancels it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use adit_hbone::Failure;
use adit_hbone::headers::forwarded::Forwarded;
use adit_hbone::headers::traceparent::Traceparent;
use adit_hbone::headers::{BAGGAGE, FORWARDED, TRACEPARENT};
use adit_hbone::pool::{Key, Opened};
use adit_mesh::registry::Local;
use adit_mesh::route::{self, Choice, Hop, Route, Tunnelled};
use adit_mesh::{Outcome, Text};
use adit_net::Source;
use adit_net::socket::{broken, original_destination};
use adit_telemetry::spans::Phase;
use http::{HeaderValue, Method, Request, Uri};
use tokio::net::TcpStream;

use crate::carry::Established;
use crate::dial::{self, Dialled};
use crate::live::{Connection, Direction, Entry};
use crate::pod::Pod;
use crate::relay::Sides;
use crate::report::Report;
use crate::worker::Active;

/// Endpoints tried for one connection: a client that waits for ever for one of a hundred dead endpoints is worse off
/// than one that is refused.
const MOST_ATTEMPTS: usize = 5;

/// Begins one connection: finds and reaches its other side.
pub(crate) async fn begin(pod: Rc<Pod>, socket: TcpStream, client: SocketAddr) -> Option<Established> {
    let mut report = Report::new(&pod, Direction::Outbound, client);
    report.begin_trace();
    let original = match original_destination(&socket) {
        Ok(original) => original,
        Err(error) => {
            let detail = format!("no original destination: {error}");
            report.refuse(&Failure::new(Outcome::ConnectFailed, detail));
            return None;
        }
    };
    report.called(original);
    let entry = pod
        .table
        .enter(Connection::new(Direction::Outbound, client, original));
    let established = tokio::select! {
        biased;
        (outcome, detail) = entry.cut.wait() => Err(Failure::new(outcome, detail)),
        established = establish(&pod, &entry, &mut report, original) => established,
        _ = broken(&socket) => Err(Failure::new(Outcome::ClientGone, "the client closed the connection")),
    };
    match established {
        Err(failure) => {
            // An application must see a failure, not the end of an empty answer.
            let _ = adit_net::socket::reset(&socket);
            report.refuse(&failure);
            None
        }
        Ok(server) => {
            let (sides, descriptor) = match server.side {
                Side::Tcp(Dialled {
                    socket: server,
                    descriptor,
                }) => (
                    Sides::sockets(socket, server, &pod.admission.ledger),
                    Some(descriptor),
                ),
                Side::Tunnel(stream) => (Sides::outbound(socket, stream), None),
            };
            Some(Established {
                opened: report.open(entry.connection()),
                sides,
                entry,
                active: server.active,
                admitted: None,
                descriptor,
            })
        }
    }
}

/// The other side of a connection, found and reached.
struct Server {
    side: Side,
    active: Option<Active>,
}

enum Side {
    Tcp(Dialled),
    Tunnel(adit_hbone::Stream),
}

async fn establish(
    pod: &Rc<Pod>,
    entry: &Entry,
    report: &mut Report,
    original: SocketAddr,
) -> Result<Server, Failure> {
    let local = pod.wait_local().await?;
    report.local(&local.workload);
    let mut tried: Vec<Text> = Vec::new();
    let mut last: Option<Failure> = None;
    loop {
        let route = decide(pod, &local, original, &tried);
        report.route(&route);
        let (peer, dialled) = match route {
            Route::Refuse(refusal) => {
                // After failed attempts, the failure says more than that nothing is left to try.
                let refusal = Failure::new(refusal.outcome, &refusal.detail);
                return Err(last.unwrap_or(refusal));
            }
            Route::Passthrough { address, .. } => {
                entry.actual.set(Some(address));
                let dialled = dial::tcp(pod, Source::Any, address).await?;
                report.passed(Phase::TcpConnected);
                return Ok(Server {
                    side: Side::Tcp(dialled),
                    active: None,
                });
            }
            Route::Direct(hop) => {
                entry.actual.set(Some(hop.address));
                let dialled = dial::tcp(pod, Source::Any, hop.address).await;
                if dialled.is_ok() {
                    report.passed(Phase::TcpConnected);
                }
                (hop.peer.uid.clone(), dialled.map(Side::Tcp))
            }
            Route::Hbone(tunnelled) => {
                entry.actual.set(Some(tunnelled.hop.address));
                let uid = tunnelled.hop.peer.uid.clone();
                (
                    uid,
                    tunnel(pod, &local, entry, report, &tunnelled)
                        .await
                        .map(Side::Tunnel),
                )
            }
        };
        let endpoints = &pod.worker.endpoints;
        match dialled {
            Ok(side) => {
                endpoints.succeeded(&peer);
                return Ok(Server {
                    side,
                    active: Some(endpoints.hold(&peer)),
                });
            }
            Err(failure) => {
                if let Some(service) = report.service() {
                    let members = pod.worker.shared.store.load().endpoints(service).count();
                    endpoints.failed(&peer, service, members, failure.outcome);
                }
                tried.push(peer);
                if !failure.outcome.may_try_another() || tried.len() >= MOST_ATTEMPTS {
                    return Err(failure);
                }
                last = Some(failure);
            }
        }
    }
}

fn decide(pod: &Pod, local: &Local, original: SocketAddr, tried: &[Text]) -> Route {
    let worker = &pod.worker;
    let mut random = worker.random.borrow_mut();
    let mut choice = Choice {
        random: &mut random,
        load: worker.endpoints.view(),
        tried,
    };
    route::decide(
        &worker.shared.store.load(),
        &local.workload,
        original,
        &mut choice,
    )
}

async fn tunnel(
    pod: &Rc<Pod>,
    local: &Local,
    entry: &Entry,
    report: &mut Report,
    tunnelled: &Tunnelled,
) -> Result<adit_hbone::Stream, Failure> {
    let key = Key {
        source: local.workload.identity.clone(),
        expected: tunnelled.expected.clone(),
        address: tunnelled.hop.address,
    };
    let request = request(local, entry.source, tunnelled, report.trace_to_send())?;
    let Opened {
        stream,
        connection,
        fresh,
        ..
    } = pod.pool.open(&key, &request).await?;
    report.tunnel(&connection, fresh);
    *entry.chain.borrow_mut() = Some(connection.peer().clone());
    Ok(stream)
}

fn request(
    local: &Local,
    client: SocketAddr,
    tunnelled: &Tunnelled,
    trace: Traceparent,
) -> Result<Request<()>, Failure> {
    let malformed = |what: &dyn std::fmt::Display| Failure::new(Outcome::BadRequest, what);
    let authority = Uri::try_from(tunnelled.authority.to_string()).map_err(|error| malformed(&error))?;
    let forwarded = Forwarded {
        client: Some(client),
        host: service_hostname(&tunnelled.hop),
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = authority;
    let headers = request.headers_mut();
    let value = |text: String| HeaderValue::try_from(text).map_err(|error| malformed(&error));
    if !local.baggage.is_empty() {
        let baggage =
            HeaderValue::from_maybe_shared(local.baggage.clone()).map_err(|error| malformed(&error))?;
        headers.insert(BAGGAGE, baggage);
    }
    headers.insert(FORWARDED, value(forwarded.to_string())?);
    headers.insert(TRACEPARENT, value(trace.to_string())?);
    Ok(request)
}

fn service_hostname(hop: &Hop) -> Option<&str> {
    hop.service
        .as_ref()
        .map(|service: &Arc<_>| service.key.hostname.as_str())
}
