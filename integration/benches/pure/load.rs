//! The large mesh as a file, and what it costs to read it: the same work as the tunnel's at its start, in a process that
//! does nothing else.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adit_discovery::LocalSource;
use adit_mesh::Store;
use adit_mesh::registry::LocalNode;
use anyhow::Context;

use crate::mesh;

/// Writes the mesh as a file of the tunnel's format.
pub fn write(path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(mesh::write(&mut BufWriter::new(file))?)
}

/// Reads such a file and says what it cost.
pub fn load(path: &Path) -> anyhow::Result<()> {
    let before = Usage::now()?;
    let store = Arc::new(Store::new(LocalNode {
        name: mesh::NODE.into(),
        cluster: "Kubernetes".into(),
        ..LocalNode::default()
    }));
    let mut source = LocalSource::new(path, store.clone());
    source.load()?;
    let loaded = Usage::now()?;
    source.load()?;
    let again = Usage::now()?;
    // The allocator gives pages back after five seconds.
    std::thread::sleep(Duration::from_secs(12));
    let steady = Usage::now()?;
    let status = source.status().borrow().clone();
    println!("{} workloads, {} services", status.workloads, status.services);
    println!("before  {before}\nloaded  {loaded}\nagain   {again}\nsteady  {steady}");
    Ok(())
}

/// What the kernel says about this process.
struct Usage {
    resident_mb: u64,
    peak_mb: u64,
    cpu: Duration,
}

impl Usage {
    fn now() -> anyhow::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        // Fields 14 and 15 of proc(5), in hundredths of a second; the first two are cut off.
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(Self {
            resident_mb: field("VmRSS:").context("no VmRSS")? / 1024,
            peak_mb: field("VmHWM:").context("no VmHWM")? / 1024,
            cpu: Duration::from_millis(ticks * 10),
        })
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            resident_mb,
            peak_mb,
            cpu,
        } = self;
        write!(
            f,
            "{resident_mb} MB resident, {peak_mb} MB at most, {cpu:.2?} CPU"
        )
    }
}
