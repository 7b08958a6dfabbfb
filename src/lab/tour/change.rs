//! Steps in which something changes under traffic: one client after the other, a connection each.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;

use super::bank::{Bank, identity};
use crate::lab::apps::HTTP_PORT;
use crate::lab::http::{self, Failure};
use crate::lab::observe;
use crate::lab::screen::Screen;
use crate::lab::traffic::{Tally, Traffic};
use crate::lab::world::Tunnel;

/// Clients at a time.
const CLIENTS: usize = 2;

/// Requests before, between and after changes.
const ENOUGH: u64 = 100;

pub(super) fn replica(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("payments calls the service ledger without pause; then ledger-2 stops listening.");
    let traffic = start(bank)?;
    observe::eventually("both replicas answer", || {
        Ok((traffic.tally().answered.len() == 2).then_some(()))
    })?;
    traffic.wait_answers(ENOUGH)?;
    let ledger = bank.world.pod("ledger-2")?;
    ledger.app()?.signal(Signal::SIGUSR1)?;
    let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), HTTP_PORT);
    observe::eventually("ledger-2 does not listen any more", || {
        let attempt = http::request(ledger.namespace(), here, "GET", "/");
        Ok(matches!(attempt, Err(Failure::Connect(_))).then_some(()))
    })?;
    // Requests that were under way may still be counted as ledger-2's.
    traffic.wait_answers(u64::try_from(CLIENTS)?)?;
    let before = traffic.tally();
    traffic.wait_answers(ENOUGH)?;
    let all = traffic.stop();
    show(screen, &all);
    no_failures(&all)?;
    let late = answers(&all, "ledger-2") - answers(&before, "ledger-2");
    ensure!(late == 0, "ledger-2 still answered {late} requests");
    bank.start_app("ledger-2")?;
    screen.shows("afterwards", "ledger-2 was started again");
    Ok(format!(
        "{} requests, one connection each, and every one was answered",
        all.answers()
    ))
}

pub(super) fn certificates(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("payments calls ledger without pause, while both get new certificates.");
    let traffic = start(bank)?;
    traffic.wait_answers(ENOUGH)?;
    for (pod, account) in [("payments", "payments"), ("ledger-2", "ledger")] {
        let tunnel = bank.tunnel_of(bank.world.pod(pod)?)?;
        let identity = identity(account);
        let old = serial(tunnel, &identity)?;
        let asked = tunnel.admin("POST", &format!("/certificates/renew?identity={identity}"))?;
        ensure!(asked.status == 200, "renewal is refused: {}", asked.body);
        let new = observe::eventually(format_args!("a new certificate of {identity}"), || {
            Ok(Some(serial(tunnel, &identity)?).filter(|serial| *serial != old))
        })?;
        screen.shows(
            account,
            format_args!("serial {} became {}", shortened(&old), shortened(&new)),
        );
    }
    traffic.wait_answers(ENOUGH)?;
    let all = traffic.stop();
    show(screen, &all);
    no_failures(&all)?;
    Ok(format!("{} requests, and every one was answered", all.answers()))
}

pub(super) fn tunnel(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("payments calls ledger without pause, while the tunnel of node-1 is replaced.");
    let traffic = start(bank)?;
    traffic.wait_answers(ENOUGH)?;
    let old = bank.world.node(0)?.tunnel()?.process().id();
    bank.world.start_tunnel(0)?;
    let new = bank.world.node(0)?.tunnel()?.process().id();
    screen.shows("both run", format_args!("process {old}, and its successor {new}"));
    traffic.wait_answers(ENOUGH)?;
    let status = bank.world.retire_tunnel(0)?;
    screen.shows("the old one", format_args!("has drained and ended: {status}"));
    ensure!(status.success(), "the old tunnel ended with {status}");
    traffic.wait_answers(ENOUGH)?;
    let all = traffic.stop();
    show(screen, &all);
    no_failures(&all)?;
    let opened = bank
        .world
        .node(0)?
        .tunnel()?
        .metrics()?
        .sum("istio_tcp_connections_opened_total", &[("reporter", "source")]);
    ensure!(opened > 0.0, "the new tunnel has carried nothing");
    Ok(format!(
        "{} requests, {opened} of them through the new tunnel, and every one was answered",
        all.answers()
    ))
}

fn start(bank: &Bank) -> anyhow::Result<Traffic> {
    let namespace = bank.world.pod("payments")?.namespace();
    Traffic::start(namespace, bank.ledger(HTTP_PORT), CLIENTS)
}

fn answers(tally: &Tally, app: &str) -> u64 {
    tally.answered.get(app).copied().unwrap_or_default()
}

fn show(screen: &Screen, tally: &Tally) {
    let answered = tally.answered.iter().map(|(app, count)| format!("{app} {count}"));
    let answered: Vec<_> = answered.collect();
    screen.shows("answered by", answered.join(", "));
}

fn no_failures(tally: &Tally) -> anyhow::Result<()> {
    if tally.failures() > 0 {
        bail!(
            "{} of {} requests failed: {:?}",
            tally.failures(),
            tally.answers() + tally.failures(),
            tally.failed
        );
    }
    Ok(())
}

/// The serial number of the certificate that is in use.
fn serial(tunnel: &Tunnel, identity: &str) -> anyhow::Result<String> {
    let response = tunnel.admin("GET", "/config_dump")?;
    let dump: serde_json::Value = serde_json::from_str(&response.body)?;
    dump["certificates"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|certificate| certificate["identity"] == identity)
        .and_then(|certificate| certificate["certChain"][0]["serialNumber"].as_str())
        .map(str::to_owned)
        .with_context(|| format!("config_dump shows no certificate of {identity}"))
}

/// The first digits of a serial number: enough to tell two apart.
fn shortened(serial: &str) -> String {
    serial.chars().take(12).collect()
}
