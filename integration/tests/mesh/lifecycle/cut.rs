//! Whose connections a tunnel cuts that is replaced: a line for each, with who and whom and why, and a line for all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::observe::{self, Mark};
use adit::lab::session::Session;
use adit::lab::traffic::Traffic;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::tunnels::Tunnel;
use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

/// How long connections of a tunnel that is replaced may go on.
const DEADLINE: Duration = Duration::from_secs(3);
const SETTINGS: [(&str, &str); 1] = [("CONNECTION_TERMINATION_DEADLINE", "3s")];
/// New connections a second meanwhile.
const RATE: u32 = 100;
/// Long streams of each client.
const STREAMS: usize = 2;

/// The tunnel of the clients is replaced under load, then that of the server: long streams are carried on until the
/// deadline, each that was cut is told by the tunnel that cut it, and no new connection fails.
pub fn a_tunnel_that_is_replaced_says_whose_connections_it_cut() -> anyhow::Result<()> {
    let mut bed = Bed::new(2)?;
    let pods = [("client-1", 0), ("client-2", 0), ("caller", 0), ("server", 1)];
    for (pod, node) in pods {
        bed.add_pod(pod, node)?;
    }
    bed.configure()?;
    let mut tunnels = [bed.start_tunnel(0, &SETTINGS)?, bed.start_tunnel(1, &SETTINGS)?];
    bed.enrol(&pods.map(|(pod, _)| pod))?;
    // Not from where the streams come from: two connections of a pod may have the same port and other destinations, and
    // then the redirection has to give one of them another port, which is what the tunnel sees of it.
    let from = [bed.namespace("caller")?];
    let traffic = Traffic::at_rate(&from, bed.socket("server", HTTP_PORT)?, RATE)?;
    for (node, direction) in [(0, "outbound"), (1, "inbound")] {
        let streams = Streams::open(&bed)?;
        let new = bed.start_tunnel(node, &SETTINGS)?;
        let old = std::mem::replace(&mut tunnels[node], new);
        replaced(old, streams, direction, &traffic).with_context(|| format!("the tunnel of node {node}"))?;
    }
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    Ok(())
}

/// Long streams, by the client's address as the log writes it.
struct Streams(Vec<(String, Session)>);

impl Streams {
    fn open(bed: &Bed) -> anyhow::Result<Self> {
        let echo = bed.socket("server", ECHO_PORT)?;
        let mut all = Vec::new();
        for client in ["client-1", "client-2"] {
            for _ in 0..STREAMS {
                let session = bed.session(client, echo)?;
                all.push((session.local()?.to_string(), session));
            }
        }
        Ok(Self(all))
    }

    fn use_all(&mut self) -> anyhow::Result<()> {
        for (client, session) in &mut self.0 {
            session
                .echo("still here")
                .with_context(|| format!("the stream of {client}"))?;
        }
        Ok(())
    }
}

/// Ends the old tunnel, and compares what became of the streams with what it says.
fn replaced(mut old: Tunnel, mut streams: Streams, direction: &str, traffic: &Traffic) -> anyhow::Result<()> {
    let mark = old.mark()?;
    let told = Instant::now();
    old.signal(Signal::SIGTERM)?;
    old.line(mark, &["draining connections"])?;
    while told.elapsed() < DEADLINE * 3 / 4 {
        streams.use_all()?;
        traffic.wait_answers(RATE.into())?;
    }
    let (status, _) = old.wait_end()?;
    ensure!(status.success(), "it ended with {status}\n{}", old.last_words()?);
    let lived = told.elapsed();
    ensure!(lived >= DEADLINE, "it ended {lived:?} after the signal");
    let lines = cut_lines(&old, mark)?;
    let named: BTreeSet<_> = lines
        .iter()
        .filter_map(|line| line["src.addr"].as_str())
        .collect();
    let cut: BTreeSet<_> = streams.0.iter().map(|(client, _)| client.as_str()).collect();
    ensure!(named == cut, "{cut:?} were cut, and the log names {named:?}");
    for line in &lines {
        let expected = [
            ("direction", direction),
            ("response_flags", "SHUTDOWN"),
            ("src.namespace", "bank"),
            ("dst.workload", "server"),
            ("error", "the deadline of the drain has passed"),
        ];
        for (field, value) in expected {
            ensure!(line[field] == value, "{field} is not {value:?} in {line}");
        }
    }
    let summary: Value = serde_json::from_str(&old.line(mark, &["\"drained\""])?)?;
    ensure!(summary["connections_cut"] == cut.len(), "{summary} of {cut:?}");
    for (client, session) in &mut streams.0 {
        session
            .wait_cut()
            .with_context(|| format!("the stream of {client} goes on"))?;
    }
    Ok(())
}

/// What a tunnel that has ended says of connections that it cut.
fn cut_lines(tunnel: &Tunnel, after: Mark) -> anyhow::Result<Vec<Value>> {
    let lines = observe::lines(tunnel.log(), after, &["\"outcome\":\"shutdown\""])?;
    lines
        .iter()
        .map(|line| serde_json::from_str(line).with_context(|| line.clone()))
        .collect()
}
