//! What a tunnel takes as it starts, and for pods that do nothing.

use std::path::Path;

use anyhow::Context;

use super::Sample;
use super::memory::SETTLE;
use crate::cost::Processes;
use crate::ground::Ground;
use crate::systems::{System, tunnels};

/// The most that a node has by default.
const PODS: usize = 110;
/// Where they are.
const NODE: usize = 0;

pub fn run(ground: &mut Ground, system: &System) -> anyhow::Result<Sample> {
    let program = system.program.clone();
    let program: &Path = program.as_deref().context("no program that could be started")?;
    // A system's own, so that nothing redirects them already.
    let pods: Vec<_> = (0..PODS)
        .map(|index| format!("{}-idle-{index}", system.name))
        .collect();
    for pod in &pods {
        ground.bed.add_bare(pod, NODE)?;
    }
    ground.bed.configure()?;
    let (process, agent) =
        tunnels::launch(ground, &format!("{}-tunnel-of-many", system.name), program, NODE)?;
    let tunnel = Processes(vec![process.id()]);
    std::thread::sleep(SETTLE);
    let before = tunnel.resident()?;
    for pod in &pods {
        agent
            .enrol(ground.bed.world.pod(pod)?)
            .with_context(|| process.last_words())?;
    }
    std::thread::sleep(SETTLE);
    let after = tunnel.resident()?;
    Ok(Sample::from([
        ("mb_at_start", before / 1024.0),
        ("kb_per_pod", (after - before) / PODS as f64),
    ]))
}
