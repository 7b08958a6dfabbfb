//! One pod in one worker: its listeners, its HBONE pool and its connections.
//!
//! Usually a pod lives in one worker, its home. While that one is saturated the pod is started in another worker as
//! well: an instance of its own, with listeners that share the ports. An instance ends in three phases: it serves, it
//! drains (its listeners stop, its peers are told to go), and it has ended (what comes late is refused).

use std::cell::{Cell, RefCell};
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adit_hbone::Failure;
use adit_hbone::pool::Pool;
use adit_hbone::server::Control;
use adit_mesh::constants::{HBONE_PORT, OUTBOUND_PORT, PLAINTEXT_PORT};
use adit_mesh::registry::Local;
use adit_mesh::{Outcome, Text};
use adit_net::socket::{ListenOptions, listen};
use adit_net::{Namespace, listeners};
use adit_pki::{Credentials, Held};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::accept::{self, Stop};
use crate::carry::carry;
use crate::limits::{Admission, Shares};
use crate::live::{Direction, Table};
use crate::worker::Worker;
use crate::{dial, inbound, outbound, plaintext};

/// What the node agent tells about a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodInfo {
    /// The pod's Kubernetes uid.
    pub uid: Text,
    /// Its name.
    pub name: Text,
    /// Its namespace in Kubernetes.
    pub namespace: Text,
    /// Its service account.
    pub service_account: Text,
}

/// Tells the instances of pods apart, also those of one pod: the old one that drains and the new one.
pub type InstanceId = u64;

/// A pod's instance in a worker.
pub struct Pod {
    /// Its name among all instances of the process.
    pub id: InstanceId,
    /// The worker that owns it.
    pub worker: Rc<Worker>,
    /// What the agent said.
    pub info: PodInfo,
    /// Its network namespace.
    pub network: Namespace,
    /// What lets its connections in.
    pub admission: Admission,
    /// Its live connections.
    pub table: Rc<Table>,
    /// Its HBONE connections to peers.
    pub pool: Pool,
    /// The HBONE connections of its peers.
    servers: RefCell<Vec<Server>>,
    /// Ends its listeners.
    pub stop: Stop,
    /// The source address could not be kept, which was logged.
    pub source_unavailable: Cell<bool>,
    local: RefCell<Option<Seen>>,
    certificate: RefCell<Option<Held>>,
    phase: Cell<Phase>,
    /// Listeners, and what they accepted until it is over.
    accepting: watch::Sender<usize>,
    /// Grows with the work that the pod's connections make.
    pub activity: Cell<u64>,
    /// Its listeners, by inode.
    pub inodes: Vec<u64>,
}

/// A peer's HBONE connection to the pod.
#[derive(Clone)]
pub struct Server {
    /// Ends it.
    pub control: Control,
    /// The peer's certificates.
    pub chain: Rc<[CertificateDer<'static>]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Serving,
    Draining,
    /// With what ended it.
    Ended(Outcome),
}

/// The pod's part of a snapshot, looked up once per snapshot.
struct Seen {
    generation: u64,
    local: Option<Arc<Local>>,
}

impl Pod {
    /// Opens the pod's listeners and serves them until [`Pod::stop`] says otherwise.
    ///
    /// # Errors
    /// A listener that cannot be opened; then none is left open.
    pub fn start(
        worker: Rc<Worker>,
        id: InstanceId,
        info: PodInfo,
        network: Namespace,
        shares: Arc<Shares>,
    ) -> std::io::Result<Rc<Self>> {
        let sockets = Listening::open(&worker, &network)?;
        if let Err(error) = listeners::migrate_requests(&network) {
            tracing::info!(pod = %info.name, namespace = %info.namespace, %error,
                "connections that wait in the backlog will be reset when this tunnel is replaced");
        }
        let pod = Rc::new_cyclic(|pod| Self {
            id,
            admission: Admission::new(shares, &worker.shared),
            table: Rc::default(),
            pool: Pool::new(dial::for_pool(pod.clone()), worker.hbone.clone()),
            servers: RefCell::default(),
            stop: Stop::default(),
            source_unavailable: Cell::new(false),
            local: RefCell::default(),
            certificate: RefCell::default(),
            phase: Cell::new(Phase::Serving),
            accepting: watch::Sender::new(0),
            activity: Cell::new(0),
            inodes: sockets.inodes(),
            worker: worker.clone(),
            info,
            network,
        });
        // Asks for the certificate now, if the workload is known already.
        drop(pod.local());
        for (direction, listener) in sockets.0 {
            let accepting = pod.accepting();
            let descriptor = pod.admission.listener();
            tokio::task::spawn_local(async move {
                accepting.0.listen(direction, listener).await;
                drop(descriptor);
            });
        }
        worker.pods.borrow_mut().insert(id, pod.clone());
        Ok(pod)
    }

