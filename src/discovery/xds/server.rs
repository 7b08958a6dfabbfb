//! The server: each client has a task that moves the messages of its sessions.
//!
//! Nothing is sent before the catalog is there, because a client takes its first response for the whole mesh. A client is
//! told the next difference when its connection has room and it has answered the last one, so that what a slow one costs
//! is one response. Streams end after a while, spread in time, so that clients balance themselves over the replicas.

mod clients;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use adit_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub use clients::{Client, Clients};

use super::session::{Answer, Removals};
use super::{Catalog, Kind, Session};
use crate::auth::{Authenticator, Caller, Connection, Denied, Presented};
use crate::xds::node::NodeInfo;

/// A client says who it is at once, or goes.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a new client waits for its turn; after that another replica may have time for it.
const LONGEST_TURN: Duration = Duration::from_secs(1);
/// What a client has of a large mesh is told in its first request: names and versions of a million workloads.
const LARGEST_REQUEST: usize = 256 << 20;

/// How clients are served.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// How long a stream lives, give or take a tenth; `None` for ever.
    pub longest_stream: Option<Duration>,
    /// How many new streams are served a second. Each makes a first response, which is the whole mesh.
    pub streams_per_second: NonZeroU32,
}

impl Settings {
    /// The defaults on a machine with so many cores: half an hour, so that a new replica has its share of the clients
    /// after that; as many new streams as istiod takes, 15 and 5 for each core.
    pub fn new(cores: usize) -> Self {
        let streams = u32::try_from(cores)
            .unwrap_or(u32::MAX)
            .saturating_mul(5)
            .saturating_add(15);
        Self {
            longest_stream: Some(Duration::from_secs(30 * 60)),
            streams_per_second: NonZeroU32::MIN.saturating_add(streams - 1),
        }
    }
}

/// Who wants to know what the server does. Called from the tasks of clients: it must not wait.
pub trait Observer: Send + Sync + 'static {
    /// A response was sent.
    fn sent(&self, kind: Kind, response: &DeltaDiscoveryResponse, took: Duration);
    /// A client has applied what an event that was seen `after` ago has changed.
    fn accepted(&self, kind: Kind, after: Duration);
    /// A client refused a response.
    fn refused(&self, kind: Kind);
    /// A client was not served.
    fn denied(&self, reason: &'static str);
}

