//! How a tunnel ends, with a successor and without.

use std::time::{Duration, Instant};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::observe;
use adit::lab::traffic::Traffic;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::scripted::{Client, failure};
use adit_integration::harness::tunnels::Tunnel;
use adit_mesh::constants::HBONE_PORT;
use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

/// `client` and `server` on one node, both enrolled, `plain` outside of the mesh, and one tunnel with a deadline.
fn build(deadline: &str) -> anyhow::Result<(Bed, Tunnel)> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    bed.add_machine("plain", 0)?;
    bed.configure()?;
    let tunnel = bed.start_tunnel(0, &[("CONNECTION_TERMINATION_DEADLINE", deadline)])?;
    bed.enrol(&["client", "server"])?;
    Ok((bed, tunnel))
}

/// How long old connections of a tunnel that is replaced may go on.
const DEADLINE: Duration = Duration::from_secs(4);

/// Replaced twice under load: no new connection fails, old ones live on until the deadline, peers are told to go.
pub fn a_tunnel_is_replaced_under_load() -> anyhow::Result<()> {
    let (mut bed, mut tunnel) = build("4s")?;
    let address = bed.socket("server", HTTP_PORT)?;
    let traffic = Traffic::start(bed.namespace("client")?, address, 4)?;
    for _ in 0..2 {
        traffic.wait_answers(50)?;
        tunnel = replace(&mut bed, tunnel, &traffic)?;
    }
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    Ok(())
}

/// Starts a successor, ends the old tunnel, and looks at what becomes of its connections.
fn replace(bed: &mut Bed, mut old: Tunnel, traffic: &Traffic) -> anyhow::Result<Tunnel> {
    let echo = bed.socket("server", ECHO_PORT)?;
    let mut session = bed.session("client", echo)?;
    let (namespace, address) = (bed.namespace("plain")?, bed.socket("server", HBONE_PORT)?);
    let credentials = Ca::of_the_mesh()?.peer(&spiffe("client"))?;
    let peer = Client::connect(namespace, address, &credentials, &spiffe("server"))??;
    let (mut stream, _) = peer.open(&echo.to_string()).map_err(failure)?;
    let new = bed.start_tunnel(0, &[("CONNECTION_TERMINATION_DEADLINE", "4s")])?;
    let told = Instant::now();
    old.signal(Signal::SIGTERM)?;
    old.line(observe::Mark::default(), &["draining connections"])?;
    observe::eventually("GOAWAY for the peer", || {
        Ok(peer.was_told_to_go(&echo.to_string()).then_some(()))
    })?;
    session
        .echo("still here")
        .context("a connection that was open before")?;
    let echoed = peer.exchange(&mut stream, b"me too\n")?;
    ensure!(echoed == "me too\n", "{echoed:?} came back");
    let carried = opened(&old)?;
    traffic.wait_answers(50)?;
    ensure!(opened(&new)? > 0.0, "the successor has carried nothing");
    // What was in the backlog when it was told to end is all that it still took.
    ensure!(opened(&old)? <= carried + 8.0, "the old one goes on accepting");
    session.wait_cut()?;
    let lived = told.elapsed();
    ensure!(
        lived >= DEADLINE,
        "a connection was cut {lived:?} after the signal"
    );
    ensure!(
        !peer.wait_end(&mut stream)?,
        "a stream that was cut ended as if in order"
    );
    let (status, _) = old.wait_end()?;
    ensure!(
        status.success(),
        "the old tunnel ended with {status}\n{}",
        old.last_words()?
    );
    ensure!(
        told.elapsed() < 2 * DEADLINE,
        "it took {:?} to end",
        told.elapsed()
    );
    let fields = [("outcome", "shutdown"), ("response_flags", "SHUTDOWN")];
    old.access(observe::Mark::default(), &fields)?;
    Ok(new)
}

fn opened(tunnel: &Tunnel) -> anyhow::Result<f64> {
    let metrics = tunnel.metrics()?;
    Ok(metrics.sum("istio_tcp_connections_opened_total", &[("reporter", "source")]))
}

/// Nobody takes over: whatever would not be accepted would be refused.
pub fn without_a_successor_a_tunnel_accepts_until_its_deadline() -> anyhow::Result<()> {
    const LATEST: Duration = Duration::from_secs(3);
    let (bed, mut tunnel) = build("3s")?;
    let address = bed.socket("server", HTTP_PORT)?;
    let told = Instant::now();
    tunnel.signal(Signal::SIGTERM)?;
    tunnel.line(observe::Mark::default(), &["draining connections"])?;
    let mut late = 0;
    // With room for the last one to be answered before the deadline.
    while told.elapsed() < LATEST / 2 {
        bed.call("client", address)?;
        late += u32::from(told.elapsed() > LATEST / 6);
    }
    ensure!(late > 0, "no request long after the signal");
    let (status, _) = tunnel.wait_end()?;
    ensure!(status.success(), "it ended with {status}");
    let took = told.elapsed();
    ensure!(took >= LATEST, "it ended after {took:?}");
    bed.refused("client", address)?;
    Ok(())
}

/// A person who does not want to wait.
pub fn a_second_interrupt_ends_the_drain() -> anyhow::Result<()> {
    let (bed, mut tunnel) = build("60s")?;
    let mut session = bed.session("client", bed.socket("server", ECHO_PORT)?)?;
    tunnel.signal(Signal::SIGINT)?;
    tunnel.line(observe::Mark::default(), &["draining connections"])?;
    // Whoever asks Kubernetes to end it twice does not mean that.
    tunnel.signal(Signal::SIGTERM)?;
    session.echo("still here")?;
    ensure!(tunnel.is_running()?, "SIGTERM ended the drain");
    tunnel.signal(Signal::SIGINT)?;
    let (status, took) = tunnel.wait_end()?;
    ensure!(status.success(), "it ended with {status}");
    ensure!(took < Duration::from_secs(3), "it took {took:?}");
    session.wait_cut()?;
    Ok(())
}

/// The page does what SIGTERM does; asking for it by GET does nothing.
pub fn quitquitquit_drains_too() -> anyhow::Result<()> {
    let (bed, mut tunnel) = build("500ms")?;
    let session = bed.session("client", bed.socket("server", ECHO_PORT)?)?;
    let looked = tunnel.admin("GET", "/quitquitquit")?;
    ensure!(looked.status == 405, "a look at the page: {looked:?}");
    ensure!(tunnel.is_running()?, "a look at the page ended the tunnel");
    let asked = tunnel.admin("POST", "/quitquitquit")?;
    ensure!(asked.status == 200, "it answers {asked:?}");
    let (status, _) = tunnel.wait_end()?;
    ensure!(status.success(), "it ended with {status}");
    // At one of its ends: the other one, on another worker, may see the first cut before its own.
    tunnel.access(observe::Mark::default(), &[("outcome", "shutdown")])?;
    drop(session);
    Ok(())
}
