//! Which pods run where, for whoever decides about certificates: a node's tunnel gets them for the identities of the pods
//! on its node, and for no other.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use adit_mesh::{Identity, Text};

use crate::graph::Event;
use crate::objects::{Kind, Name, Object, Pod};

/// Where pods run. Clones share it.
#[derive(Clone, Default, Debug)]
pub struct Placement(Arc<RwLock<Places>>);

#[derive(Default, Debug)]
struct Places {
    pods: HashMap<Name, Place>,
    /// How many pods of a service account (by namespace and name) are on a node.
    on_node: HashMap<(Text, Name), usize>,
}

/// Where a pod runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Tells it from others that had its name.
    pub uid: Text,
    /// Its node.
    pub node: Text,
    /// Its service account.
    pub service_account: Text,
}

impl Placement {
    /// Takes an event in, as far as it concerns pods.
    pub fn apply(&self, event: &Event) {
        match event {
            Event::Put(Object::Pod(pod)) => self.write().put(pod),
            Event::Gone(key) if key.kind == Kind::Pod => self.write().remove(&key.name),
            _ => {}
        }
    }

    /// Where a pod runs; none for one that has ended or has no node yet.
    pub fn of(&self, pod: &Name) -> Option<Place> {
        self.read().pods.get(pod).cloned()
    }

    /// Whether a pod of this identity runs on a node. The trust domain is not looked at: all pods are of one.
    pub fn runs(&self, node: &Text, identity: &Identity) -> bool {
        let account = Name::new(identity.namespace().clone(), identity.service_account().clone());
        self.read().on_node.contains_key(&(node.clone(), account))
    }

    fn read(&self) -> RwLockReadGuard<'_, Places> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Places> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn put(&mut self, pod: &Pod) {
        let name = &pod.meta.name;
        self.remove(name);
        if pod.ended || pod.node.is_empty() {
            return;
        }
        let place = Place {
            uid: pod.uid.clone(),
            node: pod.node.clone(),
            service_account: pod.service_account.clone(),
        };
        *self.on_node.entry(account(name, &place)).or_default() += 1;
        self.pods.insert(name.clone(), place);
    }

    fn remove(&mut self, name: &Name) {
        let Some(place) = self.pods.remove(name) else {
            return;
        };
        let key = account(name, &place);
        if let Some(count) = self.on_node.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.on_node.remove(&key);
            }
        }
    }
}

fn account(pod: &Name, place: &Place) -> (Text, Name) {
    let account = Name::new(pod.namespace.clone(), place.service_account.clone());
    (place.node.clone(), account)
}

#[cfg(test)]
mod tests {
    use adit_mesh::Interner;

    use super::*;
    use crate::source::manifest::{self, Document};

    fn pod(name: &str, account: &str, node: &str, phase: &str) -> Event {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: bank, uid: u-{name}}}, spec: \
             {{serviceAccountName: {account}, nodeName: {node}}}, status: {{phase: {phase}}}}}"
        );
        match manifest::read(&text, &mut Interner::default()).remove(0) {
            Document::Object(read) => Event::Put(read.object),
            other => panic!("{other:?}"),
        }
    }

    fn identity(account: &str) -> Identity {
        format!("spiffe://cluster.local/ns/bank/sa/{account}")
            .parse()
            .expect("valid")
    }

    #[test]
    fn an_identity_runs_where_a_pod_of_it_runs() {
        let placement = Placement::default();
        let runs = |node: &str, account: &str| placement.runs(&node.into(), &identity(account));
        placement.apply(&pod("a", "payments", "n1", "Running"));
        placement.apply(&pod("b", "payments", "n1", "Pending"));
        placement.apply(&pod("c", "ledger", "n2", "Running"));
        assert!(runs("n1", "payments") && runs("n2", "ledger"));
        assert!(!runs("n2", "payments") && !runs("n1", "ledger"));
        let place = placement.of(&Name::new("bank", "a")).expect("a place");
        assert_eq!((&*place.uid, &*place.node), ("u-a", "n1"));
        placement.apply(&pod("a", "payments", "n1", "Succeeded"));
        assert!(runs("n1", "payments"), "the other one is there");
        let key = crate::objects::Key {
            kind: Kind::Pod,
            name: Name::new("bank", "b"),
        };
        placement.apply(&Event::Gone(key));
        assert!(!runs("n1", "payments"));
        assert_eq!(placement.of(&Name::new("bank", "a")), None);
    }
}
