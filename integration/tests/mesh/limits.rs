//! Limits: who is at one is refused by name and counted, everybody else goes on, and when it is over it is over.

mod descriptors;
mod fairness;
mod memory;

use std::net::TcpStream;
use std::time::Duration;

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::prober::Prober;
use adit_integration::harness::rogue::Rogue;
use adit_integration::harness::scripted::Client;
use adit_integration::harness::tunnels::Tunnel;
use adit_integration::harness::watch::Watch;
use adit_mesh::constants::HBONE_PORT;
use anyhow::ensure;

pub use descriptors::{a_storm_leaves_the_tunnel_its_own_descriptors, without_a_descriptor_a_client_is_told};
pub use fairness::a_storm_on_one_pod_leaves_the_others_their_share;
pub use memory::{
    a_peer_that_takes_nothing_makes_senders_wait, the_stream_that_holds_most_is_given_up_and_no_other,
};

/// The counter of what limits did not let happen.
const REACHED: &str = "adit_limits_reached_total";

/// Two nodes with a tunnel each: `client` and `other` on the first, `server` and `neighbour` on the second, and
/// `stranger` beside them, outside of the mesh. The settings are those of the second node's tunnel, or of both.
fn build(settings: &[(&str, &str)], of_both: bool) -> anyhow::Result<(Bed, [Tunnel; 2])> {
    let mut bed = Bed::new(2)?;
    for (pod, node) in [("client", 0), ("other", 0), ("server", 1), ("neighbour", 1)] {
        bed.add_pod(pod, node)?;
    }
    bed.add_machine("stranger", 1)?;
    bed.configure()?;
    let first = if of_both { settings } else { &[] };
    let tunnels = [bed.start_tunnel(0, first)?, bed.start_tunnel(1, settings)?];
    bed.enrol(&["client", "other", "server", "neighbour"])?;
    Ok((bed, tunnels))
}

/// The limit said no so often, and the last refusal names the setting.
fn refused(watch: &Watch<'_>, direction: &str, limit: &str, says: &str, times: u32) -> anyhow::Result<()> {
    watch.risen(REACHED, &[("limit", limit)], times)?;
    let labels = [("outcome", "overloaded"), ("direction", direction)];
    watch.risen("adit_refused_connections_total", &labels, times)?;
    let line = watch.line(direction, "overloaded", &[("response_flags", "OVERLOADED")])?;
    let told = line["error"].as_str().unwrap_or_default();
    ensure!(told.contains(says), "the reason does not say {says:?}: {line}");
    Ok(())
}

/// A pod has so many connections and no more, and the next as soon as one has ended.
pub fn a_pod_with_all_its_connections_is_refused_another() -> anyhow::Result<()> {
    const MOST: usize = 20;
    let (bed, [tunnel, _other]) = build(&[("ADIT_CONNECTIONS_PER_POD", "20")], true)?;
    let neighbour = bed.socket("neighbour", ECHO_PORT)?;
    let quiet = Prober::start(bed.namespace("other")?, bed.socket("server", ECHO_PORT)?)?;
    let watch = Watch::begin(&tunnel)?;
    // The neighbour's tunnel counts them too, and the tunnel under them.
    let open: Vec<_> = (1..MOST)
        .map(|_| bed.session("client", neighbour))
        .collect::<Result<_, _>>()?;
    let server = bed.socket("server", HTTP_PORT)?;
    // Some are refused so soon that they are never connected.
    let held: Vec<TcpStream> = (0..2 * MOST)
        .filter_map(|_| bed.connect("client", server).ok())
        .collect();
    refused(
        &watch,
        "outbound",
        "connections_per_pod",
        "ADIT_CONNECTIONS_PER_POD",
        20,
    )?;
    drop((open, held));
    adit::lab::observe::eventually("the client to be served again", || {
        Ok(bed.call("client", server).ok())
    })?;
    let lap = quiet.lap();
    ensure!(lap.failure.is_none() && !lap.answers.is_empty(), "{lap:?}");
    Ok(())
}

