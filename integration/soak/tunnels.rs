//! Tunnels of the soak: each with its log tapped, and judged by how it ended once it was told to.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use adit::lab::host;
use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use super::tap::{Said, Tap, Witness};
use crate::harness::bed::Bed;
use crate::harness::tunnels::Tunnel;

/// How long connections of a tunnel that is replaced may go on.
pub const DEADLINE: Duration = Duration::from_secs(4);
/// How much longer it may take to end.
const LAST_WORDS: Duration = Duration::from_secs(6);
/// Everything that takes minutes in production takes seconds here.
const SETTINGS: [(&str, &str); 7] = [
    ("CONNECTION_TERMINATION_DEADLINE", "4s"),
    // Renewed at half of it.
    ("SECRET_TTL", "30s"),
    ("POOL_UNUSED_RELEASE_TIMEOUT", "2s"),
    ("ADIT_PING_INTERVAL", "2s"),
    ("ADIT_PING_TIMEOUT", "3s"),
    ("ADIT_TLS_TIMEOUT", "3s"),
    ("ADIT_HTTP2_TIMEOUT", "3s"),
];

/// A tunnel, and what it says.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub tunnel: Tunnel,
    name: String,
    tap: Tap,
}

/// A tunnel that was told to end.
#[derive(Debug)]
pub struct Draining {
    running: Running,
    told: Instant,
}

/// A tunnel that has ended.
#[derive(Debug)]
pub struct Ended {
    /// What it was called.
    pub name: String,
    /// How many connections it cut at its deadline.
    pub cut: u64,
    /// How many certificates were issued to it.
    pub certificates: u64,
    /// What was wrong with it.
    pub defects: Vec<String>,
}

impl Running {
    /// Starts a tunnel on a node beside the one that runs there, and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready.
    pub fn start(bed: &mut Bed, node: usize, witness: &Witness) -> anyhow::Result<Self> {
        let name = bed.next_name();
        let (namespace, address) = bed.place(&name, node)?;
        let mut settings = bed.settings(node)?;
        settings.extend(SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let log = host::path(&format!("{name}.log"));
        let file = File::options().create(true).append(true).open(log)?;
        let outputs = (Stdio::piped(), file.try_clone()?.into());
        let mut tunnel = Tunnel::start_with(&name, &namespace, address, &settings, outputs)?;
        let output = tunnel.child().stdout.take();
        let tap = Tap::new(&name, output.context("a tunnel without output")?, file, witness);
        tunnel.wait_ready()?;
        Ok(Self { tunnel, name, tap })
    }

    /// Tells it to end.
    ///
    /// # Errors
    /// It has ended.
    pub fn drain(self) -> anyhow::Result<Draining> {
        let told = Instant::now();
        self.tunnel.signal(Signal::SIGTERM)?;
        Ok(Draining { running: self, told })
    }

    /// What is wrong with it so far.
    pub fn defects(&self) -> Vec<String> {
        self.named(self.tap.said().defects)
    }

    /// How many certificates were issued to it so far.
    pub fn certificates(&self) -> u64 {
        self.tap.said().certificates
    }

    /// Its last words, under its name.
    pub fn last_words(&self) -> String {
        let words = self.tunnel.last_words().unwrap_or_default();
        format!("--- {}\n{words}", self.name)
    }

    fn named(&self, defects: Vec<String>) -> Vec<String> {
        let name = &self.name;
        defects
            .into_iter()
            .map(|defect| format!("{name}: {defect}"))
            .collect()
    }
}

impl Draining {
    /// Looks whether it has ended: what became of it, or itself if it has not.
    ///
    /// # Errors
    /// It does not end long after its deadline.
    pub fn look(mut self) -> anyhow::Result<Result<Ended, Self>> {
        if !self.running.tunnel.is_running()? {
            return Ok(Ok(self.judge()?));
        }
        if self.told.elapsed() > DEADLINE + LAST_WORDS {
            let running = &self.running;
            bail!(
                "it does not end: {}\n{}",
                running.last_words(),
                running.tunnel.threads()
            );
        }
        Ok(Err(self))
    }

    fn judge(self) -> anyhow::Result<Ended> {
        let mut running = self.running;
        let (status, _) = running.tunnel.wait_end()?;
        let Said {
            summary,
            cut,
            certificates,
            mut defects,
            ..
        } = running.tap.said_at_the_end()?;
        if !status.success() {
            defects.push(format!("it ended with {status}"));
        }
        let named = cut.len() as u64;
        match summary {
            None => defects.push("it does not say how many connections it cut".to_owned()),
            // One that ends in the moment of the cut is told as what it was.
            Some(cut) if named > cut || (cut > 0 && named == 0) => {
                defects.push(format!(
                    "it says that it cut {cut} connections, and names {named}"
                ));
            }
            Some(_) => {}
        }
        // What is worth a look in it was looked at.
        std::fs::remove_file(running.tunnel.log())?;
        Ok(Ended {
            defects: running.named(defects),
            name: running.name,
            cut: summary.unwrap_or(0),
            certificates,
        })
    }
}