/// The discovery service.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    catalog: watch::Receiver<Option<Catalog>>,
    authenticator: Arc<dyn Authenticator>,
    clients: Clients,
    observer: Arc<dyn Observer>,
    settings: Settings,
    turns: DefaultDirectRateLimiter,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// Serves a catalog, as soon as there is one, to whom the authenticator lets in. When the catalog's sender is gone,
    /// all streams end.
    pub fn new(
        catalog: watch::Receiver<Option<Catalog>>,
        authenticator: Arc<dyn Authenticator>,
        observer: Arc<dyn Observer>,
        settings: Settings,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                catalog,
                authenticator,
                clients: Clients::default(),
                observer,
                settings,
                turns: RateLimiter::direct(Quota::per_second(settings.streams_per_second)),
            }),
        }
    }

    /// Who is served.
    pub fn clients(&self) -> Clients {
        self.shared.clients.clone()
    }

    /// The service, for a gRPC server.
    pub fn service(self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(LARGEST_REQUEST)
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let shared = &self.shared;
        let turn = tokio::time::timeout(LONGEST_TURN, shared.turns.until_ready()).await;
        turn.map_err(|_| {
            shared.observer.denied("rate");
            Status::unavailable("too many clients come at once; come back in a moment")
        })?;
        let presented = Presented::new(request.metadata(), request.extensions());
        let connection = presented.connection.cloned();
        let caller = shared.authenticator.authenticate(&presented).await;
        let caller = caller.map_err(|denied| {
            shared.observer.denied(match denied {
                Denied::Unauthenticated(_) => "unauthenticated",
                Denied::Unavailable(_) => "unavailable",
            });
            let address = connection
                .as_ref()
                .map(|connection| connection.address.to_string());
            tracing::warn!(client = address, "discovery: {denied}");
            Status::from(&denied)
        })?;
        // One, so that the next is made when this one is on its way.
        let (responses, stream) = mpsc::channel(1);
        let (shared, requests) = (Arc::clone(shared), request.into_inner());
        tokio::spawn(async move {
            let ended = serve(&shared, &caller, connection, requests, &responses).await;
            if let Err(status) = ended {
                // An error: the client has gone.
                let _ = responses.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Responses = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

/// The life of a stream.
async fn serve(
    shared: &Shared,
    caller: &Caller,
    connection: Option<Connection>,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    responses: &Responses,
) -> Result<(), Status> {
    let first = tokio::time::timeout(FIRST_REQUEST, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no first request"))??;
    let Some(first) = first else {
        return Ok(());
    };
    let refuse = |error: crate::xds::node::InvalidNode| {
        shared.observer.denied("node");
        tracing::warn!(identity = %caller.identity, "discovery: {error}");
        Status::permission_denied(error.to_string())
    };
    let node = NodeInfo::read(first.node.as_ref()).map_err(refuse)?;
    node.check(&caller.identity).map_err(refuse)?;
    let mut stream = Stream {
        shared,
        client: shared.clients.enter(node, caller, connection.as_ref()),
        sessions: BTreeMap::new(),
        unknown: Vec::new(),
    };
    stream.take(&first);
    let result = stream.run(requests, responses).await;
    let reason = result.as_ref().err().map(|status| status.message().to_owned());
    tracing::info!(client = %stream.client.node().id, reason, "discovery: a client has gone");
    result
}

/// A client and its sessions.
struct Stream<'a> {
    shared: &'a Shared,
    client: clients::Entered,
    sessions: BTreeMap<Kind, Session>,
    /// Kinds that it asked for and that do not exist, so that each is told once.
    unknown: Vec<String>,
}

impl Stream<'_> {
    async fn run(
        &mut self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        responses: &Responses,
    ) -> Result<(), Status> {
        let mut catalogs = self.shared.catalog.clone();
        let mut catalog = catalogs.borrow_and_update().clone();
        let end = tokio::time::sleep(self.lifetime());
        tokio::pin!(end);
        tracing::info!(client = %self.client.node().id, "discovery: a client has come");
        loop {
            let waits = catalog
                .as_ref()
                .is_some_and(|catalog| !self.send(catalog, responses));
            tokio::select! {
                request = requests.message() => match request? {
                    Some(request) => self.take(&request),
                    None => return Ok(()),
                },
                changed = catalogs.changed() => {
                    if changed.is_err() {
                        return Err(Status::unavailable("the control plane is ending"));
                    }
                    catalog.clone_from(&catalogs.borrow_and_update());
                }
                permit = responses.reserve(), if waits => {
                    if permit.is_err() {
                        return Ok(());
                    }
                }
                () = responses.closed() => return Ok(()),
                () = &mut end => return Ok(()),
            }
        }
    }

    /// Sends what there is; whether all of it went.
    ///
    /// A policy is sent before the workloads that name it, and taken back after them: at no moment does a client have a
    /// workload that names a policy which it has not heard of, and would have to refuse everybody.
    fn send(&mut self, catalog: &Catalog, responses: &Responses) -> bool {
        for kind in [
            Kind::Authorization,
            Kind::Address,
            Kind::Workload,
            Kind::Authorization,
        ] {
            let has = |kind: Kind| {
                self.sessions
                    .get(&kind)
                    .is_none_or(|session| session.has(catalog))
            };
            let removals = match kind {
                Kind::Authorization if !(has(Kind::Address) && has(Kind::Workload)) => Removals::Kept,
                _ => Removals::Told,
            };
            if kind != Kind::Authorization && !has(Kind::Authorization) {
                continue;
            }
            let Some(session) = self.sessions.get_mut(&kind) else {
                continue;
            };
            if responses.capacity() == 0 {
                return false;
            }
            let started = Instant::now();
            let Some(response) = session.response(catalog, removals, started) else {
                continue;
            };
            self.shared.observer.sent(kind, &response, started.elapsed());
            self.client.progress(kind, session.progress());
            // An error: the client has gone, which the next turn of the loop notices.
            let _ = responses.try_send(Ok(response));
        }
        true
    }

    fn take(&mut self, request: &DeltaDiscoveryRequest) {
        let Some(kind) = Kind::of(&request.type_url) else {
            if !self.unknown.contains(&request.type_url) && self.unknown.len() < 20 {
                self.unknown.push(request.type_url.clone());
                let client = &self.client.node().id;
                tracing::debug!(%client, kind = request.type_url, "discovery: asked for what there is not");
            }
            return;
        };
        let node = &self.client.node().node;
        let Some(session) = self.sessions.get_mut(&kind) else {
            let session = Session::new(kind, node.clone(), request);
            self.client.progress(kind, session.progress());
            self.sessions.insert(kind, session);
            return;
        };
        let now = Instant::now();
        match session.request(request, now) {
            Answer::None => {}
            Answer::Accepted { since } => {
                self.client.progress(kind, session.progress());
                self.shared.observer.accepted(kind, now - since);
            }
            Answer::Refused { reason } => {
                self.client.progress(kind, session.progress());
                self.shared.observer.refused(kind);
                let client = &self.client.node().id;
                tracing::warn!(%client, kind = kind.name(), reason, "discovery: a client refuses a response");
            }
        }
    }

    fn lifetime(&self) -> Duration {
        // Longer than any process: `sleep` takes no infinity.
        const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
        let spread = 0.9 + 0.2 * fastrand::f64();
        self.shared
            .settings
            .longest_stream
            .map_or(FOR_EVER, |longest| longest.mul_f64(spread))
    }
}
