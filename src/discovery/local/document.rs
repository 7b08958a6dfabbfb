//! A YAML document that is read place by place, so that a mistake can be reported with the place where it is.
//!
//! The document becomes a tree first and values second: deriving the whole file at once would make one wrong value
//! reject every resource of the mesh, where it must reject its own only.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde_json::Value;

use crate::spelling::Spelled;

/// Deeper than any document of this format; a parser without a limit can be made to overflow its stack.
const DEEPEST: usize = 64;
/// Nodes of a document: some 100,000 workloads and their services.
const MOST_NODES: usize = 20_000_000;
/// Bytes of text in a document.
const MOST_BYTES: usize = 1 << 30;
/// Nodes that stand in a document because an alias repeats them. A few lines of aliases of aliases can say more than a
/// whole mesh.
const MOST_REPEATED: usize = 100_000;

/// What is wrong at a place of a document.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub(super) struct Invalid {
    /// The place, such as `workloads[3].workloadIps[0]`.
    pub(super) path: String,
    /// What is wrong there, and what is allowed.
    pub(super) reason: String,
}

impl Invalid {
    /// The same, with the file in which the place is.
    pub(super) fn of(self, file: &str) -> Self {
        Self {
            path: format!("{file}: {}", self.path),
            ..self
        }
    }
}

/// Why a text is not a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NotYaml {
    /// From 1; 0 where it is not known.
    pub(super) line: u64,
    /// From 1; 0 where it is not known.
    pub(super) column: u64,
    /// What the parser said.
    pub(super) reason: String,
}

/// Parses YAML, and with it JSON. A key that stands twice in a mapping is an error.
pub(super) fn parse(text: &str) -> Result<Value, NotYaml> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            max_events: MOST_NODES,
            max_nodes: MOST_NODES,
            max_total_scalar_bytes: MOST_BYTES,
            max_reader_input_bytes: None,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MOST_REPEATED,
        },
        // YAML 1.2, as stock ztunnel reads it: a namespace may be called "no" and a service account "y".
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        NotYaml {
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
            reason: error.without_snippet().to_string(),
        }
    })
}

