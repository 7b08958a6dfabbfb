//! What keeps one pod, or one peer, from taking everything: shares of what a node has (see [`adit_hbone::share`]), and
//! turns in what costs CPU. At a limit a connection is refused by name and counted, and everybody else goes on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adit_hbone::Failure;
use adit_hbone::allowance::Allowance;
use adit_hbone::share::{Ledger, Share, Spent, Taken, Whole};
use adit_mesh::Outcome;
use adit_net::rlimit;
use adit_telemetry::Direction;
use adit_telemetry::metrics::{Limit, Metrics};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Limits;
use crate::worker::Shared;

/// How long a handshake has its turn: far longer than an honest one takes, and a peer that stops in the middle keeps no
/// other waiting for longer. It may then go on without a turn, up to its deadline.
const TURN: Duration = Duration::from_secs(1);
/// Lines about limits that a pod gets at once, and in every [`LINES_PERIOD`]: a storm is told, and does not push the lines of
/// others out of the log. What is not told is counted, in metrics and in the next line.
const LINES: u32 = 100;
/// See [`LINES`].
const LINES_PERIOD: Duration = Duration::from_secs(10);

/// What the node has.
#[derive(Debug)]
pub struct Node {
    /// Those that are not the process's own.
    descriptors: Arc<Whole>,
    inbound_handshakes: Arc<Whole>,
    outbound_handshakes: Arc<Whole>,
    buffered: Arc<Whole>,
}

impl Node {
    /// A node with these limits, whose process may have so many descriptors for pods and their connections.
    pub fn new(limits: &Limits, descriptors: u64) -> Self {
        let handshakes = || Whole::new(limits.handshakes_per_node.into());
        Self {
            descriptors: Whole::new(descriptors),
            inbound_handshakes: handshakes(),
            outbound_handshakes: handshakes(),
            buffered: Whole::new(limits.buffered_bytes_per_node.into()),
        }
    }

    /// The process itself has so many descriptors open by now, beside those that are kept for it.
    pub fn started(&self, open: u64) {
        self.descriptors.occupy(open);
    }
}

/// What a pod has of it, in whichever workers it lives.
#[derive(Debug)]
pub struct Shares {
    connections: Arc<Share>,
    descriptors: Arc<Share>,
    inbound_handshakes: Arc<Share>,
    outbound_handshakes: Arc<Share>,
    buffered: Arc<Share>,
    /// Counts the descriptor of its network namespace.
    _network: Option<Taken>,
}

impl Shares {
    /// Nothing yet.
    pub fn new(node: &Node, limits: &Limits) -> Arc<Self> {
        let handshakes = |whole| Share::new(whole, limits.handshakes_per_pod.into());
        let descriptors = Share::new(&node.descriptors, u64::MAX);
        Arc::new(Self {
            // What a node can have of them is told by what they take.
            connections: Share::new(&Whole::new(u64::MAX), limits.connections_per_pod.into()),
            _network: descriptors.take_one().ok(),
            descriptors,
            inbound_handshakes: handshakes(&node.inbound_handshakes),
            outbound_handshakes: handshakes(&node.outbound_handshakes),
            buffered: Share::new(&node.buffered, limits.buffered_bytes_per_pod.into()),
        })
    }
}

/// The limits of a pod in one worker.
pub struct Admission {
    shares: Arc<Shares>,
    metrics: Arc<Metrics>,
    tunnels: Rc<RefCell<HashMap<IpAddr, u32>>>,
    tunnels_per_peer: u32,
    inbound_turns: Turns,
    outbound_turns: Turns,
    lines: RefCell<Lines>,
    /// What is buffered for the pod.
    pub ledger: Rc<Ledger>,
}

/// Those who wait for a handshake.
struct Turns {
    free: Semaphore,
    count: u32,
}

struct Lines {
    allowance: Allowance,
    untold: u64,
}

impl Admission {
    /// The limits of a pod with these shares.
    pub fn new(shares: Arc<Shares>, shared: &Shared) -> Self {
        let (limits, metrics) = (&shared.config.limits, shared.metrics.clone());
        let counted = metrics.clone();
        let given_up = move |spent| {
            counted.limited(match spent {
                Spent::Pod(_) => Limit::BufferedBytesPerPod,
                Spent::Node(_) => Limit::BufferedBytesPerNode,
                Spent::Connection(_) => Limit::BufferedBytesPerConnection,
            });
        };
        let turns = || Turns {
            free: Semaphore::new(limits.handshakes_per_pod as usize),
            count: limits.handshakes_per_pod,
        };
        Self {
            ledger: Ledger::new(shares.buffered.clone(), given_up),
            shares,
            metrics,
            tunnels: Rc::default(),
            tunnels_per_peer: limits.tunnels_per_peer,
            inbound_turns: turns(),
            outbound_turns: turns(),
            lines: RefCell::new(Lines {
                allowance: Allowance::new(LINES, LINES_PERIOD),
                untold: 0,
            }),
        }
    }

