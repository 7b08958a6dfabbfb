//! Running the load generators, and a profiler beside them.

use std::process::{Child, Command, Stdio};

use adit_net::Namespace;
use anyhow::{Context, ensure};

use crate::loads::Load;
use crate::systems::System;

/// Runs a program in a namespace to its end, and returns what it printed.
pub fn output(namespace: &Namespace, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = adit_net::process::spawn(Some(namespace), command)
        .with_context(|| format!("cannot start {program}"))?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{program} {arguments:?} ended with {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// A command that runs while a load does.
pub struct Probe(Option<Child>);

impl Probe {
    /// Starts it, if there is one and the system has processes.
    pub fn start(command: Option<&str>, load: Load, system: &System) -> anyhow::Result<Self> {
        let processes = system.processes();
        let Some(text) = command.filter(|_| !processes.0.is_empty()) else {
            return Ok(Self(None));
        };
        let ids: Vec<_> = processes.0.iter().map(u32::to_string).collect();
        let mut command = Command::new("sh");
        command
            .args(["-c", text])
            .env("PIDS", ids.join(","))
            .env("NAME", format!("{}-{load}", system.name));
        Ok(Self(Some(command.spawn().context("cannot start the probe")?)))
    }

    /// Waits for it.
    pub fn end(self) -> anyhow::Result<()> {
        if let Some(mut child) = self.0 {
            let status = child.wait()?;
            ensure!(status.success(), "the probe ended with {status}");
        }
        Ok(())
    }
}