    async fn listen(self: &Rc<Self>, direction: Direction, listener: TcpListener) {
        accept::run(&listener, self, direction, |socket, client| {
            let pod = self.clone();
            let admitted = match pod.admission.accepted(&socket) {
                Ok(admitted) => admitted,
                Err(failure) => return accept::turn_away(&pod, direction, &socket, client, &failure),
            };
            if direction != Direction::Outbound {
                dial::accepted(&pod, &socket, client.ip());
            }
            // From the accept on, not from when the task first runs: a drain must not end in between.
            let accepting = self.accepting();
            // A task each, so that none is as large as the largest of them.
            match direction {
                Direction::Outbound => {
                    let beginning = Box::pin(outbound::begin(pod, socket, client));
                    tokio::task::spawn_local(carry(beginning, Some((accepting, admitted))));
                }
                Direction::Plaintext => {
                    let beginning = Box::pin(plaintext::begin(pod, socket, client));
                    tokio::task::spawn_local(carry(beginning, Some((accepting, admitted))));
                }
                Direction::Inbound => {
                    tokio::task::spawn_local(async move {
                        inbound::serve(pod, socket, client).await;
                        drop((accepting, admitted));
                    });
                }
            }
        })
        .await;
    }

    /// Whether it takes new connections and does not drain yet.
    pub fn is_serving(&self) -> bool {
        self.phase.get() == Phase::Serving
    }

    /// Says that connections may still come in, by a listener or within an HBONE connection, for as long as the result
    /// lives: a drain waits for it.
    pub fn accepting(self: &Rc<Self>) -> Accepting {
        self.accepting.send_modify(|count| *count += 1);
        Accepting(self.clone())
    }

    /// Enters a peer's HBONE connection for as long as the result lives. Where the pod drains, the peer is told so.
    pub fn admit(self: &Rc<Self>, server: &Server) -> Admitted {
        match self.phase.get() {
            Phase::Serving => {}
            Phase::Draining => server.control.drain(),
            Phase::Ended(outcome) => server.control.abort(ended(outcome)),
        }
        self.servers.borrow_mut().push(server.clone());
        Admitted {
            pod: self.clone(),
            server: server.clone(),
        }
    }

    /// The HBONE connections of its peers.
    pub fn servers(&self) -> Vec<Server> {
        self.servers.borrow().clone()
    }

    /// The pod's part of the current snapshot; `None` while it is not part of the configuration.
    pub fn local(&self) -> Option<Arc<Local>> {
        let registry = self.worker.shared.store.load();
        let generation = registry.generation();
        if let Some(seen) = &*self.local.borrow()
            && seen.generation == generation
        {
            return seen.local.clone();
        }
        let PodInfo {
            namespace,
            name,
            service_account,
            ..
        } = &self.info;
        let local = registry.local(namespace, name, service_account).cloned();
        if let Some(local) = &local {
            // The pod keeps its own hold on it.
            drop(self.hold_certificate(local));
        }
        *self.local.borrow_mut() = Some(Seen {
            generation,
            local: local.clone(),
        });
        local
    }

