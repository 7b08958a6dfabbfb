//! Which worker serves which pod. The node agent's messages come in here; nothing else decides about placement.
//!
//! A pod has a home, the worker that had the fewest pods when it came. While a home is saturated, its busiest pod is
//! started on a worker with room as well ([`crate::placement`]), and new connections spread. A pod that cannot be
//! served is refused to the agent and tried again while it is enrolled; until it is served the tunnel is not ready.
//!
//! Everything here may overlap: a pod may leave while it is started, and come back while its old instance drains. So
//! whatever waits keeps the number of the enrolment that it works for, and looks again whether that still holds.

mod agent;
mod instance;
mod placed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_mesh::{Outcome, Text};
use adit_net::Namespace;
use adit_net::cores::Cores;
use adit_telemetry::runtime::threads::{WorkerHandle, Workers};
use adit_telemetry::server::readiness::Readiness;
use futures_util::future::join_all;
use nix::net::if_::InterfaceFlags;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::limits::Shares;
use crate::placement::{Move, PERIOD, Watch};
use crate::pod::PodInfo;
use crate::worker::Shared;
use instance::Instance;
use placed::{Placed, State};

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

/// Where a pod's connections are.
pub struct Placement {
    /// The pod.
    pub info: PodInfo,
    /// It has left the mesh, and its connections may still finish.
    pub draining: bool,
    /// Its instances; none while it is pending.
    pub instances: Vec<Instance>,
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

    /// The pods that are served, pending or draining, in no order.
    pub fn placements(&self) -> Vec<Placement> {
        let state = self.0.state();
        let placement = |placed: &Placed, draining| Placement {
            info: placed.info.clone(),
            draining,
            instances: placed.everywhere().cloned().collect(),
        };
        let enrolled = state.pods.values().map(|placed| placement(placed, false));
        let draining = state.draining.values().map(|placed| placement(placed, true));
        enrolled.chain(draining).collect()
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

    /// Cuts every connection now; returns when each has said so.
    pub async fn cut(&self) {
        let workers = self.0.workers.handles().iter();
        let cuts =
            workers.map(|worker| instance::cut_all(worker, Outcome::Shutdown, "the drain was interrupted"));
        join_all(cuts).await;
    }

    /// Looks after the load of the workers for as long as the process lives.
    pub async fn balance(self) {
        let workers = self.0.workers.handles();
        if workers.len() < 2 {
            return;
        }
        let mut watch = Watch::new(workers.len());
        let mut cores = Cores::default();
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            period.tick().await;
            let mut loads = Vec::with_capacity(workers.len());
            for worker in workers {
                loads.push(instance::load(worker).await);
            }
            let now = Instant::now();
            // A saturated worker answers late, so the time that has passed is measured.
            let passed = now.duration_since(std::mem::replace(&mut last, now));
            let idle_cores = || {
                let idle = cores.idle();
                idle.inspect_err(|error| tracing::debug!(%error, "cannot tell whether a core is free"))
                    .ok()
                    .flatten()
            };
            match watch.next(passed.max(PERIOD), &loads, idle_cores) {
                Some(Move::Join { pod, worker }) => self.join(&pod, &workers[worker]).await,
                Some(Move::Leave { pod, worker }) => self.leave(&pod, &workers[worker]),
                None => {}
            }
        }
    }

    async fn join(&self, uid: &Text, worker: &WorkerHandle) {
        let (placed, id) = {
            let mut state = self.0.state();
            let id = state.number();
            match state.pods.get(uid) {
                Some(placed) if !placed.instances.is_empty() => (placed.clone(), id),
                _ => return,
            }
        };
        match Instance::start(worker, id, &placed).await {
            Ok(joined) => {
                if self.0.adopt(&placed, joined) {
                    tracing::info!(pod = %placed.info.name, namespace = %placed.info.namespace,
                        worker = worker.index(), "the pod's home is saturated: another worker joins");
                }
            }
            Err(reason) => tracing::warn!(pod = %placed.info.name, %reason, "another worker cannot join"),
        }
    }

