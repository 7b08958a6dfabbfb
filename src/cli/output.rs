//! How an answer is written: a table for people, JSON and YAML for programs.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

use super::table::Table;

/// How to write.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Format {
    /// For people
    #[default]
    #[value(alias = "table")]
    Short,
    /// For programs: the tunnel's own objects
    Json,
    /// The same, as YAML
    Yaml,
}

/// What a command has to show, both ways.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    /// For people.
    pub table: Table,
    /// For programs: the dump's own objects, in the order of the rows.
    pub objects: Vec<Value>,
}

impl View {
    /// As it was asked for, with a line break at the end.
    ///
    /// # Errors
    /// The objects cannot be written as YAML.
    pub fn written(&self, format: Format) -> anyhow::Result<String> {
        match format {
            Format::Short => Ok(self.table.to_string()),
            _ => written(&self.objects, format),
        }
    }
}

/// A value for programs; `Short` is JSON as well.
///
/// # Errors
/// It cannot be written as YAML.
pub fn written<T: serde::Serialize>(value: &T, format: Format) -> anyhow::Result<String> {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value).context("the answer cannot be written as YAML")?,
        Format::Short | Format::Json => serde_json::to_string_pretty(value)?,
    };
    Ok(format!("{}\n", text.trim_end()))
}

/// Writes to the standard output. Whoever closes it early, as `head` does, has seen enough.
///
/// # Errors
/// It cannot be written to, as when a disk is full: an answer that was cut must not look whole.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the answer"),
        _ => Ok(()),
    }
}
