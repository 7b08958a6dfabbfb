//! Who is served at present, and how far each has come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use adit_mesh::Identity;
use tokio::sync::watch;

use crate::auth::{Caller, Connection, Proof};
use crate::xds::Kind;
use crate::xds::node::NodeInfo;
use crate::xds::session::Progress;

/// The clients of a server. Clones share them.
#[derive(Clone, Debug)]
pub struct Clients {
    all: Arc<Mutex<BTreeMap<u64, Client>>>,
    changed: watch::Sender<u64>,
}

/// A client.
#[derive(Clone, PartialEq, Debug)]
pub struct Client {
    /// What it says of itself, as far as it was checked.
    pub node: Arc<NodeInfo>,
    /// Who it is.
    pub identity: Identity,
    /// What proved it.
    pub proof: Proof,
    /// Where it calls from.
    pub address: Option<SocketAddr>,
    /// Since when.
    pub since: Instant,
    /// How far it has come.
    pub kinds: BTreeMap<Kind, Progress>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            all: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Clients {
    /// All of them, in the order in which they came.
    pub fn list(&self) -> Vec<Client> {
        self.lock().values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The oldest generation among the last ones that each client of this kind has accepted; `None` if there is no
    /// such client. What is in it has arrived everywhere. Who asks by key always asks for the newest.
    pub fn accepted_by_all(&self, kind: Kind) -> Option<u64> {
        let all = self.lock();
        let kinds = all.values().filter_map(|client| client.kinds.get(&kind));
        kinds
            .filter(|progress| !progress.on_demand)
            .map(|progress| progress.accepted.unwrap_or(0))
            .min()
    }

    /// Changes whenever a client comes, goes, or has come further.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn enter(&self, node: NodeInfo, caller: &Caller, connection: Option<&Connection>) -> Entered {
        let node = Arc::new(node);
        let client = Client {
            node: Arc::clone(&node),
            identity: caller.identity.clone(),
            proof: caller.proof,
            address: connection.map(|connection| connection.address),
            since: Instant::now(),
            kinds: BTreeMap::new(),
        };
        let mut all = self.lock();
        let id = all.keys().next_back().map_or(0, |last| last + 1);
        all.insert(id, client);
        drop(all);
        self.note();
        Entered {
            clients: self.clone(),
            id,
            node,
        }
    }

    fn note(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Client>> {
        // Every change is whole.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's entry, for as long as it is served.
pub(super) struct Entered {
    clients: Clients,
    id: u64,
    node: Arc<NodeInfo>,
}

impl Entered {
    pub(super) fn node(&self) -> &NodeInfo {
        &self.node
    }

    pub(super) fn progress(&self, kind: Kind, progress: &Progress) {
        if let Some(client) = self.clients.lock().get_mut(&self.id) {
            client.kinds.insert(kind, progress.clone());
        }
        self.clients.note();
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.id);
        self.clients.note();
    }
}