    /// The pod's part of the configuration, waited for: until the first complete configuration has arrived, and
    /// until it names this pod.
    ///
    /// # Errors
    /// [`Outcome::NotReady`] or [`Outcome::UnknownWorkload`] after the configured time.
    pub async fn wait_local(&self) -> Result<Arc<Local>, Failure> {
        let store = &self.worker.shared.store;
        if store.is_complete()
            && let Some(local) = self.local()
        {
            return Ok(local);
        }
        let within = self.worker.shared.config.traffic.ready_timeout;
        let mut changes = self.worker.shared.changes.clone();
        let arrival = async {
            loop {
                changes.borrow_and_update();
                if store.is_complete()
                    && let Some(local) = self.local()
                {
                    return local;
                }
                if changes.changed().await.is_err() {
                    // The source has ended, which it does only at the end of the process.
                    std::future::pending::<()>().await;
                }
            }
        };
        timeout(within, arrival)
            .await
            .map_err(|_| self.not_configured(within))
    }

    /// The pod's part of the configuration once all policies that it names have arrived, or after [`ON_ITS_WAY`] as it
    /// is: a connection that comes in between is neither let in nor refused by a policy that nobody has seen.
    pub async fn wait_policies(&self, known: Arc<Local>) -> Arc<Local> {
        if !known.policies.is_awaited() {
            return known;
        }
        let mut changes = self.worker.shared.changes.clone();
        let arrival = async {
            loop {
                changes.borrow_and_update();
                let local = self.local();
                if local.as_ref().is_none_or(|local| !local.policies.is_awaited()) {
                    return local;
                }
                if changes.changed().await.is_err() {
                    // The source has ended, which it does only at the end of the process.
                    std::future::pending::<()>().await;
                }
            }
        };
        match timeout(ON_ITS_WAY, arrival).await {
            Ok(Some(local)) => local,
            Ok(None) | Err(_) => known,
        }
    }

    fn not_configured(&self, within: Duration) -> Failure {
        let PodInfo {
            namespace,
            name,
            service_account,
            ..
        } = &self.info;
        if !self.worker.shared.store.is_complete() {
            return Failure::new(
                Outcome::NotReady,
                format!("no complete configuration within {within:?}"),
            );
        }
        Failure::new(
            Outcome::UnknownWorkload,
            format!(
                "no workload {namespace}/{name} with service account {service_account} within {within:?}"
            ),
        )
    }

    /// The certificate of the pod's identity, waited for.
    ///
    /// # Errors
    /// [`Outcome::NoCertificate`] after the configured time.
    pub async fn credentials(&self, local: &Local) -> Result<Arc<Credentials>, Failure> {
        let held = self.hold_certificate(local);
        if let Some(credentials) = held.current() {
            return Ok(credentials);
        }
        let within = self.worker.shared.config.traffic.ready_timeout;
        held.wait(within)
            .await
            .map_err(|error| Failure::new(Outcome::NoCertificate, error))
    }

