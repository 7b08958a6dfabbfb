//! A pod's instance that ends while connections come, live and go, at random: what was accepted is served until it is
//! over or the deadline has passed, the end waits for the last of it and not longer, and a successor loses nothing.
//!
//! Listener and clients are real, on loopback; time is moved by hand, because the runtime would jump to the deadline
//! while a connection is on its way.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use adit_mesh::registry::LocalNode;
use adit_mesh::{Store, Text};
use adit_pki::manager::ManagerOptions;
use adit_pki::{CertificateManager, LocalCa, TrustStore};
use adit_telemetry::access::AccessLog;
use adit_telemetry::log::{Format, Writer};
use adit_telemetry::metrics::{Build, Metrics};
use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking, spawn_local, yield_now};
use tokio::time::advance;

use super::*;
use crate::limits;
use crate::live::{Connection, Entry};
use crate::worker::Shared;

const STEPS: usize = 150;
/// After so many turns of the runtime everything has happened that needs no time.
const TURNS: usize = 40;
const TICK: Duration = Duration::from_millis(50);
/// How late what happens at a deadline may be seen.
const SEEN: Duration = Duration::from_millis(100);
/// More than the connections of a run need.
const MANY_DESCRIPTORS: u64 = 10_000;

#[test]
fn a_pod_ends_with_its_last_connection_or_at_its_deadline() {
    adit_simulation::play("a pod's drain", 12, &[], |random| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        runtime.block_on(async {
            // While a blocking task runs the runtime does not move the time by itself.
            let (release, released) = std::sync::mpsc::channel::<()>();
            let blocker = spawn_blocking(move || released.recv());
            let mut world = World::new(random);
            for _ in 0..STEPS {
                world.step().await;
                world.check().await;
            }
            world.finish().await;
            drop((world, release));
            let _ = blocker.await;
        });
    });
}

/// A connection of the pod: until `over` is dropped, or it is cut.
struct Living {
    over: oneshot::Sender<()>,
    task: JoinHandle<Option<Outcome>>,
}

/// What a client on the other side of loopback has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Nothing,
    Served,
    /// Ended by the other side, or never begun.
    Ended,
}

struct Client {
    seen: Rc<Cell<Seen>>,
    /// Lets the client go.
    go: oneshot::Sender<()>,
}

struct World {
    random: Rng,
    pod: Rc<Pod>,
    address: SocketAddr,
    clients: Vec<Client>,
    /// HBONE connections, in which connections may still begin.
    tunnels: Vec<Accepting>,
    living: Vec<Living>,
    ends: Vec<JoinHandle<usize>>,
    /// The earliest deadline so far.
    deadline: Option<Instant>,
    draining: bool,
    successor: bool,
    /// One of the ends was seen to be over.
    over: bool,
}

impl World {
    fn new(random: Rng) -> Self {
        let (pod, address) = pod();
        Self {
            random,
            pod,
            address,
            clients: Vec::new(),
            tunnels: Vec::new(),
            living: Vec::new(),
            ends: Vec::new(),
            deadline: None,
            draining: false,
            successor: false,
            over: false,
        }
    }

    async fn step(&mut self) {
        match self.random.u8(..24) {
            0..7 => self.connect(),
            7..10 => {
                if let Some(client) = take(&mut self.random, &mut self.clients) {
                    // One that has gone on its own is no loss.
                    let _ = client.go.send(());
                }
            }
            10 if !self.over => self.tunnels.push(self.pod.accepting()),
            11 => drop(take(&mut self.random, &mut self.tunnels)),
            12..15 => self.begin(),
            15..18 => {
                if let Some(living) = take(&mut self.random, &mut self.living) {
                    drop(living.over);
                    settle().await;
                    let cut = living.task.await.expect("no panic");
                    assert!(cut.is_none() || self.has_expired(), "cut: {cut:?}");
                }
            }
            18 if self.random.u8(..4) == 0 => self.end(),
            19 if self.draining => self.end(),
            20 if self.draining && !self.successor => self.succeed(),
            _ => {
                let time = Duration::from_millis(self.random.u64(..1_500));
                self.pass(time).await;
            }
        }
        settle().await;
    }

