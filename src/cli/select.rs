//! Which objects of a dump somebody wants to see: by name and by namespace. A name or namespace that nothing has is an
//! error that says what there is, and not an empty table, which would say "there is none" to whoever mistyped.

use std::collections::BTreeSet;

use adit_mesh::near::hint;
use serde_json::Value;
use thiserror::Error;

use super::dump::{Dump, Part, text};

/// An object of a dump by the names that it is sorted and found by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Named<'d> {
    /// Its namespace.
    pub namespace: &'d str,
    /// Its name.
    pub name: &'d str,
    /// What tells it from others of the same name.
    pub rest: &'d str,
    /// The object.
    pub object: &'d Value,
}

impl<'d> Named<'d> {
    /// An object with the usual keys, and one that tells it from others.
    pub fn usual(object: &'d Value, rest: &str) -> Self {
        Self {
            namespace: text(object, "namespace"),
            name: text(object, "name"),
            rest: text(object, rest),
            object,
        }
    }

    /// Whether `wanted` is its name, `namespace/name` or `name.namespace`, or its unique name.
    fn is_called(&self, wanted: &str) -> bool {
        let before = wanted.strip_suffix(self.namespace);
        wanted == self.name
            || (wanted == self.rest && !self.rest.is_empty())
            || wanted.split_once('/') == Some((self.namespace, self.name))
            || before.and_then(|before| before.strip_suffix('.')) == Some(self.name)
    }
}

/// What was asked for and is not there.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("no {kind} {wanted:?} in this tunnel's configuration{hint}")]
pub struct Unknown {
    /// What it would be: "workload", "namespace".
    pub kind: &'static str,
    /// What was asked for.
    pub wanted: String,
    /// What may have been meant.
    pub hint: String,
}

impl Unknown {
    /// Nothing of this kind has the name; `known` are the names that there are.
    pub fn new<'a>(kind: &'static str, wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            kind,
            wanted: wanted.to_owned(),
            hint: hint(wanted, known.into_iter().filter(|name| !name.is_empty())),
        }
    }
}

/// The objects with one of these names (all, if none is given) and of this namespace, in the order of namespaces and names.
///
/// # Errors
/// A name that no object has, or a namespace that nothing in the dump is of.
pub fn select<'d>(
    dump: &'d Dump,
    kind: &'static str,
    mut objects: Vec<Named<'d>>,
    names: &[String],
    namespace: Option<&str>,
) -> Result<Vec<Named<'d>>, Unknown> {
    objects.sort_by_key(|one| (one.namespace, one.name, one.rest));
    if let Some(wanted) = namespace {
        let is_it = |one: &Named<'_>| one.namespace == wanted;
        let known = namespaces(dump);
        if !known.contains(wanted) && !objects.iter().any(is_it) {
            return Err(Unknown::new("namespace", wanted, known));
        }
        objects.retain(is_it);
    }
    for wanted in names {
        if !objects.iter().any(|one| one.is_called(wanted)) {
            return Err(Unknown::new(kind, wanted, objects.iter().map(|one| one.name)));
        }
    }
    if !names.is_empty() {
        objects.retain(|one| names.iter().any(|wanted| one.is_called(wanted)));
    }
    Ok(objects)
}

/// The namespaces that anything is of.
fn namespaces(dump: &Dump) -> BTreeSet<&str> {
    let parts = [Part::Workloads, Part::Services, Part::Policies];
    let objects = parts.into_iter().flat_map(|part| dump.part_if_any(part));
    objects.map(|object| text(object, "namespace")).collect()
}
