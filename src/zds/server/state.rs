//! The enrolled pods, and the tunnels to tell about them, behind one lock that is never held across a wait.
//!
//! A tunnel enters the list in the same instant in which its snapshot is taken: what happens later is queued behind the
//! snapshot, so that no tunnel misses a change and none hears of one before the state it changes.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use super::{Connections, Pod};

/// A tunnel's answer to one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Delivered {
    Acknowledged,
    Refused(String),
}

/// What a tunnel is to be told.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Add(Pod),
    Keep(String),
    Delete(String),
}

/// An order, and who waits for the answer to it. Dropping it unanswered tells that the tunnel is lost.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) order: Order,
    pub(super) answer: Option<oneshot::Sender<Delivered>>,
}

/// What a new connection is given: the snapshot to send, and the orders that follow it.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) id: u64,
    pub(super) snapshot: Vec<Order>,
    pub(super) tasks: mpsc::UnboundedReceiver<Task>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    inner: Mutex<Inner>,
    connections: watch::Sender<Connections>,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` where the network namespace is not known.
    pods: BTreeMap<String, Option<Pod>>,
    /// In the order in which they came: the last is the newest.
    tunnels: Vec<Tunnel>,
    next_id: u64,
}

#[derive(Debug)]
struct Tunnel {
    id: u64,
    synchronised: bool,
    /// The pods that it has been told of, with their namespaces.
    told: HashSet<String>,
    tasks: mpsc::UnboundedSender<Task>,
}

impl State {
    /// Enrols a pod. Returns where the newest tunnel's answer comes, if there is a tunnel.
    pub(super) fn add(&self, pod: Pod) -> Option<oneshot::Receiver<Delivered>> {
        let mut inner = self.lock();
        inner.pods.insert(pod.uid.clone(), Some(pod.clone()));
        let newest = inner.tunnels.last_mut()?;
        newest.told.insert(pod.uid.clone());
        Some(newest.order(Order::Add(pod)))
    }

    pub(super) fn keep(&self, uid: &str) {
        self.lock().pods.entry(uid.to_owned()).or_insert(None);
    }

    /// Removes a pod. Returns where each tunnel's answer comes.
    pub(super) fn remove(&self, uid: &str) -> Vec<oneshot::Receiver<Delivered>> {
        let mut inner = self.lock();
        inner.pods.remove(uid);
        let tell = |tunnel: &mut Tunnel| {
            tunnel.told.remove(uid);
            tunnel.order(Order::Delete(uid.to_owned()))
        };
        inner.tunnels.iter_mut().map(tell).collect()
    }

    pub(super) fn connections(&self) -> watch::Receiver<Connections> {
        self.connections.subscribe()
    }

    /// Enters a tunnel that has said hello; it is now the newest.
    pub(super) fn join(&self) -> Joined {
        let mut inner = self.lock();
        let (sender, tasks) = mpsc::unbounded_channel();
        let id = inner.next_id;
        inner.next_id += 1;
        let told = inner.pods.iter().filter(|(_, pod)| pod.is_some());
        let told = told.map(|(uid, _)| uid.clone()).collect();
        inner.tunnels.push(Tunnel {
            id,
            synchronised: false,
            told,
            tasks: sender,
        });
        let snapshot = inner.pods.iter().map(|(uid, pod)| match pod {
            Some(pod) => Order::Add(pod.clone()),
            None => Order::Keep(uid.clone()),
        });
        let snapshot = snapshot.collect();
        self.publish(&inner, 0);
        Joined { id, snapshot, tasks }
    }

    /// A tunnel has acknowledged its snapshot.
    pub(super) fn synchronised(&self, id: u64) {
        let mut inner = self.lock();
        if let Some(tunnel) = inner.tunnels.iter_mut().find(|tunnel| tunnel.id == id) {
            tunnel.synchronised = true;
        }
        self.publish(&inner, 1);
    }

    /// A tunnel is lost. If it was the newest, the one before it takes its place and hears of the pods that it had not
    /// been told of.
    pub(super) fn leave(&self, id: u64) {
        let mut inner = self.lock();
        inner.tunnels.retain(|tunnel| tunnel.id != id);
        let Inner { pods, tunnels, .. } = &mut *inner;
        if let Some(newest) = tunnels.last_mut() {
            for pod in pods.values().flatten() {
                if newest.told.insert(pod.uid.clone()) {
                    // Nobody waits: a refusal is logged by the session.
                    drop(newest.order(Order::Add(pod.clone())));
                }
            }
        }
        self.publish(&inner, 0);
    }

    fn publish(&self, inner: &Inner, snapshots: u64) {
        self.connections.send_modify(|connections| {
            *connections = Connections {
                open: inner.tunnels.len(),
                synchronised: inner.tunnels.iter().filter(|tunnel| tunnel.synchronised).count(),
                snapshots: connections.snapshots + snapshots,
            };
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is complete before anything that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tunnel {
    fn order(&self, order: Order) -> oneshot::Receiver<Delivered> {
        let (answer, answered) = oneshot::channel();
        // When the session has just ended the task is dropped, which is the answer.
        let _lost = self.tasks.send(Task {
            order,
            answer: Some(answer),
        });
        answered
    }
}