    /// A client connects to the pod's listener, or to its successor's.
    fn connect(&mut self) {
        let (go, mut gone) = oneshot::channel::<()>();
        let seen = Rc::new(Cell::new(Seen::Nothing));
        let (address, note) = (self.address, seen.clone());
        spawn_local(async move {
            if let Ok(mut socket) = TcpStream::connect(address).await {
                let mut byte = [0];
                tokio::select! {
                    read = socket.read(&mut byte) => if matches!(read, Ok(1)) { note.set(Seen::Served) },
                    _ = &mut gone => return,
                }
                if note.get() == Seen::Served {
                    tokio::select! {
                        _ = socket.read(&mut byte) => {}
                        _ = &mut gone => return,
                    }
                }
            }
            note.set(Seen::Ended);
        });
        self.clients.push(Client { seen, go });
    }

    /// A connection begins within a tunnel.
    fn begin(&mut self) {
        if self.tunnels.is_empty() {
            return;
        }
        let entry = enter(&self.pod);
        let (over, ended) = oneshot::channel();
        let task = spawn_local(live(entry, async move {
            let _ = ended.await;
        }));
        self.living.push(Living { over, task });
    }

    fn end(&mut self) {
        let earliest = self.deadline.map_or(20_000, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            u64::try_from(left.as_millis()).expect("short")
        });
        // The first order may leave it to the connections; each later one is at least as urgent as the last.
        let deadline = match self.deadline {
            None if self.random.bool() => None,
            _ => Some(Instant::now() + Duration::from_millis(self.random.u64(..=earliest))),
        };
        self.deadline = deadline.or(self.deadline);
        self.draining = true;
        let (pod, inodes) = (self.pod.clone(), self.pod.inodes.clone());
        self.ends.push(spawn_local(async move {
            pod.end(deadline, Outcome::Shutdown, &inodes).await
        }));
    }

    /// Another tunnel begins to listen, and serves from now on.
    fn succeed(&mut self) {
        let Ok(listener) = listener(self.address) else {
            // The port was given to somebody else after our listener had ended.
            return;
        };
        self.successor = true;
        spawn_local(async move {
            let mut served = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                socket.write_all(b"A").await.expect("the client is there");
                served.push(socket);
            }
        });
    }

    fn has_expired(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            advance(TICK.min(end - Instant::now())).await;
            settle().await;
        }
    }

    async fn check(&mut self) {
        let now = Instant::now();
        let busy = !self.pod.table.is_empty() || !self.tunnels.is_empty();
        for ended in &self.ends {
            if ended.is_finished() {
                let phase = self.pod.phase.get();
                assert_eq!(phase, Phase::Ended(Outcome::Shutdown));
                assert!(
                    self.over || self.has_expired() || !busy,
                    "it ended before its last connection"
                );
                self.over = true;
                assert!(self.pod.table.is_empty(), "what was cut has gone");
            }
        }
        if matches!(self.pod.phase.get(), Phase::Ended(_)) {
            // The tunnels of an instance that has ended are ended with it.
            self.tunnels.clear();
            settle().await;
        }
        let late = self.deadline.is_some_and(|deadline| now > deadline + SEEN);
        // What is cut has its last words, and all of it says them at once.
        assert!(!late || self.ends.iter().all(JoinHandle::is_finished), "late");
        for client in &self.clients {
            let lost = client.seen.get() == Seen::Ended;
            // A connection is refused or cut only where the deadline has passed, or once nobody is left to listen.
            let over = self.has_expired() || self.pod.phase.get() != Phase::Serving && !self.is_listening();
            assert!(!lost || over, "a connection is lost");
            let waits = client.seen.get() == Seen::Nothing;
            assert!(!waits || over, "a connection is not served");
        }
    }

    /// Whether the instance still accepts.
    fn is_listening(&self) -> bool {
        *self.pod.accepting.borrow() > 0
    }

    async fn finish(&mut self) {
        if self.ends.is_empty() {
            self.end();
        }
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_none() {
            self.clients.clear();
            self.tunnels.clear();
            self.living.clear();
            settle().await;
            self.deadline = Some(Instant::now() + TICK);
            let (pod, deadline) = (self.pod.clone(), self.deadline);
            self.ends.push(spawn_local(async move {
                pod.end(deadline, Outcome::Shutdown, &[]).await
            }));
        }
        self.pass(left.unwrap_or_default() + 2 * SEEN).await;
        self.check().await;
        for ended in self.ends.drain(..) {
            assert!(ended.is_finished());
        }
        assert!(self.pod.worker.pods.borrow().is_empty());
        let late = enter(&self.pod);
        assert_eq!(
            late.cut.wait().await.0,
            Outcome::Shutdown,
            "what comes late is refused"
        );
    }
}

