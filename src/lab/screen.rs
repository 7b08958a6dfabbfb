//! What the tour writes: aligned, in colour on a terminal, without noise.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How wide labels are.
const LABEL: usize = 16;

/// How wide what was observed may be before it goes on in the next line.
const VALUE: usize = 100;

/// The terminal, or where the output goes instead.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    colour: bool,
}

/// How a piece of text looks.
#[derive(Clone, Copy)]
enum Look {
    Bold,
    Dim,
    Good,
    Bad,
}

impl Look {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31;1",
        }
    }
}

impl Screen {
    /// In colour where a person looks on, unless they asked for none (<https://no-color.org>).
    pub fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: wanted && io::stdout().is_terminal(),
        }
    }

    /// The first words of a step, with its number.
    pub fn step(&self, number: usize, title: &str) {
        let title = self.paint(Look::Bold, title);
        self.line(format_args!("\n{number:>2}  {title}"));
    }

    /// What is done, in a sentence.
    pub fn says(&self, text: impl Display) {
        let text = self.paint(Look::Dim, text);
        self.line(format_args!("    {text}"));
    }

    /// Something that was observed.
    pub fn shows(&self, label: &str, value: impl Display) {
        let mut label = self.paint(Look::Dim, format_args!("{label:>LABEL$}"));
        for line in wrapped(&value.to_string()) {
            self.line(format_args!("    {label}  {line}"));
            label = " ".repeat(LABEL);
        }
    }

    /// A step that did what it promised.
    pub fn proved(&self, what: impl Display, took: Duration) {
        let mark = self.paint(Look::Good, "✓");
        let took = self.paint(Look::Dim, format_args!("({:.1} s)", took.as_secs_f64()));
        self.line(format_args!("    {mark} {what} {took}"));
    }

    /// A step that did not.
    pub fn failed(&self, error: &anyhow::Error) {
        let mark = self.paint(Look::Bad, "✗");
        self.line(format_args!("    {mark} {error:#}"));
    }

    /// A line of its own.
    pub fn line(&self, text: impl Display) {
        // Whoever closed the output does not want to hear of it.
        let _closed = writeln!(io::stdout(), "{text}");
    }

    /// A heading.
    pub fn heading(&self, text: impl Display) {
        let text = self.paint(Look::Bold, text);
        self.line(text);
    }

    fn paint(&self, look: Look, text: impl Display) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", look.code())
        } else {
            text.to_string()
        }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// Breaks a text between words. A word that is too long stays whole, so that it can be copied.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= VALUE => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_goes_on_in_the_next_line_between_words() {
        assert_eq!(wrapped("a  b"), ["a  b"]);
        let long = format!("{} {} c", "a".repeat(VALUE), "b".repeat(VALUE - 2));
        assert_eq!(
            wrapped(&long),
            ["a".repeat(VALUE), format!("{} c", "b".repeat(VALUE - 2))]
        );
    }
}
