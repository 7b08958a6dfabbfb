//! The mesh from a control plane, by delta xDS: ours, or istiod.
//!
//! Everything of a response that can be understood is applied, in one batch; what cannot is refused by name, in the answer
//! as well as in the registry, where the last good version stays. After a connection is lost we say what we have, and are
//! told the difference; the registry serves on meanwhile. The store is complete once both kinds have been received.

mod backoff;
mod mirror;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use adit_mesh::Store;
use adit_proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use adit_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::Status;
use crate::channel::{ConnectError, ControlPlane, told};
use crate::kept::Kept;
use crate::xds::Kind;
use backoff::Backoff;
use mirror::Mirror;

/// What is subscribed to.
const KINDS: [Kind; 2] = [Kind::Address, Kind::Authorization];
/// The first response of a mesh of a million workloads is about so large.
const LARGEST_RESPONSE: usize = 512 << 20;
/// More resources than this are applied beside the runtime, which has others to serve.
const MANY: usize = 500;

/// Why the control plane is not heard.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be called.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It does not want us, or broke off.
    #[error("the control plane {address} ended the stream: {reason}")]
    Ended {
        /// Its address.
        address: String,
        /// What it said.
        reason: String,
    },
}

/// The name under which the mesh is kept.
const MESH: &str = "mesh";
/// A control plane that is there has sent everything by then; a tunnel that waits longer for it refuses connections.
const FIRST_WORD: Duration = Duration::from_secs(3);
/// How much a successor may be behind.
const SAVE_AFTER: Duration = Duration::from_secs(5);

/// What a predecessor kept, and how old it may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Where it is.
    pub kept: Kept,
    /// What is older is not used.
    pub longest: Duration,
}

/// Keeps a [`Store`] as a control plane describes it. Nothing else may write to that store.
#[derive(Debug)]
pub struct RemoteSource {
    control_plane: ControlPlane,
    node: Node,
    mirror: Arc<Mutex<Mirror>>,
    memory: Option<Memory>,
    status: watch::Sender<Status>,
    changed: watch::Sender<u64>,
}

impl RemoteSource {
    /// A source that will hear `control_plane`, which knows us as `node`, and write to `store`.
    /// With a `memory`, what a predecessor kept is used while the control plane is not heard, and what it says is kept.
    pub fn new(control_plane: ControlPlane, node: Node, store: Arc<Store>, memory: Option<Memory>) -> Self {
        Self {
            memory,
            control_plane,
            node,
            mirror: Arc::new(Mutex::new(Mirror::new(store))),
            status: watch::Sender::new(Status::default()),
            changed: watch::Sender::new(0),
        }
    }

    /// How the source fares: the last response, the last error, what was rejected.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The generation of the store, after each response that made a new one.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Hears the control plane until the runtime ends: connects, and again whenever the connection is lost.
    pub async fn run(self) {
        if let Some(memory) = &self.memory {
            tokio::spawn(save(
                memory.kept.clone(),
                Arc::clone(&self.mirror),
                self.changed.subscribe(),
            ));
        }
        tokio::select! {
            never = self.follow() => never,
            never = self.remember() => never,
        }
    }

    /// Uses what a predecessor kept, if the control plane has not said anything in time.
    async fn remember(&self) {
        tokio::time::sleep(FIRST_WORD).await;
        self.recall();
        std::future::pending().await
    }

    fn recall(&self) {
        let Some(memory) = &self.memory else {
            return;
        };
        let mut mirror = lock(&self.mirror);
        // What has come from the control plane is newer.
        if !mirror.is_empty() {
            return;
        }
        let now = SystemTime::now();
        match memory.kept.get(MESH, memory.longest, now) {
            Ok(Some((saved, age))) => {
                tracing::warn!(?age, "no control plane; the mesh is as a predecessor knew it");
                mirror.restore(saved);
                let error = self.status.borrow().error.clone();
                mirror.publish(true, &self.status, &self.changed, now - age);
                self.status.send_modify(|status| status.error = error);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "what a predecessor kept is not used"),
        }
    }

