//! A YAML document straight from the parser's events, for the plain documents that generators write: mappings, lists,
//! plain and quoted scalars. It costs half of what the full reader does, which a file of 100,000 workloads shows.
//!
//! It only ever answers what the full reader would: whatever could mean something else to it (anchors, tags, merge keys,
//! scalars that look like numbers and are none, a key that stands twice, an error) is not read here at all, and the
//! full reader decides. So there is one meaning, and one place that reports mistakes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle, StrInput};
use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::document::{DEEPEST, MOST_NODES};

/// Longest text that is read here; nothing in it can then be larger than the full reader allows.
const LONGEST: usize = 1 << 30;
/// Keys of a mapping that are compared one by one; beyond, a set is cheaper.
const FEW: usize = 24;

/// Reads a document as `read` asks for it; `None` if it is for the full reader.
pub(super) fn parse<'de, T>(
    text: &'de str,
    read: impl FnOnce(Reader<'_, 'de>) -> Result<T, NotPlain>,
) -> Option<T> {
    if text.len() > LONGEST {
        return None;
    }
    let mut events = Events {
        parser: Parser::new_from_str(text),
        nodes: 0,
        depth: 0,
    };
    events.expect(|event| matches!(event, Event::StreamStart)).ok()?;
    events
        .expect(|event| matches!(event, Event::DocumentStart(_, None)))
        .ok()?;
    let first = events.next().ok()?;
    let read = read(Reader {
        events: &mut events,
        first,
    });
    let value = read.ok()?;
    events.expect(|event| matches!(event, Event::DocumentEnd)).ok()?;
    events.expect(|event| matches!(event, Event::StreamEnd)).ok()?;
    Some(value)
}

/// The document is none that is read here.
#[derive(Debug)]
pub(super) struct NotPlain;

impl fmt::Display for NotPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a plain document")
    }
}

impl std::error::Error for NotPlain {}

impl de::Error for NotPlain {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Events<'de> {
    parser: Parser<'de, StrInput<'de>>,
    nodes: usize,
    depth: usize,
}

impl<'de> Events<'de> {
    fn next(&mut self) -> Result<Event<'de>, NotPlain> {
        match self.parser.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(_)) | None => Err(NotPlain),
        }
    }

    fn expect(&mut self, is_it: impl FnOnce(&Event<'de>) -> bool) -> Result<(), NotPlain> {
        if is_it(&self.next()?) {
            Ok(())
        } else {
            Err(NotPlain)
        }
    }

    fn enter(&mut self) -> Result<(), NotPlain> {
        self.depth += 1;
        if self.depth < DEEPEST {
            Ok(())
        } else {
            Err(NotPlain)
        }
    }
}

