//! The top level of a document, read item by item: an item is given away before the next one is read, so that the
//! largest file needs no more memory than its largest resource.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::convert::Conversion;
use super::document::{Invalid, Node};

/// A part of the document that is a part of the mesh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Workloads,
    Services,
    Policies,
}

impl Part {
    const ALL: [Self; 3] = [Self::Workloads, Self::Services, Self::Policies];

    /// The key at which it stands.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Workloads => "workloads",
            Self::Services => "services",
            Self::Policies => "policies",
        }
    }

    fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.key() == key)
    }
}

/// What a dump has beside the mesh, and a file need not have.
const PARTS_OF_DUMPS: &[&str] = &[
    "certificates",
    "config",
    "stagedServices",
    "version",
    "workloadState",
];

/// Reads the top level. A wrong one must not be passed over: a misspelled `policies` would open what it was to close,
/// and a file that is only half written yet would end every connection.
pub(super) struct Parts<'a, 'b>(pub(super) &'a mut Conversion<'b>);

type TopLevel = Result<(), Invalid>;

impl<'de> Visitor<'de> for Parts<'_, '_> {
    type Value = TopLevel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel, A::Error> {
        let (mut mistake, mut is_empty) = (None, true);
        while let Some(key) = map.next_key::<String>()? {
            is_empty = false;
            let read = match Part::of(&key) {
                Some(part) => map.next_value_seed(Items(&mut *self.0, part))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                    known(&key)
                }
            };
            if let Err(invalid) = read {
                mistake.get_or_insert(invalid);
            }
        }
        Ok(match mistake {
            Some(mistake) => Err(mistake),
            None if is_empty => Err(empty()),
            None => Ok(()),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TopLevel, A::Error> {
        let is_empty = list.next_element::<IgnoredAny>()?.is_none();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(if is_empty {
            empty()
        } else {
            unexpected(&Value::Array(Vec::new()))
        }))
    }

    fn visit_unit<E: Error>(self) -> Result<TopLevel, E> {
        Ok(Err(empty()))
    }

    fn visit_none<E: Error>(self) -> Result<TopLevel, E> {
        self.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<TopLevel, E> {
        Ok(Err(unexpected(&value.into())))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<TopLevel, E> {
        Ok(Err(unexpected(&value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<TopLevel, E> {
        Ok(Err(unexpected(&value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<TopLevel, E> {
        Ok(Err(unexpected(&value.into())))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<TopLevel, E> {
        Ok(Err(unexpected(&value.into())))
    }
}

const EXPECTED: &str = "a mapping with the keys workloads, services and policies";

fn empty() -> Invalid {
    Node::ROOT.invalid("it is empty; a mesh without anything is written as \"workloads: []\"")
}

fn unexpected(value: &Value) -> Invalid {
    Node::root(value).expected(EXPECTED)
}

fn known(key: &str) -> TopLevel {
    if PARTS_OF_DUMPS.contains(&key) {
        return Ok(());
    }
    let allowed = Part::ALL.map(Part::key).join(", ");
    Err(Node::ROOT.invalid(format_args!("unknown key {key:?} (allowed: {allowed})")))
}

/// Reads the list of a part; nothing is an empty list.
struct Items<'a, 'b>(&'a mut Conversion<'b>, Part);

impl Items<'_, '_> {
    fn unexpected(&self, value: &Value) -> TopLevel {
        Err(Node::ROOT.part(self.1.key(), value).expected("a list"))
    }
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = TopLevel;

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<TopLevel, D::Error> {
        list.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = TopLevel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TopLevel, A::Error> {
        let Self(conversion, part) = self;
        while let Some(item) = list.next_element()? {
            conversion.take(part, item);
        }
        conversion.end_of(part);
        Ok(Ok(()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.unexpected(&Value::Object(serde_json::Map::new())))
    }

    fn visit_unit<E: Error>(self) -> Result<TopLevel, E> {
        Ok(Ok(()))
    }

    fn visit_none<E: Error>(self) -> Result<TopLevel, E> {
        self.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<TopLevel, E> {
        Ok(self.unexpected(&value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<TopLevel, E> {
        Ok(self.unexpected(&value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<TopLevel, E> {
        Ok(self.unexpected(&value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<TopLevel, E> {
        Ok(self.unexpected(&value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<TopLevel, E> {
        Ok(self.unexpected(&value.into()))
    }
}