    async fn follow(&self) {
        let mut backoff = Backoff::default();
        loop {
            match self.hear(&mut backoff).await {
                // A control plane that balances its load.
                Ok(()) => tracing::debug!("the control plane asks to connect again"),
                Err(error) => {
                    tracing::warn!(%error, "no control plane; what it said last stays");
                    self.status
                        .send_modify(|status| status.error = Some(error.into()));
                    self.recall();
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// One connection, to its end; no error if it ended in order.
    async fn hear(&self, backoff: &mut Backoff) -> Result<(), RemoteError> {
        let channel = self.control_plane.connect().await?;
        let (requests, outbound) = mpsc::channel(2 * KINDS.len());
        for kind in KINDS {
            let first = self.first_request(kind);
            requests
                .try_send(first)
                .expect("there is room for one of each kind");
        }
        let request = self.control_plane.request(ReceiverStream::new(outbound)).await?;
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST_RESPONSE);
        let ended = |status: tonic::Status| RemoteError::Ended {
            address: self.control_plane.address.to_string(),
            reason: told(&status),
        };
        let answer = client.delta_aggregated_resources(request).await;
        let mut responses = answer.map_err(&ended)?.into_inner();
        tracing::info!(address = %self.control_plane.address, "connected to the control plane");
        let mut heard = Vec::new();
        while let Some(response) = responses.message().await.map_err(&ended)? {
            backoff.reset();
            let Some(kind) = Kind::of(&response.type_url) else {
                tracing::warn!(
                    kind = response.type_url,
                    "the control plane sends what was not asked for"
                );
                let _ = requests.send(answer_to(&response, None)).await;
                continue;
            };
            let answer = self.take(kind, response).await;
            if !heard.contains(&kind) {
                heard.push(kind);
            }
            let complete = heard.len() == KINDS.len();
            lock(&self.mirror).publish(complete, &self.status, &self.changed, SystemTime::now());
            if requests.send(answer).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Applies a response, and makes the answer to it.
    async fn take(&self, kind: Kind, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        if response.resources.len() <= MANY {
            let refused = lock(&self.mirror).apply(kind, &response);
            return answer_to(&response, refused);
        }
        let mirror = Arc::clone(&self.mirror);
        let applied = tokio::task::spawn_blocking(move || {
            let refused = lock(&mirror).apply(kind, &response);
            answer_to(&response, refused)
        });
        match applied.await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down: it never goes on.
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn first_request(&self, kind: Kind) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: (kind == KINDS[0]).then(|| self.node.clone()),
            type_url: kind.url().to_owned(),
            initial_resource_versions: lock(&self.mirror).versions(kind),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

/// Keeps the mesh whenever it has changed, for as long as the process runs.
async fn save(kept: Kept, mirror: Arc<Mutex<Mirror>>, mut changed: watch::Receiver<u64>) {
    while changed.changed().await.is_ok() {
        tokio::time::sleep(SAVE_AFTER).await;
        changed.borrow_and_update();
        let (kept, mirror) = (kept.clone(), Arc::clone(&mirror));
        let saved = tokio::task::spawn_blocking(move || {
            let saved = lock(&mirror).saved();
            kept.put(MESH, &saved, SystemTime::now())
        });
        if let Ok(Err(error)) = saved.await {
            tracing::warn!(%error, "the mesh is not kept for a successor");
        }
    }
}

/// Nobody panics while it is locked and half changed: what is refused is a value.
fn lock(mirror: &Mutex<Mirror>) -> MutexGuard<'_, Mirror> {
    mirror.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer_to(response: &DeltaDiscoveryResponse, refused: Option<String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: refused.map(|message| adit_proto::discovery::Status {
            code: tonic::Code::InvalidArgument.into(),
            message,
        }),
        ..DeltaDiscoveryRequest::default()
    }
}
