//! A pod's instances from the outside of their workers: started, asked and ended by messages to the worker.

use std::sync::Arc;
use std::time::Duration;

use adit_mesh::Outcome;
use adit_telemetry::runtime::threads::{Carried, WorkerHandle};
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::placed::Placed;
use crate::placement::Load;
use crate::pod::{InstanceId, Pod};
use crate::worker::Worker;

/// A pod's instance in a worker.
#[derive(Clone)]
pub struct Instance {
    /// Its name in that worker.
    pub id: InstanceId,
    carried: Arc<Carried>,
}

impl Instance {
    /// Starts an instance.
    ///
    /// # Errors
    /// Why its listeners cannot be opened, or that the worker has ended.
    pub async fn start(worker: &WorkerHandle, id: InstanceId, placed: &Placed) -> Result<Self, String> {
        let carried = Arc::new(worker.carry());
        let (info, network, shares) = (placed.info.clone(), placed.network.clone(), placed.shares.clone());
        let started = worker
            .call(move || async move { Pod::start(Worker::current(), id, info, network, shares).map(drop) });
        match started.await {
            Ok(Ok(())) => Ok(Self { id, carried }),
            Ok(Err(error)) => Err(format!("failure to start proxy: {error}")),
            Err(ended) => Err(ended.to_string()),
        }
    }

    /// The worker that it lives in.
    pub fn worker(&self) -> &WorkerHandle {
        self.carried.worker()
    }

    /// Its listeners, by inode.
    pub async fn inodes(&self) -> Vec<u64> {
        let id = self.id;
        let listening = self.worker().call(move || async move {
            let pod = Worker::current().instance(id);
            pod.map(|pod| pod.inodes.clone())
        });
        listening.await.ok().flatten().unwrap_or_default()
    }

    /// Ends it; see [`Pod::end`].
    pub async fn end(&self, deadline: Option<Instant>, outcome: Outcome, stopping: Arc<[u64]>) -> usize {
        let id = self.id;
        let ended = self.worker().call(move || async move {
            match Worker::current().instance(id) {
                Some(pod) => pod.end(deadline, outcome, &stopping).await,
                None => 0,
            }
        });
        // A worker that has ended has cut everything.
        ended.await.unwrap_or(0)
    }
}

/// Cuts every connection of a worker now, and waits until each has written its log line.
pub async fn cut_all(worker: &WorkerHandle, outcome: Outcome, detail: &'static str) {
    let cut = worker.call(move || async move {
        let instances = Worker::current().instances();
        for pod in &instances {
            pod.table.cut_all(outcome, detail);
        }
        for pod in &instances {
            pod.table.empty().await;
        }
    });
    // A worker that has ended has cut everything.
    let _ = cut.await;
}

/// What a worker has done so far; nothing if it has ended. A pod that only drains there is not told: it makes no more work.
pub async fn load(worker: &WorkerHandle) -> Load {
    let load = worker.call(|| async {
        let worker = Worker::current();
        let pods = worker.pods.borrow();
        let serving = pods.values().filter(|pod| pod.is_serving());
        Load {
            // There is such a clock wherever there are threads.
            busy: clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from),
            activity: serving
                .map(|pod| (pod.info.uid.clone(), pod.activity.get()))
                .collect(),
        }
    });
    load.await.unwrap_or_default()
}
