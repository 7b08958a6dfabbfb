//! An operator at work: a command of `adit` that asks a tunnel, run as a process of its own.

use std::process::{Command, Stdio};

use adit_net::Namespace;
use anyhow::{Context, ensure};
use serde_json::Value;

use crate::harness::OPERATOR;

/// What a command has written, and how it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// Its exit status.
    pub code: i32,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub error: String,
}

/// Runs a command, with its arguments separated by blanks, in a network namespace (`None`: the scenario's own).
///
/// # Errors
/// It cannot be started, or is ended by a signal.
pub fn run(namespace: Option<&Namespace>, arguments: &str) -> anyhow::Result<Said> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(OPERATOR)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = adit_net::process::spawn(namespace, command)?.wait_with_output()?;
    let status = output.status;
    Ok(Said {
        code: status
            .code()
            .with_context(|| format!("adit {arguments}: {status}"))?,
        output: String::from_utf8(output.stdout)?,
        error: String::from_utf8(output.stderr)?,
    })
}

impl Said {
    /// Its output, if it has ended well and complained of nothing.
    ///
    /// # Errors
    /// It has not.
    pub fn good(self) -> anyhow::Result<String> {
        ensure!(self.code == 0 && self.error.is_empty(), "not well: {self:?}");
        Ok(self.output)
    }

    /// Its output as JSON, if it has ended well.
    ///
    /// # Errors
    /// It has not, or it is none.
    pub fn json(self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.good()?)?)
    }

    /// Whether it has ended with this status, without an answer, and with an error that holds these words.
    ///
    /// # Errors
    /// It has not.
    pub fn fails_with(&self, code: i32, words: &str) -> anyhow::Result<()> {
        ensure!(
            self.code == code && self.output.is_empty() && self.error.contains(words),
            "not {words:?} with {code}: {self:?}"
        );
        Ok(())
    }
}

/// The cells of the row of a table whose first cells are these.
///
/// # Errors
/// There is no such row.
pub fn row<'t>(table: &'t str, first: &[&str]) -> anyhow::Result<Vec<&'t str>> {
    let mut rows = table.lines().map(cells);
    rows.find(|row| row.starts_with(first))
        .with_context(|| format!("no row {first:?} in\n{table}"))
}

/// Cells are apart by more than one blank.
fn cells(row: &str) -> Vec<&str> {
    row.split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect()
}
