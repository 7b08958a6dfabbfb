//! The worker threads: N named OS threads, each with a tokio runtime of its own.
//!
//! What runs on a worker never leaves it, so it may be `!Send`: no atomics, no locks, no wake-up on another core.
//! Work is sent to a worker as a closure that makes its future there. A worker ends when it is told to; the tasks
//! that are still there are dropped, which closes their sockets, so drain first.
//!
//! Which worker gets a new pod is decided by how much each carries: [`WorkerHandle::carry`] counts.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

enum Order {
    Run(Job),
    Stop,
}

/// The workers of a process.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads named `<name>-0` and so on (the kernel keeps 15 bytes of a name).
    ///
    /// # Errors
    /// The kernel gave no thread, or no epoll or event descriptor for its runtime; the threads already started end.
    pub fn start(count: NonZeroUsize, name: &str) -> io::Result<Self> {
        let mut workers = Self {
            handles: Vec::new(),
            threads: Vec::new(),
        };
        for index in 0..count.get() {
            let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
            let (sender, orders) = mpsc::unbounded_channel();
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || run(orders, &ready))?;
            workers.threads.push(thread);
            // A thread that ends without an answer has panicked, which `recv` reports as an error.
            let runtime = is_ready
                .recv()
                .map_err(|_| io::Error::other("a worker thread ended while it started"))??;
            workers.handles.push(WorkerHandle {
                shared: Arc::new(Shared {
                    index,
                    sender,
                    runtime,
                    active: AtomicUsize::new(0),
                }),
            });
        }
        Ok(workers)
    }

    /// The workers, in the order of their index; never empty.
    pub fn handles(&self) -> &[WorkerHandle] {
        &self.handles
    }

    /// The worker that carries least; among equals the first.
    pub fn least_loaded(&self) -> &WorkerHandle {
        self.handles
            .iter()
            .min_by_key(|worker| worker.active())
            .expect("start() makes at least one")
    }

    /// Tells every worker to end and waits for it. Tasks that still run are dropped at their next await.
    ///
    /// Blocks; call it outside of the runtimes.
    pub fn join(mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            // A worker that panicked was logged by the panic hook, and has nothing left to join.
            let _ = thread.join();
        }
    }

    fn stop(&self) {
        for worker in &self.handles {
            // An error: it has already ended.
            let _ = worker.shared.sender.send(Order::Stop);
        }
    }
}

/// Without [`Workers::join`] the threads are told to end, but not waited for.
impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One worker, from any thread.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    index: usize,
    sender: mpsc::UnboundedSender<Order>,
    runtime: Handle,
    active: AtomicUsize,
}

impl WorkerHandle {
    /// Its number, from 0.
    pub fn index(&self) -> usize {
        self.shared.index
    }

    /// Its runtime, for metrics. Do not spawn with it what must stay on the worker: [`Self::spawn`] does that.
    pub fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// Runs on the worker the future that `make` makes there. A panic in it ends it alone.
    ///
    /// # Errors
    /// [`WorkerEnded`]: the worker was told to stop, nothing will run.
    pub fn spawn<M, F>(&self, make: M) -> Result<(), WorkerEnded>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        // `make` runs inside of the task, so that its panic does not end the worker either.
        let job: Job = Box::new(|| Box::pin(async { make().await }));
        self.shared.sender.send(Order::Run(job)).map_err(|_| WorkerEnded)
    }

    /// Like [`Self::spawn`], and waits for what the future returns.
    ///
    /// # Errors
    /// [`WorkerEnded`]: the worker stopped before the future completed, or it panicked.
    pub async fn call<M, F, T>(&self, make: M) -> Result<T, WorkerEnded>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        self.spawn(move || async move {
            // An error: the caller does not wait any more.
            let _ = sender.send(make().await);
        })?;
        answer.await.map_err(|_| WorkerEnded)
    }

    /// Counts one unit of load (a pod, a connection) on this worker for as long as the result lives.
    pub fn carry(&self) -> Carried {
        self.shared.active.fetch_add(1, Ordering::Relaxed);
        Carried { worker: self.clone() }
    }

    /// How many units it carries.
    pub fn active(&self) -> usize {
        self.shared.active.load(Ordering::Relaxed)
    }
}

/// One unit of load on a worker; dropping it takes the load away.
#[derive(Debug)]
pub struct Carried {
    worker: WorkerHandle,
}

impl Carried {
    /// The worker that carries it.
    pub fn worker(&self) -> &WorkerHandle {
        &self.worker
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.worker.shared.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The worker has ended, or ended before the answer was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the worker thread has ended")]
pub struct WorkerEnded;

/// The life of a worker thread: reports its runtime, then obeys until it is told to stop.
fn run(mut orders: mpsc::UnboundedReceiver<Order>, ready: &std::sync::mpsc::SyncSender<io::Result<Handle>>) {
    let runtime = match Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            // An error: whoever started us has gone.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(runtime.handle().clone()));
    runtime.block_on(async {
        while let Some(Order::Run(job)) = orders.recv().await {
            tokio::task::spawn_local(job());
        }
    });
}

#[cfg(test)]
mod tests;
