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

/// Replaced three times under load: no new connection fails, old ones live on until the deadline, peers are told to go.
pub fn a_tunnel_is_replaced_under_load() -> anyhow::Result<()> {
    const DEADLINE: Duration = Duration::from_secs(2);
    let (mut bed, mut old) = build("2s")?;
    let (echo, http) = (bed.socket("server", ECHO_PORT)?, bed.socket("server", HTTP_PORT)?);
    let traffic = Traffic::start(bed.namespace("client")?, http, 4)?;
    for _ in 0..3 {
        traffic.wait_answers(50)?;
        let mut session = bed.session("client", echo)?;
        let peer = Client::connect(
            bed.namespace("plain")?,
            bed.socket("server", HBONE_PORT)?,
            &*Ca::of_the_mesh()?.peer(&spiffe("client"))?,
            &spiffe("server"),
        )??;
        let (mut stream, _) = peer.open(&echo.to_string()).map_err(failure)?;
        let new = bed.start_tunnel(0, &[("CONNECTION_TERMINATION_DEADLINE", "2s")])?;
        let opened = |tunnel: &Tunnel| {
            anyhow::Ok(
                tunnel
                    .metrics()?
                    .sum("istio_tcp_connections_opened_total", &[("reporter", "source")]),
            )
        };
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
        let so_far = told.elapsed();
        session
            .echo("and still")
            .with_context(|| format!("{so_far:?} after the signal"))?;
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
            old.text()?
        );
        ensure!(
            told.elapsed() < 3 * DEADLINE,
            "it took {:?} to end",
            told.elapsed()
        );
        old.access(
            observe::Mark::default(),
            &[("outcome", "shutdown"), ("response_flags", "SHUTDOWN")],
        )?;
        old = new;
    }
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    Ok(())
}

/// Nobody takes over: whatever would not be accepted would be refused.
pub fn without_a_successor_a_tunnel_accepts_until_its_deadline() -> anyhow::Result<()> {
    const DEADLINE: Duration = Duration::from_secs(3);
    let (bed, mut tunnel) = build("3s")?;
    let address = bed.socket("server", HTTP_PORT)?;
    let told = Instant::now();
    tunnel.signal(Signal::SIGTERM)?;
    tunnel.line(observe::Mark::default(), &["draining connections"])?;
    let mut late = 0;
    // With room for the last one to be answered before the deadline.
    while told.elapsed() < DEADLINE / 2 {
        bed.call("client", address)?;
        late += u32::from(told.elapsed() > DEADLINE / 6);
    }
    ensure!(late > 0, "no request long after the signal");
    let (status, _) = tunnel.wait_end()?;
    ensure!(status.success(), "it ended with {status}");
    let took = told.elapsed();
    ensure!(took >= DEADLINE, "it ended after {took:?}");
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
    tunnel.access(
        observe::Mark::default(),
        &[("outcome", "shutdown"), ("direction", "outbound")],
    )?;
    drop(session);
    Ok(())
}
