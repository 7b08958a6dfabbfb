//! Steps about who may do what.

use anyhow::{Context, bail, ensure};
use std::net::SocketAddr;

use super::bank::{ANALYTICS_POLICY, Bank, INTRUDER, LEDGER_POLICY, STRICT_POLICY, identity};
use crate::lab::apps::{ECHO_PORT, HTTP_PORT};
use crate::lab::http::Failure;
use crate::lab::observe::{self, Mark, field};
use crate::lab::screen::Screen;
use crate::lab::session::Session;
use crate::lab::world::Tunnel;

const OUTBOUND: &str = "direction=\"outbound\"";
const INBOUND: &str = "direction=\"inbound\"";

pub(super) fn identities(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("payments calls ledger-2; the access logs of both nodes tell whom each side saw.");
    let (payments, ledger) = (bank.world.pod("payments")?, bank.world.pod("ledger-2")?);
    let (here, there) = (bank.tunnel_of(payments)?, bank.tunnel_of(ledger)?);
    let (mark_here, mark_there) = (mark(here)?, mark(there)?);
    bank.call("payments", ledger.socket(HTTP_PORT))?;
    let sent = line(
        here,
        mark_here,
        &[OUTBOUND, "connection complete", "dst.workload=\"ledger-2\""],
    )?;
    let received = line(
        there,
        mark_there,
        &[INBOUND, "connection complete", "dst.workload=\"ledger-2\""],
    )?;
    let server = field(&sent, "dst.identity").context("the client's log names no server identity")?;
    let client = field(&received, "src.identity").context("the server's log names no client identity")?;
    screen.shows("node-1 saw", &server);
    screen.shows("node-2 saw", &client);
    ensure!(server == identity("ledger"), "the server is {server}");
    ensure!(client == identity("payments"), "the client is {client}");
    Ok("both certificates were verified before a byte of the application was sent".to_owned())
}

pub(super) fn authorization(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("ledger lets payments in, and nobody else; customer-analytics lets web in, and nobody else.");
    let ledger = bank.world.pod("ledger-2")?.socket(HTTP_PORT);
    let answer = bank.call("payments", ledger)?;
    screen.shows("payments", format_args!("is answered by {}", answer.app));
    refusal(bank, screen, "payments", "customer-analytics", ANALYTICS_POLICY)?;
    refusal(bank, screen, "customer-analytics", "ledger-2", LEDGER_POLICY)?;
    let tunnel = bank.tunnel_of(bank.world.pod("ledger-2")?)?;
    ensure!(
        explain(tunnel, "payments", ledger)?.contains("verdict      allowed by policy"),
        "/explain does not say that payments is allowed"
    );
    Ok("each refusal names the policy and how near it came to being allowed".to_owned())
}

/// Shows that `to` refuses `from` because of `policy`, and that the log and `/explain` say so.
fn refusal(bank: &Bank, screen: &Screen, from: &str, to: &str, policy: &str) -> anyhow::Result<()> {
    let called = bank.world.pod(to)?;
    let (tunnel, address) = (bank.tunnel_of(called)?, called.socket(HTTP_PORT));
    let before = mark(tunnel)?;
    let seen = refused(bank, from, address)?;
    screen.shows("a call", format_args!("{from} calls {to}, and sees: {seen}"));
    let source = format!("src.workload=\"{from}\"");
    let logged = line(tunnel, before, &["connection failed", INBOUND, &source])?;
    let reason = field(&logged, "error").context("the log line gives no reason")?;
    screen.shows("the log says", &reason);
    let explained = explain(tunnel, from, address)?;
    let mut label = "/explain";
    for line in explained.lines() {
        screen.shows(label, line.trim_end());
        label = "";
    }
    ensure!(
        reason.contains(policy),
        "the log does not name the policy {policy}"
    );
    ensure!(
        explained.contains(policy),
        "/explain does not name the policy {policy}"
    );
    Ok(())
}

