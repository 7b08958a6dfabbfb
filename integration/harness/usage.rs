//! What a tunnel costs: memory, descriptors and CPU time, as the kernel counts them.

use std::fs;
use std::time::Duration;

use anyhow::Context;

use crate::harness::tunnels::Tunnel;

/// What a process has used, or uses.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Time that its threads have run.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// The most that it was since [`forget_peak`].
    pub peak: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// What a tunnel uses now.
    ///
    /// # Errors
    /// It has ended.
    pub fn of(tunnel: &Tunnel) -> anyhow::Result<Self> {
        let process = format!("/proc/{}", tunnel.id());
        let status = fs::read_to_string(format!("{process}/status"))?;
        let mut cpu = Duration::ZERO;
        for thread in fs::read_dir(format!("{process}/task"))? {
            // A thread may end while it is looked at, and then counts no more.
            if let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) {
                let nanoseconds = text.split_whitespace().next().unwrap_or_default();
                cpu += Duration::from_nanos(nanoseconds.parse()?);
            }
        }
        Ok(Self {
            cpu,
            resident: kilobytes(&status, "VmRSS:")?,
            peak: kilobytes(&status, "VmHWM:")?,
            descriptors: tunnel.descriptors()?,
        })
    }
}

/// Begins [`Usage::peak`] anew.
///
/// # Errors
/// The kernel does not let us.
pub fn forget_peak(tunnel: &Tunnel) -> anyhow::Result<()> {
    let file = format!("/proc/{}/clear_refs", tunnel.id());
    fs::write(&file, "5").with_context(|| format!("cannot write {file}"))
}

fn kilobytes(status: &str, name: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = number
        .with_context(|| format!("no {name} in the status"))?
        .parse()?;
    Ok(kilobytes * 1024)
}
