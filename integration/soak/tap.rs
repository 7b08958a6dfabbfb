//! A tunnel's log, read as it is written: what is worth a look goes to its file, connections that are complete are only
//! counted. Twenty minutes of access log would fill the memory that the file system is made of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdout;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::Context;
use serde_json::Value;

/// Why a drain cuts a connection, as its line says.
const LATE: &str = "the deadline of the drain has passed";

/// What a log has said so far.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Said {
    /// Lines about connections, by their outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Connections that were cut at the deadline of a drain, each with its source and its destination.
    pub cut: Vec<(String, String)>,
    /// How many connections the summary of the drain says were cut.
    pub summary: Option<u64>,
    /// Certificates that were issued.
    pub certificates: u64,
    /// Defects that the log tells of: panics, and lines that are no log lines.
    pub defects: Vec<String>,
}

/// Reads a tunnel's output to its end.
#[derive(Debug)]
pub struct Tap {
    said: Arc<Mutex<Said>>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Reads `output`, and writes what is worth a look to `file`.
    pub fn new(output: ChildStdout, mut file: File) -> Self {
        let said = Arc::new(Mutex::new(Said::default()));
        let shared = Arc::clone(&said);
        let thread = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lock(&shared).take(&line) {
                    // A file system that is full must not stop the tunnel, which would wait for its reader.
                    let _written = writeln!(file, "{line}");
                }
            }
        });
        Self {
            said,
            thread: Some(thread),
        }
    }

    /// Everything that was said; the tunnel has ended.
    ///
    /// # Errors
    /// The reader panicked.
    pub fn said_at_the_end(&mut self) -> anyhow::Result<Said> {
        let joined = self.thread.take().map(JoinHandle::join).transpose();
        joined.ok().context("the reader of a log panicked")?;
        Ok(self.said())
    }

    /// What was said so far.
    pub fn said(&self) -> Said {
        lock(&self.said).clone()
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    // Every line is counted whole.
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Said {
    /// Takes a line in; whether it is worth a look.
    fn take(&mut self, line: &str) -> bool {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            self.defects.push(line.to_owned());
            return true;
        };
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        if line["scope"] != "access" {
            if line["message"] == "drained" {
                self.summary = line["connections_cut"].as_u64();
            }
            let told = line["message"].as_str().unwrap_or_default();
            self.certificates += u64::from(told == "new certificate");
            if told.contains("panic") || told.contains("a defect in") {
                self.defects.push(line.to_string());
            }
            return true;
        }
        *self.outcomes.entry(text("outcome")).or_default() += 1;
        let cut = line["outcome"] == "shutdown" && line["error"] == LATE;
        if cut {
            self.cut.push((text("src.addr"), text("dst.addr")));
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_for_what_they_are() {
        let mut said = Said::default();
        let done =
            r#"{"scope":"access","outcome":"completed","src.addr":"10.0.0.1:1","dst.addr":"10.0.0.2:2"}"#;
        assert!(!said.take(done));
        let cut = r#"{"scope":"access","outcome":"shutdown","error":"the deadline of the drain has passed","src.addr":"a:1","dst.addr":"b:2"}"#;
        assert!(said.take(cut));
        assert!(said.take(r#"{"scope":"tunnel::process","message":"drained","connections_cut":1}"#));
        assert!(said.take(r#"{"scope":"pki::manager::task","message":"new certificate"}"#));
        assert!(said.take("thread 'main' panicked at x.rs:1:1"));
        let expected = Said {
            outcomes: [("completed".to_owned(), 1), ("shutdown".to_owned(), 1)].into(),
            cut: vec![("a:1".to_owned(), "b:2".to_owned())],
            summary: Some(1),
            certificates: 1,
            defects: vec!["thread 'main' panicked at x.rs:1:1".to_owned()],
        };
        assert_eq!(said, expected);
    }
}