    /// Lets in what a listener accepted, for as long as the result lives.
    ///
    /// # Errors
    /// Those of [`Admission::connection`] and [`Admission::descriptor`].
    pub fn accepted(&self, socket: &impl AsFd) -> Result<Accepted, Failure> {
        Ok(Accepted {
            _descriptor: self.descriptor(socket)?,
            _connection: self.connection()?,
        })
    }

    /// Lets a connection in, for as long as the result lives.
    ///
    /// # Errors
    /// [`Outcome::Overloaded`]: the pod has too many.
    pub fn connection(&self) -> Result<Taken, Failure> {
        let share = &self.shares.connections;
        share.take_one().map_err(|_| {
            let most = share.limit();
            let detail = format!("the pod has {most} connections (ADIT_CONNECTIONS_PER_POD)");
            self.reached(Limit::ConnectionsPerPod, detail)
        })
    }

    /// Counts a new socket of the pod, for as long as it lives.
    ///
    /// # Errors
    /// [`Outcome::Overloaded`]: the pod has its share of the descriptors, or this one is of those that the process keeps
    /// for itself. So close it.
    pub fn descriptor(&self, socket: &impl AsFd) -> Result<Taken, Failure> {
        let share = &self.shares.descriptors;
        if !rlimit::is_among_the_first(share.whole().limit(), socket) {
            return Err(self.out_of_descriptors());
        }
        share.take_one().map_err(|_| {
            let most = share.whole().limit();
            let detail = format!(
                "of the {most} sockets that the limit of open files allows on this node, the pod has its share"
            );
            self.reached(Limit::ConnectionsPerNode, detail)
        })
    }

    /// Counts a listener, for as long as it lives: the pod has it also where that leaves nothing for connections.
    pub fn listener(&self) -> Option<Taken> {
        self.shares.descriptors.take_one().ok()
    }

    /// There is no descriptor for a connection.
    pub fn out_of_descriptors(&self) -> Failure {
        let detail =
            "the limit of open files is reached (RLIMIT_NOFILE): the last are kept for the tunnel itself";
        self.reached(Limit::Descriptors, detail)
    }

    /// Lets a peer's HBONE connection in, for as long as the result lives.
    ///
    /// # Errors
    /// [`Outcome::Overloaded`]: the peer has too many.
    pub fn tunnel(&self, peer: IpAddr) -> Result<Tunnel, Failure> {
        let most = self.tunnels_per_peer;
        let mut tunnels = self.tunnels.borrow_mut();
        let count = tunnels.entry(peer).or_default();
        if *count >= most {
            let detail = format!("{peer} has {most} HBONE connections to the pod (ADIT_TUNNELS_PER_PEER)");
            return Err(self.reached(Limit::TunnelsPerPeer, detail));
        }
        *count += 1;
        Ok(Tunnel {
            peer,
            tunnels: self.tunnels.clone(),
        })
    }

    /// Runs a TLS handshake when it is its turn, for which it waits at most `within`.
    ///
    /// # Errors
    /// [`Outcome::Overloaded`]: its turn does not come, or the node has too many. Or what the handshake fails with.
    pub async fn handshake<T>(
        &self,
        direction: Direction,
        within: Duration,
        handshake: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let (turns, share) = match direction {
            Direction::Inbound => (&self.inbound_turns, &self.shares.inbound_handshakes),
            Direction::Outbound => (&self.outbound_turns, &self.shares.outbound_handshakes),
        };
        let turn = timeout(within, turns.free.acquire()).await.map_err(|_| {
            let most = turns.count;
            self.reached(
                Limit::HandshakesPerPod,
                format!(
                    "the pod's {most} TLS handshakes (ADIT_HANDSHAKES_PER_POD) left no turn within {within:?}"
                ),
            )
        })?;
        let taken = share.take_one().map_err(|_| {
            self.reached(
                Limit::HandshakesPerNode,
                "the pod has its share of the node's TLS handshakes in flight (ADIT_HANDSHAKES_PER_NODE)",
            )
        })?;
        let mut handshake = pin!(handshake);
        match timeout(TURN, handshake.as_mut()).await {
            Ok(done) => done,
            Err(_) => {
                drop((turn, taken));
                handshake.await
            }
        }
    }

    /// A limit was reached.
    pub fn reached(&self, limit: Limit, detail: impl std::fmt::Display) -> Failure {
        self.metrics.limited(limit);
        Failure::new(Outcome::Overloaded, detail)
    }

    /// Whether a line about a limit may be written, and then how many were not before it.
    pub fn line(&self) -> Option<u64> {
        let mut lines = self.lines.borrow_mut();
        if lines.allowance.take() {
            return Some(std::mem::take(&mut lines.untold));
        }
        lines.untold += 1;
        None
    }
}

/// What a listener accepted and is counted.
pub struct Accepted {
    _descriptor: Taken,
    _connection: Taken,
}

/// A peer's HBONE connection that is counted.
pub struct Tunnel {
    peer: IpAddr,
    tunnels: Rc<RefCell<HashMap<IpAddr, u32>>>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let mut tunnels = self.tunnels.borrow_mut();
        if let Some(count) = tunnels.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                tunnels.remove(&self.peer);
            }
        }
    }
}