/// One node, of which the first event has been read.
pub(super) struct Reader<'a, 'de> {
    events: &'a mut Events<'de>,
    first: Event<'de>,
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = NotPlain;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        let Self { events, first } = self;
        events.nodes += 1;
        if events.nodes > MOST_NODES {
            return Err(NotPlain);
        }
        match first {
            Event::Scalar(text, ScalarStyle::Plain, 0, None) => match meaning(&text)? {
                Meaning::Nothing => visitor.visit_unit(),
                Meaning::Flag(flag) => visitor.visit_bool(flag),
                Meaning::Number(number) => visitor.visit_u64(number),
                Meaning::Text => visit_text(text, visitor),
            },
            Event::Scalar(text, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted, 0, None) => {
                visit_text(text, visitor)
            }
            Event::SequenceStart(_, 0, None) => {
                events.enter()?;
                let value = visitor.visit_seq(Items(&mut *events))?;
                events.depth -= 1;
                Ok(value)
            }
            Event::MappingStart(_, 0, None) => {
                events.enter()?;
                let value = visitor.visit_map(Entries {
                    events: &mut *events,
                    keys: Keys::default(),
                })?;
                events.depth -= 1;
                Ok(value)
            }
            _ => Err(NotPlain),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn visit_text<'de, V: Visitor<'de>>(text: Cow<'de, str>, visitor: V) -> Result<V::Value, NotPlain> {
    match text {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

/// The items of a list, to its end: whoever stops before does so with an error.
struct Items<'a, 'de>(&'a mut Events<'de>);

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = NotPlain;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, NotPlain> {
        match self.0.next()? {
            Event::SequenceEnd => Ok(None),
            first => seed
                .deserialize(Reader {
                    events: &mut *self.0,
                    first,
                })
                .map(Some),
        }
    }
}

/// The entries of a mapping, to its end: whoever stops before does so with an error.
struct Entries<'a, 'de> {
    events: &'a mut Events<'de>,
    keys: Keys<'de>,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = NotPlain;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, NotPlain> {
        let key = match self.events.next()? {
            Event::MappingEnd => return Ok(None),
            Event::Scalar(key, ScalarStyle::Plain, 0, None) => match meaning(&key)? {
                Meaning::Text | Meaning::Number(_) => key,
                Meaning::Nothing | Meaning::Flag(_) => return Err(NotPlain),
            },
            Event::Scalar(key, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted, 0, None) => key,
            _ => return Err(NotPlain),
        };
        self.keys.insert(key.clone())?;
        match key {
            Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
            Cow::Owned(key) => seed.deserialize(StringDeserializer::new(key)),
        }
        .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, NotPlain> {
        let first = self.events.next()?;
        seed.deserialize(Reader {
            events: &mut *self.events,
            first,
        })
    }
}

/// The keys of a mapping so far.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    fn insert(&mut self, key: Cow<'de, str>) -> Result<(), NotPlain> {
        if self.few.contains(&key) {
            return Err(NotPlain);
        }
        if self.few.len() < FEW {
            self.few.push(key);
            return Ok(());
        }
        if self.many.insert(key) {
            Ok(())
        } else {
            Err(NotPlain)
        }
    }
}

/// What a plain scalar means.
enum Meaning {
    Nothing,
    Flag(bool),
    Number(u64),
    Text,
}

/// Words that mean something to some reader of YAML.
const WORDS: [&str; 11] = [
    "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf",
];

/// The meaning of a plain scalar, where every reader of YAML agrees on it.
fn meaning(text: &str) -> Result<Meaning, NotPlain> {
    let bytes = text.as_bytes();
    match bytes {
        b"" | b"null" | b"~" => return Ok(Meaning::Nothing),
        b"true" => return Ok(Meaning::Flag(true)),
        b"false" => return Ok(Meaning::Flag(false)),
        _ => {}
    }
    match bytes[0] {
        b'a'..=b'z' | b'A'..=b'Z' => {
            let ambiguous = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
                || text.eq_ignore_ascii_case("infinity");
            if ambiguous {
                Err(NotPlain)
            } else {
                Ok(Meaning::Text)
            }
        }
        // An address without a network.
        b'/' => Ok(Meaning::Text),
        b'0'..=b'9' => beginning_with_a_digit(bytes).ok_or(NotPlain),
        _ => Err(NotPlain),
    }
}

/// A number without leading zeros, or an address or range.
fn beginning_with_a_digit(bytes: &[u8]) -> Option<Meaning> {
    let digits = bytes.iter().all(u8::is_ascii_digit);
    if digits {
        // Eighteen digits fit.
        let decimal = bytes.len() == 1 || bytes[0] != b'0' && bytes.len() <= 18;
        let value = |number: u64, digit: &u8| number * 10 + u64::from(digit - b'0');
        return decimal.then(|| Meaning::Number(bytes.iter().fold(0, value)));
    }
    let dots = bytes.iter().filter(|byte| **byte == b'.').count();
    let address = bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'/'));
    let of_ipv6 = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'/');
    let ipv6 = bytes.windows(2).any(|pair| pair == b"::") && bytes.iter().all(of_ipv6);
    (address && dots == 3 || ipv6).then_some(Meaning::Text)
}
