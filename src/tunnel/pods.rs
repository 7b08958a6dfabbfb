//! Which worker serves which pod. The node agent's messages come in here; nothing else decides about placement.
//!
//! A pod has a home, the worker that had the fewest pods when it came. While a home is saturated, its busiest pod is
//! started on a worker with room as well ([`crate::placement`]), and new connections spread. A pod that cannot be served is refused to the
//! agent and tried again while it is enrolled; until it is served the tunnel is not ready.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_mesh::{Outcome, Text};
use adit_net::Namespace;
use adit_telemetry::runtime::threads::{Carried, WorkerHandle, Workers};
use adit_telemetry::server::readiness::{Blocker, Readiness};
use adit_zds::client::Pods;
use adit_zds::{ConnectionFailure, WorkloadInfo};
use futures_util::future::join_all;
use nix::net::if_::InterfaceFlags;
use tokio::time::{Instant, interval, sleep};

use crate::placement::{Load, Move, PERIOD, Watch};
use crate::pod::{Pod, PodInfo};
use crate::worker::{Shared, Worker};

/// Between attempts to serve a pod that could not be served: its agent sees it pending, and a namespace that was not
/// complete yet is by then.
const RETRY: Duration = Duration::from_secs(5);

/// The pods of the node.
#[derive(Clone)]
pub struct PodManager(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    workers: Arc<Workers>,
    readiness: Readiness,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pods: HashMap<Text, Placed>,
    /// Held while there is no agreement with the agent about which pods there are.
    agent: Option<Blocker>,
    /// Held while a pod is pending.
    pending: Option<Blocker>,
    /// The process is about to end: nothing new begins.
    ending: bool,
}

#[derive(Clone)]
struct Placed {
    info: PodInfo,
    network: Namespace,
    /// Its home, and the workers that joined; none while it is pending.
    instances: Vec<Arc<Carried>>,
}

impl PodManager {
    /// No pods yet, and not ready before the agent has sent its own.
    pub fn new(shared: Arc<Shared>, workers: Arc<Workers>, readiness: Readiness) -> Self {
        let agent = Some(readiness.block("workload proxy manager"));
        let state = Mutex::new(State {
            agent,
            ..State::default()
        });
        Self(Arc::new(Inner {
            shared,
            workers,
            readiness,
            state,
        }))
    }

    /// The pods that are known, and on which workers (by index) each is served.
    pub fn placements(&self) -> Vec<(PodInfo, Vec<WorkerHandle>)> {
        let state = self.0.state();
        state
            .pods
            .values()
            .map(|placed| {
                let workers = placed
                    .instances
                    .iter()
                    .map(|carried| carried.worker().clone())
                    .collect();
                (placed.info.clone(), workers)
            })
            .collect()
    }

    /// Ends every pod: gracefully until the deadline, then at once. Returns how many connections were cut.
    pub async fn shutdown(&self, deadline: Instant) -> usize {
        let pods: Vec<_> = {
            let mut state = self.0.state();
            state.ending = true;
            state.pods.drain().map(|(_, placed)| placed).collect()
        };
        let ends = pods
            .into_iter()
            .map(|placed| self.0.end(placed, deadline, Outcome::Shutdown));
        join_all(ends).await.into_iter().sum()
    }

    /// Looks after the load of the workers for as long as the process lives.
    pub async fn balance(self) {
        let workers = self.0.workers.handles();
        if workers.len() < 2 {
            return;
        }
        let mut watch = Watch::new(workers.len());
        let mut period = interval(PERIOD);
        loop {
            period.tick().await;
            let mut loads = Vec::with_capacity(workers.len());
            for worker in workers {
                let busy = worker.runtime().metrics().worker_total_busy_duration(0);
                let activity = worker.call(|| async { activity() }).await.unwrap_or_default();
                loads.push(Load { busy, activity });
            }
            match watch.next(PERIOD, &loads) {
                Some(Move::Join { pod, worker }) => self.join(&pod, &workers[worker]).await,
                Some(Move::Leave { pod, worker }) => self.leave(&pod, &workers[worker]).await,
                None => {}
            }
        }
    }

    async fn join(&self, uid: &Text, worker: &WorkerHandle) {
        let Some(placed) = self.0.state().pods.get(uid).cloned() else {
            return;
        };
        match start_instance(worker, &placed.info, placed.network).await {
            Ok(carried) => {
                tracing::info!(pod = %placed.info.name, namespace = %placed.info.namespace, worker = worker.index(),
                    "the pod's home is saturated: another worker joins");
                let mut state = self.0.state();
                match state.pods.get_mut(uid) {
                    Some(placed) => placed.instances.push(carried),
                    // The pod left meanwhile, and this instance did not.
                    None => drop(tokio::spawn(end_now(carried, uid.clone()))),
                }
            }
            Err(reason) => tracing::warn!(pod = %placed.info.name, %reason, "another worker cannot join"),
        }
    }