fn take<T>(random: &mut Rng, from: &mut Vec<T>) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(random.usize(..from.len())))
}

async fn settle() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

fn enter(pod: &Rc<Pod>) -> Entry {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    pod.table
        .enter(Connection::new(Direction::Inbound, nowhere, nowhere))
}

/// Lives until `over`, or until it is cut.
async fn live(entry: Entry, over: impl Future<Output = ()>) -> Option<Outcome> {
    tokio::select! {
        biased;
        (outcome, _) = entry.cut.wait() => Some(outcome),
        () = over => None,
    }
}

/// Serves as the pod's applications would: until the client leaves.
async fn serve(entry: Entry, mut socket: TcpStream) {
    let reading = async {
        if socket.write_all(b"A").await.is_ok() {
            let _ = socket.read(&mut [0]).await;
        }
    };
    live(entry, reading).await;
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let options = ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    TcpListener::from_std(listen(None, address, &options)?)
}

/// An instance of a pod with one listener, in a worker of its own.
fn pod() -> (Rc<Pod>, SocketAddr) {
    let listener = listener(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a listener");
    let address = listener.local_addr().expect("it is bound");
    let worker = Worker::install(shared());
    let shares = Shares::new(&worker.shared.node, &worker.shared.config.limits);
    let pod = Rc::new_cyclic(|pod| Pod {
        id: 1,
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
        inodes: vec![listeners::inode(&listener).expect("an open socket")],
        worker: worker.clone(),
        info: PodInfo {
            uid: Text::from("pod"),
            name: Text::from("pod"),
            namespace: Text::from("bank"),
            service_account: Text::from("bank"),
        },
        network: Namespace::current().expect("a namespace"),
    });
    worker.pods.borrow_mut().insert(pod.id, pod.clone());
    let accepting = pod.accepting();
    spawn_local(async move {
        let pod = accepting.0.clone();
        accept::run(&listener, &pod, Direction::Outbound, |socket, _| {
            let (entry, accepting) = (enter(&pod), pod.accepting());
            spawn_local(async move {
                serve(entry, socket).await;
                drop(accepting);
            });
        })
        .await;
        drop(listener);
        drop(accepting);
    });
    (pod, address)
}

fn shared() -> Arc<Shared> {
    let config = crate::config::tests::with(&[]).expect("a configuration");
    let (log, _) = Writer::start(Format::Text, std::io::sink()).expect("a thread");
    let build = Build {
        component: "simulation",
        tag: String::new(),
    };
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = LocalCa::open_or_create(directory.path(), Duration::ZERO, SystemTime::now());
    let trust = TrustStore::open(&Default::default()).expect("trust");
    let certificates = CertificateManager::new(
        Arc::new(issuer.expect("an authority")),
        &trust,
        ManagerOptions::default(),
    );
    Arc::new(Shared {
        node: limits::Node::new(&config.limits, MANY_DESCRIPTORS),
        config,
        store: Arc::new(Store::new(LocalNode::default())),
        changes: watch::Sender::new(0).subscribe(),
        certificates,
        metrics: Metrics::new(&build, &log),
        access: AccessLog::new(log),
        spans: None,
    })
}
