//! What is known of the pods of this node: plain data, changed under one lock.

use std::collections::HashMap;
use std::sync::Arc;

use adit_mesh::Text;
use adit_net::Namespace;
use adit_telemetry::server::readiness::Blocker;

use super::instance::Instance;
use crate::limits::Shares;
use crate::pod::PodInfo;

/// The pods that are enrolled.
#[derive(Default)]
pub struct State {
    /// By uid.
    pub pods: HashMap<Text, Placed>,
    /// Pods that are not enrolled any more and whose connections may still finish, by enrolment.
    pub draining: HashMap<u64, Placed>,
    /// Held while there is no agreement with the agent about which pods there are.
    pub agent: Option<Blocker>,
    /// Held while a pod is pending.
    pub pending: Option<Blocker>,
    /// The process is about to end: nothing new begins.
    pub ending: bool,
    /// The last number that was given to an enrolment or an instance.
    pub numbers: u64,
}

/// A pod that is enrolled.
#[derive(Clone)]
pub struct Placed {
    /// Tells this enrolment from earlier ones of the same pod, whose work may still be under way.
    pub enrolment: u64,
    /// What the agent said.
    pub info: PodInfo,
    /// Where the pod is.
    pub network: Namespace,
    /// What it has of what pods share.
    pub shares: Arc<Shares>,
    /// Its home, and the workers that joined; none while it is pending.
    pub instances: Vec<Instance>,
    /// Instances that take no more connections and still have some.
    pub leaving: Vec<Instance>,
    /// Its home is being started.
    pub starting: bool,
    /// It could not be served, and is tried again.
    pub retrying: bool,
}

impl State {
    /// A number that nothing else has.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Takes note of a pod, and gives what was known by its uid, which drains from now on.
    pub fn enrol(&mut self, uid: Text, placed: Placed) -> Option<Placed> {
        let before = self.pods.insert(uid, placed)?;
        self.draining.insert(before.enrolment, before.clone());
        Some(before)
    }

    /// Gives a pod that is not enrolled any more, which drains from now on.
    pub fn release(&mut self, uid: &str) -> Option<Placed> {
        let placed = self.pods.remove(uid)?;
        self.draining.insert(placed.enrolment, placed.clone());
        Some(placed)
    }

    /// The pod, if it is still the same enrolment of it.
    pub fn enrolled(&mut self, uid: &Text, enrolment: u64) -> Option<&mut Placed> {
        self.pods
            .get_mut(uid)
            .filter(|placed| placed.enrolment == enrolment)
    }
}

impl Placed {
    /// A pod that is not served yet.
    pub fn new(enrolment: u64, info: PodInfo, network: Namespace, shares: Arc<Shares>) -> Self {
        Self {
            enrolment,
            info,
            network,
            shares,
            instances: Vec::new(),
            leaving: Vec::new(),
            starting: false,
            retrying: false,
        }
    }

    /// Whether the agent says nothing new by this.
    pub fn is(&self, info: &PodInfo, network: &Namespace) -> bool {
        self.info == *info && self.network.id() == network.id()
    }

    /// All its instances.
    pub fn everywhere(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().chain(&self.leaving)
    }
}
