//! The graph: what follows from which object, so that an event costs what it touches.
//!
//! Every object is an input, and every input has outputs: a pod has a workload, a service a service, a ServiceEntry one
//! service for each host and one workload for each endpoint. An event marks the outputs that its object can make a
//! difference to ([`touch`]), by indexes and never by looking at all; [`Graph::settle`] makes the marked ones again from
//! the inputs ([`compute`]), and only what came out different is a change. An output that is marked in vain costs a
//! little; one that is not marked would be wrong, so every test of the graph compares it with one that was made from
//! scratch.

mod compute;
mod gate;
mod index;
mod inputs;
mod outputs;
#[cfg(test)]
mod tests;
mod touch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use adit_discovery::xds::Change;
use adit_mesh::Interner;

use crate::objects::{Key, Kind, Name, Object};
use crate::settings::Settings;
use crate::translate::Condition;
use gate::Gate;
use index::Index;
use inputs::Inputs;
use outputs::Outputs;

/// What happened to an object.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// It is like this now.
    Put(Object),
    /// It is gone. One that never was is no mistake.
    Gone(Key),
}

/// Something that is made of inputs, named by the object that it is about. Policies are made first, because workloads
/// name only those that there are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Output {
    /// The policy that refuses who does not prove who they are.
    Strict,
    /// The policy of an AuthorizationPolicy.
    Authorization(Name),
    /// The policy of a PeerAuthentication.
    Authentication(Name),
    /// A service.
    Service(Name),
    /// The services of a ServiceEntry's hosts.
    EntryServices(Name),
    /// The workload of a pod.
    Pod(Name),
    /// The workload of a WorkloadEntry.
    WorkloadEntry(Name),
    /// The workloads of a ServiceEntry's endpoints.
    EntryEndpoints(Name),
    /// The workloads of a slice's endpoints that are no pods.
    Slice(Name),
}

/// Objects in, resources out.
#[derive(Debug)]
pub struct Graph {
    settings: Settings,
    texts: Interner,
    inputs: Inputs,
    index: Index,
    outputs: Outputs,
    dirty: BTreeSet<Output>,
    /// None as long as strictness begins at once.
    gate: Option<Gate>,
}

/// What a settling has changed.
#[derive(Default, Debug)]
pub struct Settled {
    /// The resources that are different.
    pub changes: Vec<Change>,
    /// Whether something else is said about an object than before.
    pub conditions_changed: bool,
    /// How many outputs were made again.
    pub computed: usize,
}

impl Settled {
    /// A name that one output has given up and another has taken, such as a host that an older ServiceEntry claims, is not
    /// gone.
    fn drop_taken_over(&mut self) {
        let put = self.changes.iter().filter_map(|change| match change {
            Change::Put(resource) => Some((resource.table(), resource.name().clone())),
            Change::Remove(..) => None,
        });
        let put: HashSet<_> = put.collect();
        self.changes.retain(|change| match change {
            Change::Put(_) => true,
            Change::Remove(table, name) => !put.contains(&(*table, name.clone())),
        });
    }
}

impl Graph {
    /// A graph without objects.
    pub fn new(settings: Settings) -> Self {
        let mut graph = Self {
            settings,
            texts: Interner::default(),
            inputs: Inputs::default(),
            index: Index::default(),
            outputs: Outputs::default(),
            dirty: BTreeSet::new(),
            gate: None,
        };
        graph.dirty.insert(Output::Strict);
        graph
    }

    /// What holds for the whole mesh.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes an event in; what follows from it is made by [`settle`](Self::settle).
    pub fn apply(&mut self, event: Event) {
        let (key, now) = match event {
            // What is for another revision is not there for us.
            Event::Put(object) if !self.is_ours(&object) => (object.key(), None),
            Event::Put(object) => (object.key(), Some(object)),
            Event::Gone(key) => (key, None),
        };
        let before = self.inputs.replace(&key, now.clone());
        if before == now {
            return;
        }
        if let (Some(gate), Kind::Pod) = (&mut self.gate, key.kind) {
            let pod = self.inputs.pods.get(&key.name).map(|pod| &**pod);
            gate.note(&key.name, pod, Instant::now());
        }
        if let Some(before) = &before {
            self.index.remove(before);
        }
        // Before it is in the index and after: what it was related to, and what it is related to now.
        self.touch(&key, before.as_ref(), now.as_ref());
        if let Some(now) = &now {
            self.index.insert(now);
        }
    }

    /// Whether an event since the last time can have changed something.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Makes everything again that an event since the last time can have changed.
    pub fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        while let Some(output) = self.dirty.pop_first() {
            let made = self.compute(&output);
            settled.computed += 1;
            self.outputs.replace(output, made, &mut settled);
        }
        settled.drop_taken_over();
        settled
    }

    /// From now on strictness begins for a pod that joins the mesh when all tunnels have [acknowledged](Self::acknowledged)
    /// it. Those that are in it are taken for known.
    pub fn hold_strictness(&mut self) {
        self.gate = Some(Gate::new(self.inputs.pods.values().map(|pod| &**pod)));
    }

    /// What was settled is in this generation.
    pub fn published(&mut self, generation: u64) {
        if let Some(gate) = &mut self.gate {
            gate.published(generation);
        }
    }

    /// All tunnels have accepted everything up to a generation; `None` if there is no tunnel.
    pub fn acknowledged(&mut self, accepted: Option<u64>, now: Instant) {
        if let Some(gate) = &mut self.gate {
            let ready = gate.acknowledged(accepted, now);
            self.dirty.extend(ready.into_iter().map(Output::Pod));
        }
    }

    /// When [`acknowledged`](Self::acknowledged) has something to do although nobody has said anything.
    pub fn strictness_due(&self) -> Option<Instant> {
        self.gate.as_ref()?.due()
    }

    /// What the people who wrote the objects must be told.
    pub fn conditions(&self) -> &BTreeMap<Key, Vec<Condition>> {
        self.outputs.conditions()
    }

    /// How many objects there are of each kind.
    pub fn counts(&self) -> BTreeMap<Kind, usize> {
        self.inputs.counts()
    }
}
