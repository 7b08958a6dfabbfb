//! A tunnel's log, read as it is written: what is worth a look goes to its file, connections that are complete are only
//! counted. Twenty minutes of access log would fill the memory that the file system is made of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdout;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use serde_json::Value;

/// Why a drain cuts a connection, as its line says.
const LATE: &str = "the deadline of the drain has passed";

/// What all tunnels say about connections that failed, with when it was read: evidence for what should not have. Those that
/// a policy ended are left out, because they are many and never in question.
#[derive(Clone, Default, Debug)]
pub struct Witness(Arc<Mutex<Vec<(Instant, String)>>>);

impl Witness {
    /// Everything that was said.
    pub fn all(&self) -> Vec<(Instant, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, tunnel: &str, line: &str) {
        let heard = (Instant::now(), format!("{tunnel}: {line}"));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    }
}

/// Whether a line is worth keeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Worth {
    /// It is counted, and that is all.
    Nothing,
    /// It tells of a connection that failed.
    Evidence,
    /// It belongs into the log's file.
    Look,
}

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
    /// Reads the `output` of a tunnel, and writes what is worth a look to `file`.
    pub fn new(tunnel: &str, output: ChildStdout, mut file: File, witness: &Witness) -> Self {
        let (tunnel, witness) = (tunnel.to_owned(), witness.clone());
        let said = Arc::new(Mutex::new(Said::default()));
        let shared = Arc::clone(&said);
        let thread = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let worth = lock(&shared).take(&line);
                match worth {
                    Worth::Nothing => {}
                    Worth::Evidence => witness.hear(&tunnel, &line),
                    // A file system that is full must not stop the tunnel, which would wait for its reader.
                    Worth::Look => drop(writeln!(file, "{line}")),
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
    /// Takes a line in.
    fn take(&mut self, line: &str) -> Worth {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            self.defects.push(line.to_owned());
            return Worth::Look;
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
            return Worth::Look;
        }
        *self.outcomes.entry(text("outcome")).or_default() += 1;
        if line["outcome"] == "shutdown" && line["error"] == LATE {
            self.cut.push((text("src.addr"), text("dst.addr")));
            return Worth::Look;
        }
        let policy = text("outcome").starts_with("policy_");
        if line["level"] == "error" && !policy {
            return Worth::Evidence;
        }
        Worth::Nothing
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
        assert_eq!(said.take(done), Worth::Nothing);
        let failed = r#"{"level":"error","scope":"access","outcome":"connect_failed"}"#;
        assert_eq!(said.take(failed), Worth::Evidence);
        let denied = r#"{"level":"error","scope":"access","outcome":"policy_denied"}"#;
        assert_eq!(said.take(denied), Worth::Nothing);
        let cut = r#"{"scope":"access","outcome":"shutdown","error":"the deadline of the drain has passed","src.addr":"a:1","dst.addr":"b:2"}"#;
        assert_eq!(said.take(cut), Worth::Look);
        assert_eq!(
            said.take(r#"{"scope":"tunnel::process","message":"drained","connections_cut":1}"#),
            Worth::Look
        );
        assert_eq!(
            said.take(r#"{"scope":"pki::manager::task","message":"new certificate"}"#),
            Worth::Look
        );
        assert_eq!(said.take("thread 'main' panicked at x.rs:1:1"), Worth::Look);
        let expected = Said {
            outcomes: ["completed", "connect_failed", "policy_denied", "shutdown"]
                .map(|outcome| (outcome.to_owned(), 1))
                .into(),
            cut: vec![("a:1".to_owned(), "b:2".to_owned())],
            summary: Some(1),
            certificates: 1,
            defects: vec!["thread 'main' panicked at x.rs:1:1".to_owned()],
        };
        assert_eq!(said, expected);
    }
}