    /// The joined instance takes no more connections; those that it has may stay as long as they like.
    fn leave(&self, uid: &Text, worker: &WorkerHandle) {
        let (enrolment, leaving) = {
            let mut state = self.0.state();
            let Some(placed) = state.pods.get_mut(uid) else {
                return;
            };
            // The home stays.
            let joined = |instance: &Instance| instance.worker().index() == worker.index();
            let Some(index) = placed.instances.iter().skip(1).position(joined) else {
                return;
            };
            let leaving = placed.instances.remove(index + 1);
            placed.leaving.push(leaving.clone());
            (placed.enrolment, leaving)
        };
        let (inner, uid) = (self.0.clone(), uid.clone());
        tokio::spawn(async move {
            let stopping = leaving.inodes().await.into();
            leaving.end(None, Outcome::Shutdown, stopping).await;
            if let Some(placed) = inner.state().enrolled(&uid, enrolment) {
                placed.leaving.retain(|other| other.id != leaving.id);
            }
        });
    }

    /// Serves a pod; returns once its connections are served.
    async fn start(&self, info: PodInfo, network: Namespace) -> Result<(), String> {
        let uid = info.uid.clone();
        let (enrolment, replaced) = {
            let mut state = self.0.state();
            if state.ending {
                return Err("the tunnel is about to end".to_owned());
            }
            match state.pods.get(&uid) {
                Some(known) if known.is(&info, &network) => {
                    if !known.instances.is_empty() {
                        return Ok(());
                    }
                    (known.enrolment, None)
                }
                _ => {
                    let enrolment = state.number();
                    let shares = Shares::new(&self.0.shared.node, &self.0.shared.config.limits);
                    let placed = Placed::new(enrolment, info.clone(), network, shares);
                    (enrolment, state.enrol(uid.clone(), placed))
                }
            }
        };
        if let Some(old) = replaced {
            tracing::info!(pod = %info.name, namespace = %info.namespace, "the pod was made anew");
            self.0.retire(old);
        }
        self.0.update_pending();
        // A task of its own: whoever asked may stop waiting, and what was started must still be known.
        let manager = self.clone();
        let attempt = tokio::spawn(async move { manager.attempt(&uid, enrolment).await });
        let started = attempt
            .await
            .unwrap_or_else(|_| Err("failure to start proxy: a defect in the tunnel".to_owned()));
        if let Err(reason) = &started {
            tracing::warn!(pod = %info.name, namespace = %info.namespace, %reason, "cannot serve the pod yet");
            self.retry(info.uid, enrolment);
        }
        started
    }

    /// Starts the pod on the least loaded worker, unless somebody else does already.
    async fn attempt(&self, uid: &Text, enrolment: u64) -> Result<(), String> {
        let (placed, id) = {
            let mut state = self.0.state();
            let id = state.number();
            match state.enrolled(uid, enrolment) {
                None => return Err("the pod has left".to_owned()),
                Some(placed) if !placed.instances.is_empty() => return Ok(()),
                Some(placed) if placed.starting => return Err("the pod is still being started".to_owned()),
                Some(placed) => {
                    placed.starting = true;
                    (placed.clone(), id)
                }
            }
        };
        let worker = self.0.workers.least_loaded().clone();
        let started = Instance::start(&worker, id, &placed).await;
        if let Some(placed) = self.0.state().enrolled(uid, enrolment) {
            placed.starting = false;
        }
        let started = started.and_then(|home| {
            if !self.0.adopt(&placed, home) {
                return Err("the pod left while it was started".to_owned());
            }
            let metrics = &self.0.shared.metrics.pods;
            metrics.active.inc();
            metrics.started.inc();
            tracing::info!(pod = %placed.info.name, namespace = %placed.info.namespace,
                worker = worker.index(), "serving the pod");
            Ok(())
        });
        self.0.update_pending();
        started
    }

    fn retry(&self, uid: Text, enrolment: u64) {
        match self.0.state().enrolled(&uid, enrolment) {
            Some(placed) if !placed.retrying => placed.retrying = true,
            _ => return,
        }
        let manager = self.clone();
        tokio::spawn(async move {
            loop {
                sleep(RETRY).await;
                match manager.0.state().enrolled(&uid, enrolment) {
                    Some(placed) if placed.instances.is_empty() => {}
                    Some(placed) => {
                        placed.retrying = false;
                        return;
                    }
                    None => return,
                }
                if let Err(reason) = manager.attempt(&uid, enrolment).await {
                    tracing::debug!(pod = %uid, %reason, "still cannot serve the pod");
                }
            }
        });
    }

