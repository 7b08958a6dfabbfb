//! The workloads of this node, with what their connections need made ready. They are few (a node has at most some
//! 250 pods), so a change of policy may look at each of them; what came out the same keeps its allocation, so that
//! a pointer comparison tells a live connection whether anything changed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::known::Known;
use super::{LocalNode, Registry};
use crate::authorize::{Applied, PolicySet};
use crate::baggage;
use crate::policy::{Policy, PolicyKey, PolicyScope};
use crate::text::Text;
use crate::workload::{Locality, Workload};

/// A workload of this node.
#[derive(Clone, PartialEq, Debug)]
pub struct Local {
    /// The workload.
    pub workload: Arc<Workload>,
    /// The policies that hold for it. The same allocation as before unless they changed.
    pub policies: Arc<PolicySet>,
    /// Its `baggage` header.
    pub baggage: Bytes,
}

/// Whom a policy holds for without being named.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reach {
    /// Everybody.
    Global,
    /// The workloads of a namespace.
    Namespace(Text),
}

impl Reach {
    /// The reach of a policy; `None` if it only holds for workloads that name it.
    pub(super) fn of(policy: &Known<Policy>) -> Option<Self> {
        let scope = match policy {
            Known::Good(policy) => policy.scope,
            Known::Rejected(stone) => stone.scope.unwrap_or(PolicyScope::Namespace),
        };
        match scope {
            PolicyScope::Global => Some(Self::Global),
            PolicyScope::Namespace => Some(Self::Namespace(policy.name().namespace.clone())),
            PolicyScope::WorkloadSelector => None,
        }
    }

    fn holds_for(&self, workload: &Workload) -> bool {
        match self {
            Self::Global => true,
            Self::Namespace(namespace) => namespace == workload.namespace(),
        }
    }
}

/// What a batch has touched, of which the consequences are drawn at its end.
#[derive(Default)]
pub(super) struct Touched {
    /// Workloads of this node that came, changed or went: pod name and uid.
    pub(super) locals: BTreeSet<(Text, Text)>,
    /// Policies that came, changed or went.
    pub(super) policies: BTreeSet<PolicyKey>,
    /// What those policies reached, before or after.
    pub(super) reaches: BTreeSet<Reach>,
}

impl Touched {
    fn concerns(&self, workload: &Workload) -> bool {
        let named = || {
            workload
                .authorization_policies
                .iter()
                .any(|key| self.policies.contains(key))
        };
        self.reaches.iter().any(|reach| reach.holds_for(workload)) || named()
    }
}

/// Whether a workload runs on this node.
pub(super) fn is_local(node: &LocalNode, workload: &Workload) -> bool {
    node.name.is_empty() || node.name == workload.node
}

impl Registry {
    /// Brings [`Registry::locals`] up to date with what a batch has touched.
    pub(super) fn settle_locals(&mut self, mut touched: Touched) {
        if !touched.policies.is_empty() {
            let concerned = self.locals().filter(|local| touched.concerns(&local.workload));
            let names = concerned.map(|local| (local.workload.name.clone(), local.workload.uid.clone()));
            let names: Vec<_> = names.collect();
            touched.locals.extend(names);
        }
        for (name, uid) in touched.locals {
            let before = self
                .locals
                .get(&name)
                .and_then(|all| all.iter().find(|l| l.workload.uid == uid));
            let wanted = self.workloads.get(&uid).and_then(Known::good);
            let wanted = wanted.filter(|w| w.name == name && is_local(self.node(), w));
            let after = wanted.map(|workload| self.prepare(workload, before));
            self.replace_local(name, &uid, after);
        }
    }

    fn prepare(&self, workload: &Arc<Workload>, before: Option<&Arc<Local>>) -> Arc<Local> {
        let policies = PolicySet::new(self.applied(workload));
        let Some(before) = before else {
            return Arc::new(Local {
                workload: Arc::clone(workload),
                policies: Arc::new(policies),
                baggage: Bytes::from(baggage::format(workload)),
            });
        };
        let same = *before.policies == policies;
        if same && Arc::ptr_eq(&before.workload, workload) {
            return Arc::clone(before);
        }
        Arc::new(Local {
            workload: Arc::clone(workload),
            policies: if same {
                Arc::clone(&before.policies)
            } else {
                Arc::new(policies)
            },
            baggage: Bytes::from(baggage::format(workload)),
        })
    }

    /// The policies that hold for any workload, of this node or not. For people who ask; connections use
    /// [`Local::policies`], which are ready.
    pub fn policies_of(&self, workload: &Workload) -> PolicySet {
        PolicySet::new(self.applied(workload))
    }

    /// The policies of a workload: of the whole mesh, of its namespace, and those that it names.
    pub(super) fn applied(&self, workload: &Workload) -> impl Iterator<Item = Applied> {
        let reaches = [Reach::Global, Reach::Namespace(workload.namespace().clone())];
        let in_scope = reaches
            .iter()
            .filter_map(|reach| self.scopes.get(reach))
            .flatten();
        // Keyed by name: a policy that is named and in scope applies once.
        let mut applied = BTreeMap::new();
        for key in in_scope.chain(&workload.authorization_policies) {
            applied
                .entry(key.clone())
                .or_insert_with(|| match self.policies.get(key) {
                    Some(Known::Good(policy)) => Applied::Policy(Arc::clone(policy)),
                    Some(Known::Rejected(stone)) => Applied::Rejected {
                        key: key.clone(),
                        reason: stone.reason.clone(),
                    },
                    None => Applied::Missing(key.clone()),
                });
        }
        applied.into_values()
    }

    fn replace_local(&mut self, name: Text, uid: &str, after: Option<Arc<Local>>) {
        let cluster = self.place.node.cluster.clone();
        // A pod of this cluster before one of the same name that another cluster calls its own, then a pod before
        // anything else, then by uid.
        let order = |local: &Arc<Local>| {
            let workload = &local.workload;
            (
                workload.cluster != cluster,
                !workload.is_pod(),
                workload.uid.clone(),
            )
        };
        let mut all: SmallVec<[Arc<Local>; 1]> = self.locals.get(&name).cloned().unwrap_or_default();
        all.retain(|local| local.workload.uid != uid);
        all.extend(after);
        all.sort_by_key(order);
        if all.is_empty() {
            self.locals.remove(&name);
        } else {
            self.locals.insert(name, all);
        }
    }

    /// The locality of this node: that of its first workload which tells one.
    pub(super) fn learned_locality(&self) -> Locality {
        let node = self.node();
        if node.name.is_empty() {
            return Locality::default();
        }
        let tells = |local: &&Arc<Local>| local.workload.locality != Locality::default();
        let here = |local: &&Arc<Local>| local.workload.cluster == node.cluster;
        let first = self.locals().filter(tells).find(here);
        let first = first.or_else(|| self.locals().find(tells));
        first
            .map(|local| local.workload.locality.clone())
            .unwrap_or_default()
    }
}