    /// Whether a peer that was accepted by `credentials` still would be: trust may have changed during the handshake, after
    /// live connections were judged again and before this one was among them.
    ///
    /// # Errors
    /// [`Outcome::CertificateRevoked`].
    pub fn still_trusts(
        &self,
        chain: &[CertificateDer<'_>],
        credentials: &Arc<Credentials>,
    ) -> Result<(), Failure> {
        match self.current_credentials() {
            Some(now) if !Arc::ptr_eq(&now, credentials) && now.is_revoked(chain) => Err(Failure::new(
                Outcome::CertificateRevoked,
                "the peer's certificate was revoked during the handshake",
            )),
            _ => Ok(()),
        }
    }

    /// The certificate, if there is one now.
    pub fn current_credentials(&self) -> Option<Arc<Credentials>> {
        self.certificate.borrow().as_ref().and_then(Held::current)
    }

    /// Asks for the certificate of the pod's identity, and keeps it while the pod lives.
    fn hold_certificate(&self, local: &Local) -> Held {
        let identity = &local.workload.identity;
        let mut certificate = self.certificate.borrow_mut();
        match &*certificate {
            Some(held) if held.identity() == identity => held.clone(),
            _ => {
                let held = self.worker.shared.certificates.hold(identity);
                *certificate = Some(held.clone());
                held
            }
        }
    }

    /// Ends the pod's instance: its listeners stop (each when [`Stop`] and its successor allow), peers are told to
    /// go, connections may finish until `deadline` (`None`: as long as they like) and are then cut with `outcome`.
    /// `stopping` are the inodes of all listeners that stop now. Returns how many connections were cut. May be called
    /// again with an earlier deadline while it runs.
    pub async fn end(self: Rc<Self>, deadline: Option<Instant>, outcome: Outcome, stopping: &[u64]) -> usize {
        self.drain(deadline, stopping);
        let finished = async {
            let mut accepting = self.accepting.subscribe();
            // An error: the sender is a part of the pod, which is held here.
            let _ = accepting.wait_for(|count| *count == 0).await;
            self.table.empty().await;
        };
        let in_time = match deadline {
            Some(deadline) => timeout_at(deadline, finished).await.is_ok(),
            None => {
                finished.await;
                true
            }
        };
        let cut = self.table.cut_all(outcome, LATE);
        debug_assert!(!in_time || cut == 0);
        self.phase.set(Phase::Ended(outcome));
        self.pool.close();
        for server in self.servers.borrow().iter() {
            server.control.abort(ended(outcome));
        }
        // What was cut still writes its log line.
        let _ = timeout(LAST_WORDS, self.table.empty()).await;
        self.worker.pods.borrow_mut().remove(&self.id);
        cut
    }

    fn drain(&self, deadline: Option<Instant>, stopping: &[u64]) {
        if self.phase.get() == Phase::Serving {
            self.phase.set(Phase::Draining);
        }
        self.stop.at(deadline, stopping.into());
        for server in self.servers.borrow().iter() {
            server.control.drain();
        }
    }
}

fn ended(outcome: Outcome) -> Failure {
    Failure::new(outcome, "the pod's tunnel has ended")
}

/// Why a drain cuts a connection.
const LATE: &str = "the deadline of the drain has passed";
/// See [`Pod::accepting`].
pub struct Accepting(Rc<Pod>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.send_modify(|count| *count -= 1);
    }
}

/// See [`Pod::admit`].
pub struct Admitted {
    pod: Rc<Pod>,
    server: Server,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let ours = |server: &Server| Rc::ptr_eq(&server.chain, &self.server.chain);
        self.pod.servers.borrow_mut().retain(|server| !ours(server));
    }
}

/// How long a policy that a workload names may be on its way. A control plane sends workloads and policies one after the
/// other, and istiod the workloads first: milliseconds lie between them.
pub(crate) const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// How long connections that were cut may take to notice it: a turn of the worker, with room for a busy one.
const LAST_WORDS: Duration = Duration::from_secs(1);

struct Listening(Vec<(Direction, TcpListener)>);

impl Listening {
    fn inodes(&self) -> Vec<u64> {
        // One that cannot be told counts as somebody else's, which only makes us stop early.
        self.0
            .iter()
            .filter_map(|(_, listener)| listeners::inode(listener).ok())
            .collect()
    }

    fn open(worker: &Worker, network: &Namespace) -> std::io::Result<Self> {
        let config = &worker.shared.config;
        let open = |direction, port| {
            let options = ListenOptions {
                reuse_port: true,
                transparent: true,
                // Who calls the pod may be on any node: see `accept`.
                options: config.sockets.towards(direction == Direction::Outbound).clone(),
                ..ListenOptions::default()
            };
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let address = if config.traffic.ipv6 {
                address
            } else {
                ([0, 0, 0, 0], port).into()
            };
            let named = |error: std::io::Error| {
                std::io::Error::new(
                    error.kind(),
                    format!("cannot listen on {address} in the pod: {error}"),
                )
            };
            let listener = listen(Some(network), address, &options).map_err(named)?;
            Ok::<_, std::io::Error>((direction, TcpListener::from_std(listener)?))
        };
        Ok(Self(vec![
            open(Direction::Outbound, OUTBOUND_PORT)?,
            open(Direction::Inbound, HBONE_PORT)?,
            open(Direction::Plaintext, PLAINTEXT_PORT)?,
        ]))
    }
}

#[cfg(test)]
mod simulation;
