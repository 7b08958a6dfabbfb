//! Looking at what happened: metrics, logs, and things that take a moment to come about.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::world::PATIENCE;

/// How often something is looked at that is expected to change.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// Looks until there is something to see.
///
/// # Errors
/// There is nothing in time: the error says that `what` did not happen. Or looking failed.
pub fn eventually<T>(
    what: impl std::fmt::Display,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!("not seen within {PATIENCE:?}: {what}");
        }
        std::thread::sleep(INTERVAL);
    }
}

/// A place in a log file, to look only at what was written after it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Mark(usize);

/// Where a log file ends now.
///
/// # Errors
/// It cannot be read.
pub fn mark(log: &Path) -> anyhow::Result<Mark> {
    Ok(Mark(read(log)?.len()))
}

/// The first line after the mark that holds all of the words.
///
/// # Errors
/// No such line comes in time.
pub fn line(log: &Path, after: Mark, words: &[&str]) -> anyhow::Result<String> {
    eventually(format_args!("a line with {words:?} in {}", log.display()), || {
        let text = read(log)?;
        let new = complete(text.get(after.0..).unwrap_or_default());
        let found = new
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        Ok(found.map(str::to_owned))
    })
}

/// The complete lines after the mark, as they are now, that hold all of the words.
///
/// # Errors
/// The file cannot be read.
pub fn lines(log: &Path, after: Mark, words: &[&str]) -> anyhow::Result<Vec<String>> {
    let text = read(log)?;
    let new = complete(text.get(after.0..).unwrap_or_default());
    let found = new
        .lines()
        .filter(|line| words.iter().all(|word| line.contains(word)));
    Ok(found.map(str::to_owned).collect())
}

/// The text without its last line, if that is still being written.
fn complete(text: &str) -> &str {
    text.rfind('\n').map_or("", |end| &text[..end])
}

/// The value of a `name=value` or `name="value"` field of a log line, as it was before it was quoted.
pub fn field(line: &str, name: &str) -> Option<String> {
    let mut rest = line;
    loop {
        let at = rest.find(name)?;
        let before = rest[..at].chars().next_back();
        let after = &rest[at + name.len()..];
        if before.is_none_or(char::is_whitespace)
            && let Some(value) = after.strip_prefix('=')
        {
            return match value.strip_prefix('"') {
                Some(quoted) => Some(unquote(quoted).0),
                None => value.split_whitespace().next().map(str::to_owned),
            };
        }
        rest = after;
    }
}

fn read(log: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    // Half a character at the end is in the making.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What Prometheus would store of a scrape.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Metrics {
    /// Reads the text format. Lines that it does not define are left out.
    pub fn parse(text: &str) -> Self {
        Self {
            samples: text.lines().filter_map(sample).collect(),
        }
    }

    /// All samples.
    pub fn all(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    /// The samples with this name and all of these labels.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
        })
    }

    /// The sum of the values of [`Self::select`].
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // Not `sum`, which makes -0 of nothing.
        self.select(name, labels)
            .fold(0.0, |sum, sample| sum + sample.value)
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = match line.find('}') {
        // A value of a label may hold a brace; the last one ends the labels.
        Some(_) => {
            let end = line.rfind('}')? + 1;
            (&line[..end], &line[end..])
        }
        None => line.split_once(' ')?,
    };
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    Some(Sample {
        name: name.to_owned(),
        labels: pairs(labels.strip_suffix('}')?),
        value: value.split_whitespace().next()?.parse().ok()?,
    })
}

/// `a="b",c="d"`, where values may hold escaped quotes.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, length) = unquote(after);
        pairs.insert(name.trim_start_matches(',').to_owned(), value);
        rest = &after[length..];
    }
    pairs
}

/// Reads up to the closing quote, which is not escaped: the text, and how many bytes it took with the quote.
fn unquote(text: &str) -> (String, usize) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| match escaped {
                'n' => '\n',
                other => other,
            })),
            '"' => return (value, at + 1),
            _ => value.push(character),
        }
    }
    (value, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format_is_read_with_its_escapes() {
        let text = "# HELP a b\n# TYPE a counter\na_total{x=\"1\",y=\"q\\\"}\"} 3\na_total{x=\"2\",y=\"\"} 4 170000\nplain 0.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a_total", &[]), 7.0);
        assert_eq!(metrics.sum("a_total", &[("y", "q\"}")]), 3.0);
        assert_eq!(metrics.sum("plain", &[]), 0.5);
        assert_eq!(metrics.sum("a_total", &[("z", "1")]), 0.0);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let line = "info\taccess\tconnection complete src.addr=10.0.0.1:5 dst.hbone_addr=x addr=y error=\"by \\\"p\\\" a\" z=1";
        assert_eq!(field(line, "addr").as_deref(), Some("y"));
        assert_eq!(field(line, "src.addr").as_deref(), Some("10.0.0.1:5"));
        assert_eq!(field(line, "error").as_deref(), Some("by \"p\" a"));
        assert_eq!(field(line, "hbone_addr"), None);
    }
}