/// A place in a document and what stands there.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    value: &'a Value,
    parent: Option<&'a Node<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Node<'a> {
    /// The whole document.
    pub(super) fn root(value: &'a Value) -> Self {
        Self {
            value,
            parent: None,
            step: Step::Index(0),
        }
    }

    /// What is wrong here.
    pub(super) fn invalid(&self, reason: impl fmt::Display) -> Invalid {
        Invalid {
            path: self.to_string(),
            reason: reason.to_string(),
        }
    }

    /// The value of a key, where there is one that is not null.
    pub(super) fn field(&'a self, key: &'a str) -> Option<Node<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(self.child(Step::Key(key), value))
    }

    /// The value of a key that must be there.
    pub(super) fn required(&'a self, key: &'a str) -> Result<Node<'a>, Invalid> {
        self.field(key).ok_or_else(|| match self.value {
            Value::Object(_) => self.invalid(format_args!("{key:?} is missing")),
            _ => self.expected("a mapping"),
        })
    }

    /// The value of a key that may be absent, read by `read`.
    pub(super) fn optional<T>(
        &'a self,
        key: &'a str,
        read: impl FnOnce(&Node<'_>) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        self.field(key).map(|node| read(&node)).transpose()
    }

    /// The keys and values of a mapping.
    pub(super) fn entries(&'a self) -> Result<impl Iterator<Item = (&'a str, Node<'a>)>, Invalid> {
        let entries = self.value.as_object().ok_or_else(|| self.expected("a mapping"))?;
        Ok(entries
            .iter()
            .map(|(key, value)| (key.as_str(), self.child(Step::Key(key), value))))
    }

    /// The values of a list.
    pub(super) fn items(&'a self) -> Result<impl Iterator<Item = Node<'a>>, Invalid> {
        let items = self.value.as_array().ok_or_else(|| self.expected("a list"))?;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, value)| self.child(Step::Index(index), value)))
    }

    /// The values of a list that may be absent, each read by `read`.
    pub(super) fn list<T>(
        &'a self,
        key: &'a str,
        read: impl Fn(&Node<'_>) -> Result<T, Invalid>,
    ) -> Result<Box<[T]>, Invalid> {
        match self.field(key) {
            Some(list) => list.items()?.map(|item| read(&item)).collect(),
            None => Ok(Box::default()),
        }
    }

    /// The keys of a mapping that are not among `known`.
    pub(super) fn unknown_keys(&self, known: &[&str]) -> Vec<&'a str> {
        let keys = self
            .value
            .as_object()
            .into_iter()
            .flat_map(|entries| entries.keys());
        keys.map(String::as_str)
            .filter(|key| !known.contains(key))
            .collect()
    }

    /// Whether this is a mapping.
    pub(super) fn is_mapping(&self) -> bool {
        self.value.is_object()
    }

    /// Whether this is a list.
    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// Whether there is nothing in it: null, or an empty list or mapping.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// A string.
    pub(super) fn text(&self) -> Result<&'a str, Invalid> {
        match self.value {
            Value::String(text) => Ok(text),
            Value::Bool(_) | Value::Number(_) => Err(self.expected("a string; put it in quotes")),
            _ => Err(self.expected("a string")),
        }
    }

    /// The string of a key, "" where it is absent.
    pub(super) fn text_of(&'a self, key: &'a str) -> Result<&'a str, Invalid> {
        self.field(key).map_or(Ok(""), |node| node.text())
    }

    /// A number that is not negative.
    pub(super) fn number(&self) -> Result<u64, Invalid> {
        self.value.as_u64().ok_or_else(|| self.expected("a whole number"))
    }

    /// Yes or no; no where the key is absent.
    pub(super) fn flag(&'a self, key: &'a str) -> Result<bool, Invalid> {
        match self.field(key) {
            None => Ok(false),
            Some(node) => node.value.as_bool().ok_or_else(|| node.expected("true or false")),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Spelled>(&self) -> Result<T, Invalid> {
        self.value.as_str().and_then(T::of).ok_or_else(|| {
            let words: Vec<_> = T::ALL.iter().map(|value| value.spelling()).collect();
            self.expected(&format!("one of {}", words.join(", ")))
        })
    }

    /// One of a few words, or `absent` where there is none.
    pub(super) fn word_of<T: Spelled>(&'a self, key: &'a str, absent: T) -> Result<T, Invalid> {
        self.field(key).map_or(Ok(absent), |node| node.word())
    }

    /// A port.
    pub(super) fn port(&self) -> Result<NonZeroU16, Invalid> {
        self.port_or_none()?
            .ok_or_else(|| self.expected("a port, 1 to 65535"))
    }

    /// A port, or nothing for 0.
    pub(super) fn port_or_none(&self) -> Result<Option<NonZeroU16>, Invalid> {
        let port = self.value.as_u64().and_then(|number| u16::try_from(number).ok());
        port.map(NonZeroU16::new)
            .ok_or_else(|| self.expected("a port, 1 to 65535"))
    }

    /// An address, never an IPv4-mapped IPv6 one.
    pub(super) fn address(&self) -> Result<IpAddr, Invalid> {
        let address = self.value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
        address
            .map(|address| address.to_canonical())
            .ok_or_else(|| self.expected("an IPv4 or IPv6 address"))
    }

    /// What is wrong where something else was expected.
    pub(super) fn expected(&self, what: &str) -> Invalid {
        self.invalid(format_args!("{} is not {what}", Shown(self.value)))
    }

    fn child(&'a self, step: Step<'a>, value: &'a Value) -> Node<'a> {
        Node {
            value,
            parent: Some(self),
            step,
        }
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return f.write_str("the document");
        };
        if parent.parent.is_some() {
            write!(f, "{parent}")?;
        }
        match (self.step, parent.parent) {
            (Step::Index(index), _) => write!(f, "[{index}]"),
            (Step::Key(key), Some(_)) if is_plain(key) => write!(f, ".{key}"),
            (Step::Key(key), Some(_)) => write!(f, "[{key:?}]"),
            (Step::Key(key), None) => f.write_str(key),
        }
    }
}

fn is_plain(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric())
}

/// A value, shortened, as an error message shows it.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        match self.0 {
            Value::Array(_) => f.write_str("a list"),
            Value::Object(_) => f.write_str("a mapping"),
            Value::String(text) if text.chars().count() > LONGEST => {
                let start: String = text.chars().take(LONGEST).collect();
                write!(f, "{start:?}...")
            }
            value => write!(f, "{value}"),
        }
    }
}
