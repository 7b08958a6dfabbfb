//! When strictness begins for a pod: after everybody who may call it knows that it speaks HBONE.
//!
//! A pod that joins the mesh would otherwise refuse, for a moment, clients whose tunnels have not heard of it yet and send
//! plaintext in good faith. So the policy that refuses plaintext is named by the pod's workload only once all tunnels have
//! acknowledged its address, or after a bounded time, because a tunnel that does not answer must not keep the pod open.
//! Before a pod is announced at all its tunnel already takes its traffic, so it is not strict then either. Pods that were
//! in the mesh when the control plane started were known before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use adit_mesh::workload::TunnelProtocol;

use crate::objects::{Name, Pod};
use crate::translate::workload;

/// Longer than any healthy tunnel takes, and short enough that nobody mistakes the pod for one that is protected.
const LONGEST: Duration = Duration::from_secs(30);

/// Which pods are waited for.
#[derive(Default, Debug)]
pub(super) struct Gate {
    /// Pods whose address everybody knows.
    known: BTreeSet<Name>,
    waiting: BTreeMap<Name, Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    /// The first generation that has it; none before it is published.
    generation: Option<u64>,
}

impl Gate {
    /// A gate that lets these pass, because they were there before.
    pub(super) fn new<'a>(pods: impl Iterator<Item = &'a Pod>) -> Self {
        let known = pods.filter(|pod| speaks_hbone(pod));
        Self {
            known: known.map(|pod| pod.meta.name.clone()).collect(),
            waiting: BTreeMap::new(),
        }
    }

    /// A pod is like this now, or is gone.
    pub(super) fn note(&mut self, name: &Name, pod: Option<&Pod>, now: Instant) {
        if pod.is_some_and(speaks_hbone) {
            if !self.known.contains(name) {
                let waiting = Waiting {
                    since: now,
                    generation: None,
                };
                self.waiting.entry(name.clone()).or_insert(waiting);
            }
        } else {
            self.known.remove(name);
            self.waiting.remove(name);
        }
    }

    /// Whether a pod must not be strict yet.
    pub(super) fn holds(&self, name: &Name) -> bool {
        !self.known.contains(name)
    }

    /// What was made so far is in this generation.
    pub(super) fn published(&mut self, generation: u64) {
        for waiting in self.waiting.values_mut() {
            waiting.generation.get_or_insert(generation);
        }
    }

    /// The pods that need not wait any more: everybody has acknowledged `accepted`; `None` if there is nobody.
    pub(super) fn acknowledged(&mut self, accepted: Option<u64>, now: Instant) -> Vec<Name> {
        let over = |waiting: &Waiting| {
            let known = waiting
                .generation
                .is_some_and(|generation| accepted.is_none_or(|accepted| accepted >= generation));
            known || now.duration_since(waiting.since) >= LONGEST
        };
        let ready = self.waiting.iter().filter(|(_, waiting)| over(waiting));
        let ready: Vec<_> = ready.map(|(name, _)| name.clone()).collect();
        for name in &ready {
            self.waiting.remove(name);
            self.known.insert(name.clone());
        }
        ready
    }

    /// When to look again although nobody has said anything.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.since + LONGEST).min()
    }
}

fn speaks_hbone(pod: &Pod) -> bool {
    workload::is_there(pod) && workload::protocol(pod).0 == TunnelProtocol::Hbone
}
