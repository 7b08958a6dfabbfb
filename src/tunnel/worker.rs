//! What a worker thread owns: its pods, its view of endpoints, its randomness. Nothing of it is shared with other
//! threads, so nothing is locked; what is shared is read-only or lock-free ([`Shared`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_hbone::Settings;
use adit_hbone::meter::Meter;
use adit_mesh::eject::Ejector;
use adit_mesh::registry::{Registry, Store};
use adit_mesh::route::Load;
use adit_mesh::{Outcome, ServiceKey, Text};
use adit_net::rlimit::Spare;
use adit_pki::CertificateManager;
use adit_telemetry::access::AccessLog;
use adit_telemetry::metrics::{Metrics, PairCache};
use adit_telemetry::spans::Spans;
use tokio::sync::watch;

use crate::config::Config;
use crate::limits;
use crate::meter;
use crate::pod::{InstanceId, Pod};

/// What all workers read.
pub struct Shared {
    /// The settings.
    pub config: Config,
    /// What pods share.
    pub node: limits::Node,
    /// The mesh.
    pub store: Arc<Store>,
    /// Counts the changes of the mesh.
    pub changes: watch::Receiver<u64>,
    /// Certificates of the identities on this node.
    pub certificates: CertificateManager,
    /// Counters of everything.
    pub metrics: Arc<Metrics>,
    /// One line about each connection.
    pub access: AccessLog,
    /// One span about each connection that is sampled, where a collector is configured.
    pub spans: Option<Spans>,
}

/// One worker's own.
pub struct Worker {
    /// What all workers read.
    pub shared: Arc<Shared>,
    /// Windows, limits and deadlines of HBONE.
    pub hbone: Rc<Settings>,
    /// For choices among endpoints, and trace ids.
    pub random: RefCell<fastrand::Rng>,
    /// The counters of the pairs of workloads that this worker serves.
    pub pairs: RefCell<PairCache>,
    /// Counts what happens on HBONE connections that we dial.
    pub dialled: Rc<dyn Meter>,
    /// Counts what happens on HBONE connections that peers dial.
    pub accepted: Rc<dyn Meter>,
    /// What is known of endpoints.
    pub endpoints: Endpoints,
    /// For who comes when no descriptor is left.
    pub spare: Spare,
    /// The instances of pods that live here, those that drain included.
    pub pods: RefCell<HashMap<InstanceId, Rc<Pod>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

impl Worker {
    /// Makes the calling thread a worker.
    pub fn install(shared: Arc<Shared>) -> Rc<Self> {
        let worker = Rc::new(Self {
            hbone: Rc::new(shared.config.hbone.clone()),
            random: RefCell::new(fastrand::Rng::new()),
            pairs: RefCell::new(shared.metrics.pair_cache()),
            dialled: meter::of_clients(&shared.metrics),
            accepted: meter::of_servers(&shared.metrics),
            endpoints: Endpoints::new(),
            spare: Spare::new(),
            pods: RefCell::default(),
            shared,
        });
        CURRENT.set(Some(worker.clone()));
        worker
    }

    /// The instances as they are now, for who does more with them than look.
    pub fn instances(&self) -> Vec<Rc<Pod>> {
        self.pods.borrow().values().cloned().collect()
    }

    /// The instance, unless it has ended.
    pub fn instance(&self, id: InstanceId) -> Option<Rc<Pod>> {
        self.pods.borrow().get(&id).cloned()
    }

    /// The worker of the calling thread.
    ///
    /// # Panics
    /// On a thread that [`Worker::install`] was not called on.
    pub fn current() -> Rc<Self> {
        CURRENT
            .with_borrow(Clone::clone)
            .expect("installed before anything else runs on this thread")
    }
}

/// What a worker knows about the endpoints that it uses: how busy they are, and which refuse connections.
pub struct Endpoints {
    active: Rc<RefCell<HashMap<Text, u32>>>,
    ejector: RefCell<Ejector>,
    start: Instant,
    now: Cell<Duration>,
}

impl Endpoints {
    fn new() -> Self {
        Self {
            active: Rc::default(),
            ejector: RefCell::new(Ejector::default()),
            start: Instant::now(),
            now: Cell::new(Duration::ZERO),
        }
    }

    /// The view of this moment, for one decision.
    pub fn view(&self) -> &Self {
        self.now.set(self.start.elapsed());
        self
    }

    /// Counts a connection to the endpoint for as long as the result lives.
    pub fn hold(&self, uid: &Text) -> Active {
        *self.active.borrow_mut().entry(uid.clone()).or_default() += 1;
        Active {
            uid: uid.clone(),
            active: self.active.clone(),
        }
    }

    /// The endpoint took a connection.
    pub fn succeeded(&self, uid: &Text) {
        self.ejector.borrow_mut().succeeded(self.start.elapsed(), uid);
    }

    /// Forgets endpoints that are not part of the mesh any more.
    pub fn forget_gone(&self, registry: &Registry) {
        self.ejector
            .borrow_mut()
            .retain(|uid| registry.workload(uid).is_some());
    }

    /// The endpoint, one of `members` of the service, did not take a connection. Only what is its own fault counts.
    pub fn failed(&self, uid: &Text, service: &ServiceKey, members: usize, outcome: Outcome) {
        if outcome.may_try_another() && outcome != Outcome::Overloaded {
            self.ejector
                .borrow_mut()
                .failed(self.start.elapsed(), uid, service, members);
        }
    }
}

impl Load for Endpoints {
    fn active(&self, uid: &str) -> u32 {
        self.active.borrow().get(uid).copied().unwrap_or(0)
    }

    fn ejected(&self, uid: &str) -> bool {
        self.ejector.borrow().is_ejected(self.now.get(), uid)
    }
}

/// A connection that is counted for its endpoint.
pub struct Active {
    uid: Text,
    active: Rc<RefCell<HashMap<Text, u32>>>,
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut active = self.active.borrow_mut();
        if let Some(count) = active.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                active.remove(&self.uid);
            }
        }
    }
}