    /// The joined instance takes no more connections; those that it has may stay as long as they like.
    async fn leave(&self, uid: &Text, worker: &WorkerHandle) {
        let carried = {
            let mut state = self.0.state();
            let Some(placed) = state.pods.get_mut(uid) else {
                return;
            };
            // The home stays.
            let joined = |carried: &Arc<Carried>| carried.worker().index() == worker.index();
            match placed.instances.iter().skip(1).position(joined) {
                Some(index) => placed.instances.remove(index + 1),
                None => return,
            }
        };
        let uid = uid.clone();
        let drain = self.0.shared.config.process.drain_deadline;
        tokio::spawn(async move {
            let stopping = inodes(&carried, &uid).await.into();
            end_instance(
                &carried,
                &uid,
                Instant::now() + drain,
                Outcome::Shutdown,
                stopping,
            )
            .await;
        });
    }

    async fn start(&self, info: PodInfo, network: Namespace) -> Result<(), String> {
        let placed = Placed {
            info: info.clone(),
            network: network.clone(),
            instances: Vec::new(),
        };
        let replaced = {
            let mut state = self.0.state();
            if state.ending {
                return Err("the tunnel is about to end".to_owned());
            }
            match state.pods.get(&info.uid) {
                Some(known) if known.is(&info, &network) => return Ok(()),
                _ => state.pods.insert(info.uid.clone(), placed),
            }
        };
        if let Some(old) = replaced {
            tracing::info!(pod = %info.name, namespace = %info.namespace, "the pod has a new network namespace");
            self.0.end(old, Instant::now(), Outcome::PodGone).await;
        }
        let started = self.place(&info, network).await;
        self.0.update_pending();
        if let Err(reason) = &started {
            tracing::warn!(pod = %info.name, namespace = %info.namespace, %reason, "cannot serve the pod yet");
            self.retry(info);
        }
        started
    }

    /// Starts the pod on the least loaded worker.
    async fn place(&self, info: &PodInfo, network: Namespace) -> Result<(), String> {
        let worker = self.0.workers.least_loaded().clone();
        let carried = Arc::new(worker.carry());
        let pod = info.clone();
        let started =
            worker.call(move || async move { Pod::start(Worker::current(), pod, network).map(drop) });
        match started.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(format!("failure to start proxy: {error}")),
            Err(ended) => return Err(ended.to_string()),
        }
        let metrics = &self.0.shared.metrics.pods;
        metrics.active.inc();
        metrics.started.inc();
        tracing::info!(pod = %info.name, namespace = %info.namespace, worker = worker.index(), "serving the pod");
        if let Some(placed) = self.0.state().pods.get_mut(&info.uid) {
            placed.instances.push(carried);
        }
        Ok(())
    }

    fn retry(&self, info: PodInfo) {
        let manager = self.clone();
        tokio::spawn(async move {
            loop {
                sleep(RETRY).await;
                let network = match manager.0.state().pods.get(&info.uid) {
                    Some(placed) if placed.instances.is_empty() => placed.network.clone(),
                    _ => return,
                };
                let placed = manager.place(&info, network).await;
                manager.0.update_pending();
                if placed.is_ok() {
                    return;
                }
            }
        });
    }

    fn stop(&self, uid: &str) {
        let Some(placed) = self.0.state().pods.remove(uid) else {
            return;
        };
        self.0.update_pending();
        let inner = self.0.clone();
        tokio::spawn(async move {
            let (deadline, outcome) = inner.how_to_end(&placed);
            let info = placed.info.clone();
            let cut = inner.end(placed, deadline, outcome).await;
            inner.shared.metrics.forget(&info.uid, std::time::Instant::now());
            tracing::info!(pod = %info.name, namespace = %info.namespace, connections_cut = cut, "pod removed");
        });
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one statement: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod that was un-enrolled lives on, and its connections may finish; one whose interface is gone has no more
    /// use for them.
    fn how_to_end(&self, placed: &Placed) -> (Instant, Outcome) {
        let now = Instant::now();
        match has_interface(&placed.network) {
            Ok(true) => (now + self.shared.config.process.drain_deadline, Outcome::Shutdown),
            Ok(false) | Err(_) => (now, Outcome::PodGone),
        }
    }

    async fn end(&self, placed: Placed, deadline: Instant, outcome: Outcome) -> usize {
        let listening = join_all(
            placed
                .instances
                .iter()
                .map(|carried| inodes(carried, &placed.info.uid)),
        )
        .await;
        let stopping: Arc<[u64]> = listening.into_iter().flatten().collect();
        let ends = placed
            .instances
            .iter()
            .map(|carried| end_instance(carried, &placed.info.uid, deadline, outcome, stopping.clone()));
        let cut = join_all(ends).await.into_iter().sum();
        if !placed.instances.is_empty() {
            self.shared.metrics.pods.active.dec();
            self.shared.metrics.pods.stopped.inc();
        }
        cut
    }

    fn update_pending(&self) {
        let mut state = self.state();
        let pending = state
            .pods
            .values()
            .filter(|placed| placed.instances.is_empty())
            .count();
        self.shared
            .metrics
            .pods
            .pending
            .set(i64::try_from(pending).unwrap_or(i64::MAX));
        let blocker = (pending > 0).then(|| self.readiness.block("pending pods"));
        state.pending = blocker;
    }
}

