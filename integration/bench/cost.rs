//! What processes cost: CPU from the scheduler's own account, memory as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Processes whose cost is taken together.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Processes(pub Vec<u32>);

impl Processes {
    /// A process and all that descend from it (nginx has workers), as they are now.
    pub fn family(id: u32) -> anyhow::Result<Self> {
        let mut all = vec![id];
        let mut next = 0;
        while let Some(id) = all.get(next) {
            let path = format!("/proc/{id}/task/{id}/children");
            let children = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            for child in children.split_whitespace() {
                all.push(child.parse()?);
            }
            next += 1;
        }
        Ok(Self(all))
    }

    /// These and those.
    pub fn and(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(&others.0).copied().collect())
    }

    /// CPU time so far, of all threads that live.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for id in &self.0 {
            let tasks = format!("/proc/{id}/task");
            for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
                let path = task?.path().join("schedstat");
                let text = fs::read_to_string(&path).with_context(|| {
                    format!(
                        "cannot read {}: this kernel has no CONFIG_SCHED_INFO",
                        path.display()
                    )
                })?;
                let run: u64 = text.split(' ').next().unwrap_or_default().parse()?;
                nanoseconds += run;
            }
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> anyhow::Result<f64> {
        let mut all = 0.0;
        for id in &self.0 {
            let path = format!("/proc/{id}/status");
            let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let value: f64 = line
                .and_then(|line| line.split_whitespace().next())
                .with_context(|| format!("no VmRSS in {path}"))?
                .parse()?;
            all += value;
        }
        Ok(all)
    }
}
