//! A process of the lab, in the network namespace where it belongs, with its output in a file. It goes when the value is
//! dropped, and when the lab ends, however it does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use adit_net::Namespace;
use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag};
use nix::unistd::Pid;

use crate::lab::host;

/// How much of a process's output is shown when it fails.
const LAST_LINES: usize = 12;

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with nothing in its environment but `environment` and what it takes to find other programs. Its
    /// output is added to a file in the lab's folder.
    ///
    /// # Errors
    /// The file cannot be written, or the program cannot be started.
    pub fn start(
        name: &str,
        namespace: &Namespace,
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let log = host::path(&format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output);
        let child = adit_net::process::spawn(Some(namespace), command)
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        nix::sys::signal::kill(self.pid()?, signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Waits until it has ended, and returns how.
    ///
    /// # Errors
    /// It does not end in time; it is killed then.
    pub fn wait(mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let pid = self.pid()?;
        let (ended, wait) = mpsc::channel();
        // Leaves the process as it is, so that its number stays taken until it is reaped here.
        std::thread::spawn(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            // An error means that it has been reaped already; nobody listening means that time is up.
            let outcome = nix::sys::wait::waitid(Id::Pid(pid), flags);
            let _late = ended.send(outcome);
        });
        if wait.recv_timeout(patience).is_err() {
            bail!(
                "{} has not ended after {patience:?}\n{}",
                self.name,
                self.last_words()
            );
        }
        Ok(self.child.wait()?)
    }

    /// The end of its output, for an error message.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(LAST_LINES);
        format!("--- {}\n{}", self.log.display(), lines[from..].join("\n"))
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended and been reaped, which is what they are for.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