    fn stop(&self, uid: &str) {
        let Some(placed) = self.0.state().release(uid) else {
            return;
        };
        self.0.update_pending();
        self.0.retire(placed);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one statement: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an instance that was started for the pod; if the pod has left meanwhile, ends it and says no.
    fn adopt(self: &Arc<Self>, started_for: &Placed, instance: Instance) -> bool {
        if let Some(placed) = self
            .state()
            .enrolled(&started_for.info.uid, started_for.enrolment)
        {
            placed.instances.push(instance);
            return true;
        }
        let (inner, network) = (self.clone(), started_for.network.clone());
        tokio::spawn(async move {
            let (deadline, outcome) = inner.how_to_end(&network);
            let stopping = instance.inodes().await.into();
            instance.end(Some(deadline), outcome, stopping).await;
        });
        false
    }

    /// Ends a pod that drains, as a task: a drain takes its time.
    fn retire(self: &Arc<Self>, placed: Placed) {
        let inner = self.clone();
        tokio::spawn(async move {
            let (deadline, outcome) = inner.how_to_end(&placed.network);
            let (info, enrolment) = (placed.info.clone(), placed.enrolment);
            let cut = inner.end(placed, deadline, outcome).await;
            inner.state().draining.remove(&enrolment);
            tracing::info!(pod = %info.name, namespace = %info.namespace, connections_cut = cut, "pod removed");
        });
    }

    /// A pod that was un-enrolled lives on, and its connections may finish; one whose interface is gone has no more
    /// use for them.
    fn how_to_end(&self, network: &Namespace) -> (Instant, Outcome) {
        let now = Instant::now();
        match has_interface(network) {
            Ok(true) => (now + self.shared.config.process.drain_deadline, Outcome::Shutdown),
            Ok(false) | Err(_) => (now, Outcome::PodGone),
        }
    }

    async fn end(&self, placed: Placed, deadline: Instant, outcome: Outcome) -> usize {
        // Before the drain: the configuration may lose the pod meanwhile.
        let workload = self.workload(&placed.info);
        let listening = join_all(placed.everywhere().map(Instance::inodes)).await;
        let stopping: Arc<[u64]> = listening.into_iter().flatten().collect();
        let ends = placed
            .everywhere()
            .map(|instance| instance.end(Some(deadline), outcome, stopping.clone()));
        let cut = join_all(ends).await.into_iter().sum();
        if !placed.instances.is_empty() {
            self.shared.metrics.pods.active.dec();
            self.shared.metrics.pods.stopped.inc();
        }
        if let Some(uid) = workload {
            self.shared.metrics.forget(&uid, std::time::Instant::now());
        }
        cut
    }

    /// The uid that metrics know the pod by: the mesh's own, which is not the one of Kubernetes.
    fn workload(&self, info: &PodInfo) -> Option<Text> {
        let registry = self.shared.store.load();
        let local = registry.local(&info.namespace, &info.name, &info.service_account)?;
        Some(local.workload.uid.clone())
    }

    fn update_pending(&self) {
        let mut state = self.state();
        let pending = state
            .pods
            .values()
            .filter(|placed| placed.instances.is_empty())
            .count();
        let gauge = &self.shared.metrics.pods.pending;
        gauge.set(i64::try_from(pending).unwrap_or(i64::MAX));
        let blocker = (pending > 0).then(|| self.readiness.block("pending pods"));
        state.pending = blocker;
    }
}

/// Whether the namespace still has an interface beside loopback that is up.
fn has_interface(network: &Namespace) -> std::io::Result<bool> {
    let interfaces = network.run(nix::ifaddrs::getifaddrs)??;
    let usable = InterfaceFlags::IFF_UP;
    Ok(interfaces
        .filter(|interface| !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .any(|interface| interface.flags.contains(usable) && interface.address.is_some()))
}
