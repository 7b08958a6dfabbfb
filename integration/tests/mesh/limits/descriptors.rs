//! The limit of open files, with a tunnel that has few: one that has used them up still answers, and one that is taken
//! all of them says so.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::observe;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::prober::Prober;
use adit_integration::harness::tunnels::Tunnel;
use adit_integration::harness::usage::Usage;
use adit_integration::harness::watch::Watch;
use anyhow::ensure;

use super::refused;

/// What the tunnel may have open. It keeps 32 for itself.
const FEW: usize = 192;
/// Pods that all want everything.
const GREEDY: [&str; 3] = ["greedy-1", "greedy-2", "greedy-3"];
/// Connections that each of them asks for.
const MANY: usize = 150;

/// Pods that together ask for more than there is: what they get leaves the tunnel what it needs, and the quiet pod its
/// share.
pub fn a_storm_leaves_the_tunnel_its_own_descriptors() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    for pod in GREEDY.into_iter().chain(["quiet", "server"]) {
        bed.add_pod(pod, 0)?;
    }
    bed.add_machine("plain", 0)?;
    bed.run_app("plain")?;
    bed.configure()?;
    let tunnel = bed.start_tunnel_within(0, FEW)?;
    bed.enrol(&GREEDY)?;
    bed.enrol(&["quiet", "server"])?;
    let before = tunnel.descriptors()?;
    let quiet = Prober::start(bed.namespace("quiet")?, bed.socket("server", ECHO_PORT)?)?;
    let watch = Watch::begin(&tunnel)?;
    // Connections that leave the mesh cost a descriptor on each side.
    let plain = bed.socket("plain", ECHO_PORT)?;
    let mut storm: Vec<TcpStream> = Vec::new();
    for pod in GREEDY {
        for _ in 0..MANY {
            // Some are refused so soon that they are never connected.
            storm.extend(bed.connect(pod, plain).ok());
        }
    }
    refused(
        &watch,
        "outbound",
        "connections_per_node",
        "limit of open files",
        50,
    )?;
    // A storm does not push the lines of others out of the log, and is told nevertheless.
    observe::eventually("those that were not logged to be told", || {
        drop(bed.connect(GREEDY[0], plain).ok());
        Ok(tunnel
            .text()?
            .contains("refusals before this one were not logged")
            .then_some(()))
    })?;
    let most = tunnel.descriptors()?;
    println!("{before} descriptors before the storm, {most} in it, of {FEW}");
    ensure!(most < FEW, "the storm took all {FEW} descriptors");
    // Operators, configuration and the quiet pod are served as ever, new connections of it too.
    bed.apply(&[&tunnel])?;
    ensure!(bed.call("quiet", bed.socket("server", HTTP_PORT)?)? == "server");
    let lap = quiet.lap();
    ensure!(lap.failure.is_none() && !lap.answers.is_empty(), "{lap:?}");
    drop(storm);
    observe::eventually("a greedy pod to be served again", || {
        Ok(bed.call(GREEDY[2], bed.socket("plain", HTTP_PORT)?).ok())
    })?;
    observe::eventually("the descriptors to be given back", || {
        // The quiet pod's connections stay, and so do those between pods.
        Ok((tunnel.descriptors()? <= before + 8).then_some(()))
    })
}

/// Whatever took the last descriptor: clients are reset and do not hang, what is open goes on, and everything is well as
/// soon as there are descriptors again.
pub fn without_a_descriptor_a_client_is_told() -> anyhow::Result<()> {
    const SOON: Duration = Duration::from_secs(5);
    let mut bed = Bed::new(1)?;
    for pod in ["client", "server"] {
        bed.add_pod(pod, 0)?;
    }
    bed.configure()?;
    let tunnel = bed.start_tunnel(0, &[])?;
    bed.enrol(&["client", "server"])?;
    let http = bed.socket("server", HTTP_PORT)?;
    let going_on = Prober::start(bed.namespace("client")?, bed.socket("server", ECHO_PORT)?)?;
    let watch = Watch::begin(&tunnel)?;
    tunnel.limit_open_files(lowest_free(&tunnel)?)?;
    let cpu = Usage::of(&tunnel)?.cpu;
    let started = Instant::now();
    for _ in 0..20 {
        bed.refused("client", http)?;
    }
    let took = started.elapsed();
    ensure!(took < SOON, "clients hang: 20 refusals took {took:?}");
    let busy = Usage::of(&tunnel)?.cpu - cpu;
    let lap = going_on.lap();
    tunnel.limit_open_files(4096)?;
    println!(
        "20 clients were told in {took:?}, for {busy:?} of CPU; meanwhile {:.0} requests a second, the slowest {:?}",
        lap.rate(),
        lap.slowest()
    );
    ensure!(lap.failure.is_none() && !lap.answers.is_empty(), "{lap:?}");
    ensure!(busy < Duration::from_secs(1), "it spins: {busy:?} of CPU");
    ensure!(bed.call("client", http)? == "server", "it has not recovered");
    refused(&watch, "outbound", "descriptors", "RLIMIT_NOFILE", 20)
}

/// The lowest number that the tunnel's next file could have, also when one that it has open now is closed again.
fn lowest_free(tunnel: &Tunnel) -> anyhow::Result<usize> {
    let mut lowest = usize::MAX;
    for _ in 0..5 {
        lowest = lowest.min(tunnel.lowest_free_descriptor()?);
        std::thread::sleep(observe::INTERVAL);
    }
    Ok(lowest)
}
