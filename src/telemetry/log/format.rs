//! The two shapes of a line: Istio's, with tabs between time, level, scope and message and `key=value` after them,
//! and JSON. Everything is appended to a buffer; nothing is allocated for a line.
//!
//! Text that came from outside is quoted and escaped in both, so that nobody can forge a line.

use std::fmt::{self, Display, Write};
use std::str::FromStr;
use std::time::SystemTime;

use time::OffsetDateTime;

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Format {
    /// Istio's: tabs, then `key=value`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `LOG_FORMAT` is neither `plain` nor `json`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("LOG_FORMAT={value:?}: give plain or json")]
pub struct InvalidFormat {
    /// The value.
    pub value: String,
}

impl FromStr for Format {
    type Err = InvalidFormat;

    /// Reads the value of `LOG_FORMAT`; empty is the default.
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value {
            "" | "plain" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(InvalidFormat {
                value: value.to_owned(),
            }),
        }
    }
}

/// A line that is being written: begin, fields, end.
#[derive(Debug)]
pub struct Line<'a> {
    buffer: &'a mut String,
    format: Format,
    first_field: bool,
}

impl<'a> Line<'a> {
    /// Begins a line in an empty buffer. `level` is in lower case.
    pub fn begin(buffer: &'a mut String, format: Format, now: SystemTime, level: &str, scope: &str) -> Self {
        buffer.clear();
        match format {
            Format::Text => {
                timestamp(buffer, now);
                append(buffer, format_args!("\t{level}\t{scope}\t"));
            }
            Format::Json => {
                append(buffer, format_args!("{{\"level\":\"{level}\",\"time\":\""));
                timestamp(buffer, now);
                buffer.push_str("\",\"scope\":");
                json_string(buffer, scope);
            }
        }
        Self {
            buffer,
            format,
            first_field: true,
        }
    }

    /// The message; in JSON a field like others, in text what follows the scope, so it comes first.
    pub fn message(&mut self, message: impl Display) {
        match self.format {
            Format::Text => append(&mut Escaped::line(self.buffer), format_args!("{message}")),
            Format::Json => self.quoted("message", message),
        }
    }

    /// A field whose value needs no quotes in text: an address, an amount of time.
    pub fn plain(&mut self, name: &str, value: impl Display) {
        match self.format {
            Format::Text => {
                self.name(name);
                append(&mut Escaped::line(self.buffer), format_args!("{value}"));
            }
            Format::Json => self.quoted(name, value),
        }
    }

    /// A field with a value in quotes.
    pub fn quoted(&mut self, name: &str, value: impl Display) {
        self.name(name);
        self.buffer.push('"');
        append(&mut Escaped::string(self.buffer), format_args!("{value}"));
        self.buffer.push('"');
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: impl Display) {
        self.name(name);
        append(self.buffer, format_args!("{value}"));
    }

    /// Ends the line and gives its bytes.
    pub fn end(self) -> &'a [u8] {
        self.buffer.push_str(match self.format {
            Format::Text => "\n",
            Format::Json => "}\n",
        });
        self.buffer.as_bytes()
    }

    fn name(&mut self, name: &str) {
        match self.format {
            Format::Text => {
                self.buffer.push(if self.first_field { '\t' } else { ' ' });
                self.buffer.push_str(name);
                self.buffer.push('=');
            }
            Format::Json => {
                self.buffer.push(',');
                json_string(self.buffer, name);
                self.buffer.push(':');
            }
        }
        self.first_field = false;
    }
}

/// Appends text with what could end a line or a string escaped, in the way of JSON.
struct Escaped<'a> {
    buffer: &'a mut String,
    quotes: bool,
}

impl<'a> Escaped<'a> {
    fn line(buffer: &'a mut String) -> Self {
        Self {
            buffer,
            quotes: false,
        }
    }

    fn string(buffer: &'a mut String) -> Self {
        Self { buffer, quotes: true }
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        let special = |c: char| c.is_control() || (self.quotes && (c == '"' || c == '\\'));
        while let Some(at) = rest.find(special) {
            let (before, from) = rest.split_at(at);
            self.buffer.push_str(before);
            let mut chars = from.chars();
            match chars.next() {
                Some('\n') => self.buffer.push_str("\\n"),
                Some('\t') => self.buffer.push_str("\\t"),
                Some('\r') => self.buffer.push_str("\\r"),
                Some(c @ ('"' | '\\')) => self.buffer.extend(['\\', c]),
                Some(c) => append(self.buffer, format_args!("\\u{:04x}", u32::from(c))),
                None => {}
            }
            rest = chars.as_str();
        }
        self.buffer.push_str(rest);
        Ok(())
    }
}

fn json_string(buffer: &mut String, text: &str) {
    buffer.push('"');
    append(&mut Escaped::string(buffer), format_args!("{text}"));
    buffer.push('"');
}

/// A `Display` that fails leaves its field short; the line goes on.
fn append(buffer: &mut impl Write, text: fmt::Arguments<'_>) {
    let _ = buffer.write_fmt(text);
}

/// RFC 3339 in UTC with microseconds, such as `2026-01-31T09:05:28.028709Z`.
fn timestamp(buffer: &mut String, now: SystemTime) {
    let now = OffsetDateTime::from(now);
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, micro) = now.to_hms_micro();
    let month = u8::from(month);
    append(
        buffer,
        format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"),
    );
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn line(format: Format, message: &str) -> String {
        let mut buffer = "left over".to_owned();
        let now = UNIX_EPOCH + Duration::from_micros(1_714_813_145_028_709);
        let mut line = Line::begin(&mut buffer, format, now, "info", "app");
        line.message(message);
        line.plain("address", "[::1]:80");
        line.quoted("name", "a \"b\"\n");
        line.number("count", 7);
        line.end();
        buffer
    }

    #[test]
    fn text_has_tabs_and_then_fields() {
        assert_eq!(
            line(Format::Text, "it is up"),
            "2024-05-04T08:59:05.028709Z\tinfo\tapp\tit is up\taddress=[::1]:80 name=\"a \\\"b\\\"\\n\" count=7\n"
        );
    }

    #[test]
    fn json_is_json() {
        let line = line(Format::Json, "it \"is\" up\u{1}");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let expected = serde_json::json!({
            "level": "info", "time": "2024-05-04T08:59:05.028709Z", "scope": "app",
            "message": "it \"is\" up\u{1}", "address": "[::1]:80", "name": "a \"b\"\n", "count": 7,
        });
        assert_eq!(value, expected);
        assert!(line.starts_with("{\"level\":\"info\",\"time\":"), "{line}");
    }

    #[test]
    fn nobody_can_forge_a_line() {
        for format in [Format::Text, Format::Json] {
            let line = line(format, "x\n2024-01-01T00:00:00Z\tinfo\taccess\tforged\r\u{85}");
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(!line.contains(['\r', '\u{85}']), "{line}");
        }
    }

    #[test]
    fn formats_have_istios_names() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("plain".parse(), Ok(Format::Text));
        assert_eq!(
            "yaml".parse::<Format>(),
            Err(InvalidFormat { value: "yaml".into() })
        );
    }
}
