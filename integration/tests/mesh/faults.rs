//! The fault matrix: what a peer may do wrong at each stage, on either end of a tunnel, row by row.
//!
//! Every row is held to the same: what it costs the tunnel (memory, descriptors, CPU time), how it is told (a log line
//! and a count), and that nobody else notices: the same pod's other connections, the node's other pods, and whoever
//! else uses the tunnel go on meanwhile, and nothing of the fault is left afterwards.

mod callers;
mod floods;
mod servers;

use std::time::{Duration, Instant};

use adit::lab::apps::ECHO_PORT;
use adit::lab::observe;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::prober::Prober;
use adit_integration::harness::tunnels::Tunnel;
use adit_integration::harness::usage::{Usage, forget_peak};
use adit_integration::harness::watch::Watch;
use adit_mesh::Outcome;
use adit_pki::Credentials;
use anyhow::{Context, ensure};
use std::sync::Arc;

pub use callers::a_client_that_misbehaves_costs_little_and_disturbs_nobody;
pub use floods::a_client_that_floods_costs_little_and_disturbs_nobody;
pub use servers::a_server_that_misbehaves_costs_little_and_disturbs_nobody;

/// Deadlines that a scenario can wait for.
const SETTINGS: &[(&str, &str)] = &[
    ("ADIT_CONNECT_TIMEOUT", "1s"),
    ("ADIT_TLS_TIMEOUT", "1s"),
    ("ADIT_HTTP2_TIMEOUT", "1s"),
    ("ADIT_CONNECT_ANSWER_TIMEOUT", "1s"),
    ("ADIT_PING_INTERVAL", "500ms"),
    ("ADIT_PING_TIMEOUT", "1s"),
];

/// CPU time that a row may cost, of a build without optimisation on a machine that does other things too. A fault that
/// is not bounded costs as much as it lasts.
const CPU: Duration = Duration::from_millis(2500);
/// Memory that a row may take, in bytes: a window of one connection that is filled, and some.
const MEMORY: u64 = 32 << 20;
/// How long somebody else's request may take at most, on a machine that does other things too.
const SLOWEST: Duration = Duration::from_secs(2);

/// How a row is told.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// As a connection that was refused, with this outcome, and with these words in the reason.
    Refused(Outcome, &'static str),
    /// As an established connection that ended like this.
    Ended(Outcome, &'static str),
}

/// Two nodes with a tunnel each. `client` and `other` are pods of the first node, `server` and `neighbour` of the
/// second; `stranger` is beside them, outside of the mesh, and `rogue` a peer whose HBONE port is the scenario's.
struct Stage {
    bed: Bed,
    /// Of the first node, of the second.
    tunnels: [Tunnel; 2],
    ca: Ca,
    probers: Vec<(&'static str, Prober)>,
}

/// Whose connections go on, as client and server: of the pods that are disturbed, of their neighbours, of both nodes.
const OTHERS: [(&str, &str, &str); 3] = [
    ("the same pods", "client", "server"),
    ("a neighbour", "client", "neighbour"),
    ("another client", "other", "server"),
];

impl Stage {
    fn build(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut bed = Bed::new(2)?;
        for (pod, node) in [("client", 0), ("other", 0), ("server", 1), ("neighbour", 1)] {
            bed.add_pod(pod, node)?;
        }
        bed.add_bare("rogue", 1)?;
        bed.add_machine("stranger", 1)?;
        bed.configure()?;
        let all = [SETTINGS, settings].concat();
        let tunnels = [bed.start_tunnel(0, &all)?, bed.start_tunnel(1, &all)?];
        bed.enrol(&["client", "other", "server", "neighbour"])?;
        let probers = OTHERS.into_iter().map(|(who, from, to)| {
            let address = bed.socket(to, ECHO_PORT)?;
            anyhow::Ok((who, Prober::start(bed.namespace(from)?, address)?))
        });
        let probers = probers.collect::<Result<_, _>>()?;
        Ok(Self {
            ca: Ca::of_the_mesh()?,
            bed,
            tunnels,
            probers,
        })
    }

    fn credentials(&self, pod: &str) -> anyhow::Result<Arc<Credentials>> {
        self.ca.peer(&spiffe(pod))
    }

    /// Plays every row, and says what is wrong with which.
    fn play_all<T>(
        &self,
        rows: impl Iterator<Item = (&'static str, T)>,
        play: impl Fn(T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let failed: Vec<_> = rows
            .filter_map(|(name, row)| Some(format!("{name}: {:#}", play(row).err()?)))
            .collect();
        ensure!(
            failed.is_empty(),
            "{} rows fail:\n{}",
            failed.len(),
            failed.join("\n")
        );
        Ok(())
    }

    /// Plays a row, and holds it to what every row is held to.
    fn play<T>(
        &self,
        name: &str,
        tunnel: &Tunnel,
        direction: &str,
        told: &[Told],
        fault: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<()> {
        let watch = Watch::begin(tunnel)?;
        forget_peak(tunnel)?;
        let before = Usage::of(tunnel)?;
        let started = Instant::now();
        self.probers.iter().for_each(|(_, prober)| drop(prober.lap()));
        let held = fault().context("playing it")?;
        told.iter()
            .try_for_each(|told| is_told(&watch, direction, *told))?;
        drop(held);
        observe::eventually("its descriptors to be given back", || {
            Ok((tunnel.descriptors()? <= before.descriptors).then_some(()))
        })?;
        let after = Usage::of(tunnel)?;
        let cpu = after.cpu - before.cpu;
        let memory = after.peak.saturating_sub(before.resident);
        println!(
            "{name}: {:.1} s, {} ms of CPU, at most {} KiB more memory, {} KiB at the end",
            started.elapsed().as_secs_f64(),
            cpu.as_millis(),
            memory / 1024,
            after.resident.saturating_sub(before.resident) / 1024,
        );
        self.others_went_on()?;
        ensure!(cpu < CPU, "{cpu:?} of CPU time");
        ensure!(memory < MEMORY, "{memory} bytes more memory");
        Ok(())
    }

    /// Nobody else has noticed anything.
    fn others_went_on(&self) -> anyhow::Result<()> {
        for (who, prober) in &self.probers {
            observe::eventually(format_args!("an answer to {who}"), || {
                Ok((prober.answers()? > 0).then_some(()))
            })?;
            let lap = prober.lap();
            println!(
                "    {who}: {:.0} requests a second, 99 % within {:?}, the slowest {:?}",
                lap.rate(),
                lap.percentile(99),
                lap.slowest(),
            );
            ensure!(lap.failure.is_none(), "{who}: {:?}", lap.failure);
            ensure!(lap.slowest() < SLOWEST, "{who} waited for {:?}", lap.slowest());
        }
        Ok(())
    }
}

fn is_told(watch: &Watch<'_>, direction: &str, told: Told) -> anyhow::Result<()> {
    let (outcome, says) = match told {
        Told::Refused(outcome, says) | Told::Ended(outcome, says) => (outcome, says),
    };
    let name = outcome.name();
    let line = watch.line_that_says(direction, &name, says)?;
    if outcome == Outcome::ProtocolViolation && direction == "inbound" {
        ensure!(
            line["src.identity"] == spiffe("client"),
            "it does not say who did it: {line}"
        );
    }
    if matches!(told, Told::Refused(..)) {
        let labels = [("outcome", name.as_str()), ("direction", direction)];
        watch.risen("adit_refused_connections_total", &labels, 1)?;
    }
    Ok(())
}