async fn start_instance(
    worker: &WorkerHandle,
    info: &PodInfo,
    network: Namespace,
) -> Result<Arc<Carried>, String> {
    let carried = Arc::new(worker.carry());
    let pod = info.clone();
    let started = worker.call(move || async move { Pod::start(Worker::current(), pod, network).map(drop) });
    match started.await {
        Ok(Ok(())) => Ok(carried),
        Ok(Err(error)) => Err(format!("failure to start proxy: {error}")),
        Err(ended) => Err(ended.to_string()),
    }
}

async fn inodes(carried: &Carried, uid: &Text) -> Vec<u64> {
    let uid = uid.clone();
    let listening = carried.worker().call(move || async move {
        Worker::current()
            .pods
            .borrow()
            .get(&uid)
            .map(|pod| pod.inodes.clone())
    });
    listening.await.ok().flatten().unwrap_or_default()
}

async fn end_instance(
    carried: &Carried,
    uid: &Text,
    deadline: Instant,
    outcome: Outcome,
    stopping: Arc<[u64]>,
) -> usize {
    let uid = uid.clone();
    let ended = carried.worker().call(move || async move {
        let pod = Worker::current().pods.borrow().get(&uid).cloned();
        match pod {
            Some(pod) => pod.end(deadline, outcome, &stopping).await,
            None => 0,
        }
    });
    // A worker that has ended has cut everything.
    ended.await.unwrap_or(0)
}

async fn end_now(carried: Arc<Carried>, uid: Text) {
    end_instance(&carried, &uid, Instant::now(), Outcome::PodGone, Arc::default()).await;
}

/// The work that each pod of the calling worker has made so far.
fn activity() -> Vec<(Text, u64)> {
    let worker = Worker::current();
    let pods = worker.pods.borrow();
    pods.values()
        .map(|pod| (pod.info.uid.clone(), pod.activity.get()))
        .collect()
}

/// Whether the namespace still has an interface beside loopback that is up.
fn has_interface(network: &Namespace) -> std::io::Result<bool> {
    let interfaces = network.run(nix::ifaddrs::getifaddrs)??;
    let usable = InterfaceFlags::IFF_UP;
    Ok(interfaces
        .filter(|interface| !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .any(|interface| interface.flags.contains(usable) && interface.address.is_some()))
}

impl Placed {
    fn is(&self, info: &PodInfo, network: &Namespace) -> bool {
        self.info == *info && self.network.id() == network.id()
    }
}

impl Pods for PodManager {
    async fn add(&mut self, uid: String, workload: WorkloadInfo, namespace: OwnedFd) -> Result<(), String> {
        let network = Namespace::from_fd(namespace).map_err(|error| error.to_string())?;
        let info = PodInfo {
            uid: uid.into(),
            name: workload.name.into(),
            namespace: workload.namespace.into(),
            service_account: workload.service_account.into(),
        };
        self.start(info, network).await
    }

    fn keep(&mut self, uid: &str) -> Result<(), String> {
        match self.0.state().pods.contains_key(uid) {
            true => Ok(()),
            false => Err(format!(
                "pod {uid} is not known here; send it with its network namespace"
            )),
        }
    }

    async fn remove(&mut self, uid: &str) {
        self.stop(uid);
    }

    async fn retain(&mut self, enrolled: &HashSet<String>) {
        let gone: Vec<_> = {
            let state = self.0.state();
            state
                .pods
                .keys()
                .filter(|uid| !enrolled.contains(uid.as_str()))
                .cloned()
                .collect()
        };
        for uid in gone {
            self.stop(&uid);
        }
        self.0.state().agent = None;
    }

    fn disconnected(&mut self, _: &ConnectionFailure) {
        let blocker = self.0.readiness.block("workload proxy manager");
        self.0.state().agent = Some(blocker);
    }
}