pub(super) fn edit(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("payments holds a connection to ledger-2, while payments is taken out of the policy.");
    let ledger = bank.world.pod("ledger-2")?;
    let tunnel = bank.tunnel_of(ledger)?;
    let before = mark(tunnel)?;
    let mut session = Session::open(bank.world.pod("payments")?.namespace(), ledger.socket(ECHO_PORT))?;
    for number in 0..3 {
        session.echo(&format!("transfer {number}"))?;
    }
    screen.shows("before", "3 lines went there and came back");
    bank.configure(&["web"])?;
    let cut = session.wait_cut()?;
    screen.shows("after", format_args!("cut {} ms after the edit", cut.as_millis()));
    let words = ["src.workload=\"payments\"", INBOUND, "error="];
    let logged = line(tunnel, before, &words)?;
    screen.shows("the log says", field(&logged, "error").unwrap_or_default());
    let seen = refused(bank, "payments", ledger.socket(HTTP_PORT))?;
    screen.shows("a new call", format_args!("sees: {seen}"));

    bank.configure(&["payments"])?;
    for ledger in ["ledger-1", "ledger-2"] {
        let address = bank.world.pod(ledger)?.socket(HTTP_PORT);
        observe::eventually(format_args!("payments may call {ledger} again"), || {
            Ok(bank
                .attempt("payments", address)?
                .ok()
                .filter(|response| response.status == 200))
        })?;
    }
    screen.shows("restored", "payments is answered again");
    Ok("policies hold for connections that live, not only for new ones".to_owned())
}

pub(super) fn outsider(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says(
        "intruder, which is not in the mesh, calls web directly; by default, the mesh refuses plaintext.",
    );
    let web = bank.world.pod("web")?;
    let tunnel = bank.tunnel_of(web)?;
    let labels = [("outcome", "policy_denied")];
    let count =
        |tunnel: &Tunnel| anyhow::Ok(tunnel.metrics()?.sum("adit_refused_connections_total", &labels));
    let (before, counted) = (mark(tunnel)?, count(tunnel)?);
    let seen = refused(bank, INTRUDER, web.socket(HTTP_PORT))?;
    screen.shows("intruder", format_args!("sees: {seen}"));
    let source = format!("src.addr={}:", bank.world.pod(INTRUDER)?.address());
    let logged = line(tunnel, before, &["connection failed", &source])?;
    let policy = field(&logged, "policy").context("the log line names no policy")?;
    screen.shows("the log says", field(&logged, "error").unwrap_or_default());
    ensure!(
        policy.contains(STRICT_POLICY),
        "it was refused by {policy}, not by {STRICT_POLICY}"
    );
    ensure!(
        !logged.contains("src.identity"),
        "an outsider was given an identity: {logged}"
    );
    let now = count(tunnel)?;
    screen.shows("counted", format_args!("{counted} refusals before, {now} now"));
    ensure!(now > counted, "the refusal was not counted");
    Ok("who has no identity is nobody".to_owned())
}

/// Calls what must not answer, and returns what the client saw.
fn refused(bank: &Bank, from: &str, address: SocketAddr) -> anyhow::Result<Failure> {
    match bank.attempt(from, address)? {
        Ok(response) => bail!(
            "{from} was not refused: it got {} {}",
            response.status,
            response.body.trim()
        ),
        Err(Failure::Connect(std::io::ErrorKind::TimedOut)) => {
            bail!("{from} was not refused but ignored")
        }
        Err(failure) => Ok(failure),
    }
}

fn explain(tunnel: &Tunnel, source: &str, destination: SocketAddr) -> anyhow::Result<String> {
    let question = format!("/explain?source=bank/{source}&destination={destination}&direction=inbound");
    let response = tunnel.admin("GET", &question)?;
    ensure!(
        response.status == 200,
        "/explain answers {}: {}",
        response.status,
        response.body
    );
    Ok(response.body)
}

fn mark(tunnel: &Tunnel) -> anyhow::Result<Mark> {
    observe::mark(tunnel.process().log())
}

fn line(tunnel: &Tunnel, after: Mark, words: &[&str]) -> anyhow::Result<String> {
    observe::line(tunnel.process().log(), after, words)
}
