//! What was made, so that what is made again can be compared with it.

use std::collections::BTreeMap;

use adit_discovery::xds::catalog::Table;
use adit_discovery::xds::{Change, Resource};
use adit_mesh::Text;

use super::{Output, Settled};
use crate::objects::Key;
use crate::translate::Condition;

/// What one computation gives.
#[derive(Default, Debug)]
pub(super) struct Made {
    pub resources: Vec<Resource>,
    /// What is said about the object that it was made of.
    pub conditions: Option<(Key, Vec<Condition>)>,
}

/// What is kept of a resource: table, name and version are enough to compare.
type Kept = (Table, Text, u64);

#[derive(Default, Debug)]
pub(super) struct Outputs {
    /// The resources of each output.
    made: BTreeMap<Output, Box<[Kept]>>,
    conditions: BTreeMap<Key, Vec<Condition>>,
    /// The object that an output's conditions are about.
    about: BTreeMap<Output, Key>,
}

impl Outputs {
    pub(super) fn conditions(&self) -> &BTreeMap<Key, Vec<Condition>> {
        &self.conditions
    }

    /// Whether an output has a resource.
    pub(super) fn has(&self, output: &Output) -> bool {
        self.made.contains_key(output)
    }

    /// Replaces what an output was, and notes what is different.
    pub(super) fn replace(&mut self, output: Output, made: Made, settled: &mut Settled) {
        settled.conditions_changed |= self.replace_conditions(&output, made.conditions);
        let now: Box<[_]> = made
            .resources
            .iter()
            .map(|one| (one.table(), one.name().clone(), one.version()))
            .collect();
        let before = self.made.get(&output).map(|before| &**before).unwrap_or_default();
        if *before == *now {
            return;
        }
        for (table, name, _) in before {
            if !now.iter().any(|one| one.0 == *table && one.1 == *name) {
                settled.changes.push(Change::Remove(*table, name.clone()));
            }
        }
        for resource in made.resources {
            let same = |one: &Kept| one.1 == *resource.name() && one.2 == resource.version();
            if !before.iter().any(same) {
                settled.changes.push(Change::Put(resource));
            }
        }
        if now.is_empty() {
            self.made.remove(&output);
        } else {
            self.made.insert(output, now);
        }
    }

    /// Whether anything is different.
    fn replace_conditions(&mut self, output: &Output, conditions: Option<(Key, Vec<Condition>)>) -> bool {
        match conditions.filter(|(_, conditions)| !conditions.is_empty()) {
            Some((key, conditions)) => {
                self.about.insert(output.clone(), key.clone());
                let before = self.conditions.insert(key.clone(), conditions);
                before.as_ref() != self.conditions.get(&key)
            }
            None => match self.about.remove(output) {
                Some(key) => self.conditions.remove(&key).is_some(),
                None => false,
            },
        }
    }
}
