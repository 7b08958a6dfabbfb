//! What is wrong with a message, and where.

use std::fmt::Display;

/// A value that cannot be, with the path to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Invalid {
    path: String,
    what: String,
}

impl Invalid {
    pub(super) fn new(what: impl Display) -> Self {
        Self {
            path: String::new(),
            what: what.to_string(),
        }
    }

    /// The same, seen from the message that has it in this field.
    pub(super) fn within(self, field: impl Display) -> Self {
        let path = if self.path.is_empty() {
            field.to_string()
        } else {
            format!("{field}.{}", self.path)
        };
        Self { path, ..self }
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        if self.path.is_empty() {
            self.what.clone()
        } else {
            format!("{}: {}", self.path, self.what)
        }
    }
}

/// Says in which field something went wrong.
pub(super) trait In<T> {
    /// See [`Invalid::within`].
    fn within(self, field: &str) -> Result<T, Invalid>;
}

impl<T> In<T> for Result<T, Invalid> {
    fn within(self, field: &str) -> Result<T, Invalid> {
        self.map_err(|error| error.within(field))
    }
}

/// Reads every item of a list, and says which one went wrong.
pub(super) fn each<S, T>(
    field: &str,
    items: &[S],
    mut read: impl FnMut(&S) -> Result<T, Invalid>,
) -> Result<Box<[T]>, Invalid> {
    let read = |(index, item)| read(item).map_err(|error| error.within(format_args!("{field}[{index}]")));
    items.iter().enumerate().map(read).collect()
}