/// One address has so many HBONE connections to a pod, and others have theirs.
pub fn a_peer_with_all_its_tunnels_is_refused_another() -> anyhow::Result<()> {
    let (bed, [_first, tunnel]) = build(&[("ADIT_TUNNELS_PER_PEER", "3")], false)?;
    let address = bed.socket("server", HBONE_PORT)?;
    let peer = Ca::of_the_mesh()?.peer(&spiffe("client"))?;
    let watch = Watch::begin(&tunnel)?;
    let call = || Client::shake_hands(bed.namespace("stranger")?, address, &peer, &spiffe("server"));
    let _three = [call()?, call()?, call()?];
    for _ in 0..3 {
        ensure!(call().is_err(), "a fourth tunnel is let in");
    }
    refused(&watch, "inbound", "tunnels_per_peer", "ADIT_TUNNELS_PER_PEER", 3)?;
    ensure!(bed.call("client", bed.socket("server", HTTP_PORT)?)? == "server");
    Ok(())
}

/// Peers that stop in their handshakes take the turns of their pod, for a moment; other pods have their own.
pub fn handshakes_wait_for_their_turn_and_others_have_theirs() -> anyhow::Result<()> {
    /// Whoever waited behind ten that stop would not be served in this time, or at all.
    const OWN_TURN: Duration = Duration::from_millis(1400);
    let settings = [("ADIT_HANDSHAKES_PER_POD", "2"), ("ADIT_TLS_TIMEOUT", "1500ms")];
    let (bed, [_first, tunnel]) = build(&settings, false)?;
    let address = bed.socket("server", HBONE_PORT)?;
    let peer = Ca::of_the_mesh()?.peer(&spiffe("client"))?;
    let watch = Watch::begin(&tunnel)?;
    let mut stopped = Vec::new();
    for _ in 0..10 {
        let stranger = bed.namespace("stranger")?;
        let mut rogue = Rogue::call(stranger, address, peer.clone(), &spiffe("server"))?;
        rogue.half_a_handshake()?;
        stopped.push(rogue);
    }
    let started = std::time::Instant::now();
    ensure!(bed.call("client", bed.socket("neighbour", HTTP_PORT)?)? == "neighbour");
    let took = started.elapsed();
    ensure!(took < OWN_TURN, "the neighbour's turn came after {took:?}");
    // Two have their turn at once, two more after a second, and the others not within their time.
    refused(
        &watch,
        "inbound",
        "handshakes_per_pod",
        "ADIT_HANDSHAKES_PER_POD",
        2,
    )?;
    watch.line("inbound", "tls_timeout", &[])?;
    stopped.iter_mut().try_for_each(Rogue::wait_end)?;
    ensure!(bed.call("client", bed.socket("server", HTTP_PORT)?)? == "server");
    Ok(())
}

/// The node's handshakes are shared as well: who comes when all are taken is refused by name.
pub fn a_node_with_all_its_handshakes_refuses_another() -> anyhow::Result<()> {
    let (bed, [_first, tunnel]) = build(&[("ADIT_HANDSHAKES_PER_NODE", "1")], false)?;
    let peer = Ca::of_the_mesh()?.peer(&spiffe("client"))?;
    let watch = Watch::begin(&tunnel)?;
    let call = |pod: &str| {
        let address = bed.socket(pod, HBONE_PORT)?;
        Rogue::call(bed.namespace("stranger")?, address, peer.clone(), &spiffe(pod))
    };
    let mut stopped = call("server")?;
    stopped.half_a_handshake()?;
    // The first one has its turn for a second, in which many others are refused.
    adit::lab::observe::eventually("a handshake to be refused", || {
        Ok(call("neighbour")?.shake_hands().err())
    })?;
    refused(
        &watch,
        "inbound",
        "handshakes_per_node",
        "ADIT_HANDSHAKES_PER_NODE",
        1,
    )?;
    adit::lab::observe::eventually("the client to be served", || {
        Ok(bed.call("client", bed.socket("server", HTTP_PORT)?).ok())
    })?;
    Ok(())
}
