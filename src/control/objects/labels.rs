//! Labels and what selects by them.

use std::collections::BTreeMap;

use adit_mesh::{Interner, Text};

/// Labels (or annotations) in the order of their names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Labels(Box<[(Text, Text)]>);

impl Labels {
    /// Shares the strings of a map.
    pub fn new<'a>(all: impl IntoIterator<Item = (&'a String, &'a String)>, texts: &mut Interner) -> Self {
        let mut labels: Vec<_> = all
            .into_iter()
            .map(|(name, value)| (texts.intern(name), texts.intern(value)))
            .collect();
        labels.sort();
        Self(labels.into())
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&Text> {
        let found = self.0.binary_search_by(|(own, _)| own.as_str().cmp(name)).ok()?;
        Some(&self.0[found].1)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &(Text, Text)> {
        self.0.iter()
    }
}

/// Labels that must all be there; without any it selects everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Selector(Labels);

impl Selector {
    /// One that wants these.
    pub fn new(labels: &BTreeMap<String, String>, texts: &mut Interner) -> Self {
        Self(Labels::new(labels, texts))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// Whether it selects what has these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(name, value)| labels.get(name) == Some(value))
    }

    /// What it wants.
    pub fn iter(&self) -> impl Iterator<Item = &(Text, Text)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn selects_what_has_all_of_its_labels() {
        let mut texts = Interner::default();
        let labels = Labels::new(&map(&[("app", "a"), ("tier", "x")]), &mut texts);
        for (wanted, selects) in [
            (&[][..], true),
            (&[("app", "a")], true),
            (&[("app", "a"), ("tier", "x")], true),
            (&[("app", "b")], false),
            (&[("app", "a"), ("zone", "z")], false),
        ] {
            let selector = Selector::new(&map(wanted), &mut texts);
            assert_eq!(selector.selects(&labels), selects, "{wanted:?}");
        }
    }
}
