//! What a tunnel holds: descriptors, tasks, sockets, pooled connections, series, memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit::lab::observe;
use anyhow::Context;

use crate::harness::tunnels::Tunnel;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long it may take until a tunnel that nobody uses is quiet: pooled connections are released, peers that vanished are
/// given up, and a worker that had joined has left.
const QUIET_WITHIN: Duration = Duration::from_secs(90);

/// What must be as before when all is quiet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Tasks of the workers.
    pub tasks: usize,
    /// Tasks of the control runtime.
    pub control_tasks: usize,
    /// Sockets of applications.
    pub sockets: usize,
    /// Pooled connections to peers.
    pub pooled: usize,
    /// Streams in them.
    pub streams: usize,
    /// Pods that are served.
    pub pods: usize,
    /// Identities that certificates are held of.
    pub certificates: usize,
    /// Pods' instances on all workers.
    pub load: usize,
}

/// A look at a tunnel.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// What must be as before when all is quiet.
    pub held: Held,
    /// Series that a scrape has.
    pub series: usize,
    /// Workloads that the series of connections name.
    pub named: Vec<String>,
    /// Tasks that ended in a panic.
    pub panics: usize,
    /// Resident memory, in MB.
    pub memory: f64,
}

/// Looks at a tunnel.
///
/// # Errors
/// It does not answer.
pub fn read(tunnel: &Tunnel) -> anyhow::Result<Reading> {
    let metrics = tunnel.metrics()?;
    // Counts are whole numbers that a float holds exactly.
    let count = |name: &str| metrics.sum(name, &[]) as usize;
    let mut named: Vec<_> = metrics
        .all()
        .flat_map(|sample| ["source_workload", "destination_workload"].map(|label| sample.labels.get(label)))
        .flatten()
        .cloned()
        .collect();
    named.sort_unstable();
    named.dedup();
    Ok(Reading {
        held: Held {
            descriptors: tunnel.descriptors()?,
            tasks: count("tokio_num_alive_tasks"),
            control_tasks: count("adit_control_tasks"),
            sockets: count("istio_tcp_sockets_open"),
            pooled: count("adit_pool_connections"),
            streams: count("adit_pool_streams"),
            pods: count("workload_manager_active_proxy_count"),
            certificates: metrics.select("adit_certificate_expiry_seconds", &[]).count(),
            load: count("adit_worker_load"),
        },
        series: metrics.all().count(),
        named,
        panics: count("adit_panics_total"),
        memory: resident(tunnel.id())?,
    })
}

/// Waits until a tunnel holds nothing for anybody, and until what it holds does not change any more.
///
/// # Errors
/// It does not come to rest.
pub fn quiet(tunnel: &Tunnel) -> anyhow::Result<Reading> {
    let deadline = Instant::now() + QUIET_WITHIN;
    let (mut last, mut since) = (read(tunnel)?, Instant::now());
    loop {
        std::thread::sleep(observe::INTERVAL * 5);
        let next = read(tunnel)?;
        if next.held != last.held {
            since = Instant::now();
        }
        let Held {
            sockets,
            pooled,
            streams,
            ..
        } = next.held;
        // Longer than any period in which something is swept up.
        if sockets + pooled + streams == 0 && since.elapsed() > Duration::from_secs(3) {
            return Ok(next);
        }
        anyhow::ensure!(Instant::now() < deadline, "it does not come to rest: {next:?}");
        last = next;
    }
}

/// Waits until a tunnel holds what it is expected to; what it holds in the end.
///
/// # Errors
/// It cannot be looked at.
pub fn until(tunnel: &Tunnel, expected: &Held) -> anyhow::Result<Reading> {
    let deadline = Instant::now() + QUIET_WITHIN;
    loop {
        let reading = read(tunnel)?;
        if reading.held == *expected || Instant::now() > deadline {
            return Ok(reading);
        }
        std::thread::sleep(observe::INTERVAL * 5);
    }
}

/// The resident memory of a process, in MB.
fn resident(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}

/// Follows the memory of a process.
#[derive(Debug)]
pub struct Memory {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Duration, f64)>>,
}

impl Memory {
    /// Until it is stopped; times are since `begun`.
    pub fn follow(process: u32, begun: Instant) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                // A process that has ended is found out by others.
                samples.extend(resident(process).ok().map(|memory| (begun.elapsed(), memory)));
                std::thread::sleep(INTERVAL);
            }
            samples
        });
        Self { stop, thread }
    }

    /// The samples.
    pub fn stop(self) -> Vec<(Duration, f64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
