//! Shared strings. A mesh of 100,000 workloads repeats a few hundred names (namespaces, nodes, networks,
//! localities, service accounts) over and over; [`Interner`] makes each of them exist once.
//!
//! A [`Text`] is one pointer, its length stands with its bytes: a workload has some fifteen of them, of which most are
//! shared, so that the pointers are most of what it costs.
//!
//! The interner is a value that belongs to whoever translates configuration, not a global: dropping a
//! registry frees its strings.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;

use arcstr::ArcStr;

/// An immutable string that is cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(ArcStr);

impl Text {
    /// The empty string, which needs no allocation.
    pub const fn empty() -> Self {
        Self(ArcStr::new())
    }

    /// The string itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are the same allocation; equal strings of one interner are.
    pub fn same(&self, other: &Self) -> bool {
        ArcStr::ptr_eq(&self.0, &other.0)
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<&str> for Text {
    fn from(value: &str) -> Self {
        Self(ArcStr::from(value))
    }
}

impl From<String> for Text {
    fn from(value: String) -> Self {
        Self::from(value.as_str())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Hands out one [`Text`] per distinct string.
#[derive(Debug, Default)]
pub struct Interner {
    known: HashSet<Text>,
    sweep_at: usize,
}

impl Interner {
    /// Below this many strings a sweep frees less than it costs.
    const SMALLEST_SWEEP: usize = 1024;

    /// The shared copy of `value`.
    pub fn intern(&mut self, value: &str) -> Text {
        if let Some(known) = self.known.get(value) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at.max(Self::SMALLEST_SWEEP) {
            self.sweep();
        }
        let text = Text::from(value);
        self.known.insert(text.clone());
        text
    }

    /// How many distinct strings are held.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing was interned yet.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Forgets strings that nobody else holds. Runs by itself each time the set has doubled, so that its
    /// cost per interned string is constant and names of objects that are gone do not pile up.
    pub fn sweep(&mut self) {
        // The empty string has no count, and costs nothing.
        self.known.retain(|text| ArcStr::strong_count(&text.0) != Some(1));
        self.sweep_at = self.known.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_one_allocation() {
        let mut interner = Interner::default();
        assert!(interner.intern("payments").same(&interner.intern("payments")));
        assert_eq!(interner.len(), 1);
    }

    #[test]
    fn forgets_strings_that_nobody_holds() {
        let mut interner = Interner::default();
        let kept = interner.intern("kept");
        for n in 0..10_000 {
            interner.intern(&format!("gone-{n}"));
        }
        assert!(
            interner.len() <= 2 * Interner::SMALLEST_SWEEP,
            "{}",
            interner.len()
        );
        assert!(interner.intern("kept").same(&kept));
    }
}
