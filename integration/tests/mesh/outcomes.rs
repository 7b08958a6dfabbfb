//! Every way in which a connection can end, by a real run: each outcome has its log line and its metrics.
//!
//! The tables hold one [`Case`] for each outcome. A case can only stand in a table together with what makes it happen
//! and what it says, and the last scenario compares the tables with the list of outcomes itself.

mod decisions;
mod ends;
mod handshakes;
mod special;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use adit::lab::host;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::Ca;
use adit_integration::harness::scripted::{Manner, Server};
use adit_integration::harness::tunnels::Tunnel;
use adit_mesh::Outcome;
use adit_mesh::constants::HBONE_PORT;
use adit_pki::Credentials;
use anyhow::{Context, ensure};

/// What has to stay open until a case has been looked at.
type Held = Box<dyn Any>;

/// How one outcome comes about, and how it is told.
struct Case {
    outcome: Outcome,
    /// Which tunnel tells it.
    teller: Teller,
    /// In which metric it is counted.
    counted: Counted,
    /// Part of what the log line gives as the reason.
    says: &'static str,
    provoke: fn(&mut Stage) -> anyhow::Result<Held>,
}

/// Which tunnel, about which side of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Teller {
    /// The tunnel of the client's node, about an outbound connection.
    Client,
    /// The tunnel of the server's node, about an inbound one.
    Server,
}

/// Whether the connection had been established.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counted {
    /// No.
    Failed,
    /// Yes.
    Closed,
}

/// Two nodes with a tunnel each, and everybody who is needed.
struct Stage {
    bed: Bed,
    /// Of the client's node, of the server's node.
    tunnels: [Tunnel; 2],
    /// The authority of both.
    ca: Ca,
    /// Scripted peers, as long as the stage lives.
    peers: Vec<Server>,
}

/// Deadlines that a scenario can wait for, and a list of revocations.
const SETTINGS: &[(&str, &str)] = &[
    ("ADIT_CONNECT_TIMEOUT", "1s"),
    ("ADIT_TLS_TIMEOUT", "1s"),
    ("ADIT_HTTP2_TIMEOUT", "1s"),
    ("ADIT_CONNECT_ANSWER_TIMEOUT", "2s"),
    ("ADIT_READY_TIMEOUT", "1s"),
    ("CONNECTION_TERMINATION_DEADLINE", "500ms"),
    ("ENABLE_ORIG_SRC", "true"),
];

impl Stage {
    /// `client` on the first node, `server` on the second, both enrolled, and `plain` beside the server, outside of
    /// the mesh; then what `prepare` adds.
    fn build(prepare: fn(&mut Bed, &Ca) -> anyhow::Result<()>, enrolled: &[&str]) -> anyhow::Result<Self> {
        let mut bed = Bed::new(2)?;
        let ca = Ca::of_the_mesh()?;
        bed.add_pod("client", 0)?;
        bed.add_pod("server", 1)?;
        bed.add_machine("plain", 1)?;
        bed.run_app("plain")?;
        prepare(&mut bed, &ca)?;
        bed.configure()?;
        let crl = host::path("crl.pem");
        if !crl.exists() {
            ca.revoke(&crl, &[])?;
        }
        let crl = crl.display().to_string();
        let settings: Vec<_> = SETTINGS
            .iter()
            .copied()
            .chain([("CRL_PATH", crl.as_str())])
            .collect();
        let tunnels = [bed.start_tunnel(0, &settings)?, bed.start_tunnel(1, &settings)?];
        bed.enrol(&["client", "server"])?;
        bed.enrol(enrolled)?;
        Ok(Self {
            bed,
            tunnels,
            ca,
            peers: Vec::new(),
        })
    }

    /// Puts a scripted peer on the HBONE port of a pod.
    fn script(&mut self, pod: &str, credentials: Arc<Credentials>, manner: Manner) -> anyhow::Result<()> {
        let server = Server::start(self.bed.namespace(pod)?, HBONE_PORT, credentials, manner)?;
        self.peers.push(server);
        Ok(())
    }

    fn tunnel(&self, teller: Teller) -> &Tunnel {
        match teller {
            Teller::Client => &self.tunnels[0],
            Teller::Server => &self.tunnels[1],
        }
    }

    /// Makes the case happen, and looks for its line and its counts.
    fn play(&mut self, case: &Case) -> anyhow::Result<()> {
        let facts = case.outcome.facts();
        let name = case.outcome.name();
        let (direction, reporter) = match case.teller {
            Teller::Client => ("outbound", "source"),
            Teller::Server => ("inbound", "destination"),
        };
        let mark = self.tunnel(case.teller).mark()?;
        let before = self.tunnel(case.teller).metrics()?;
        let _held = (case.provoke)(self).with_context(|| format!("making {name} happen"))?;
        let tunnel = self.tunnel(case.teller);
        let line = tunnel.access(mark, &[("outcome", &name), ("direction", direction)])?;
        ensure!(
            line["response_flags"] == facts.response_flags,
            "{name}: other flags: {line}"
        );
        let error = line["error"].as_str();
        if case.outcome.is_success() {
            ensure!(error.is_none(), "{name}: an error in {line}");
        } else {
            ensure!(line["level"] == "error", "{name}: not logged as an error: {line}");
            let told = error.with_context(|| format!("{name}: no reason in {line}"))?;
            ensure!(
                told.contains(case.says),
                "{name}: the reason does not say {:?}: {line}",
                case.says
            );
        }
        let labels = [("response_flags", facts.response_flags), ("reporter", reporter)];
        let (series, refused) = match case.counted {
            Counted::Failed => ("istio_tcp_connections_failed_total", true),
            Counted::Closed => ("istio_tcp_connections_closed_total", false),
        };
        tunnel.wait_metric(series, &labels, before.sum(series, &labels) + 1.0)?;
        if refused {
            let series = "adit_refused_connections_total";
            let labels = [("outcome", name.as_str()), ("direction", direction)];
            tunnel.wait_metric(series, &labels, before.sum(series, &labels) + 1.0)?;
        }
        Ok(())
    }

    fn play_all(mut self, cases: &[Case]) -> anyhow::Result<()> {
        cases.iter().try_for_each(|case| self.play(case))
    }
}

/// Outcomes that the configuration decides.
pub fn decisions_are_logged_and_counted() -> anyhow::Result<()> {
    Stage::build(decisions::prepare, &["stranger"])?.play_all(decisions::CASES)
}

/// Outcomes of TLS, HTTP/2 and CONNECT with a peer.
pub fn handshakes_that_fail_are_logged_and_counted() -> anyhow::Result<()> {
    let mut stage = Stage::build(handshakes::prepare, &[])?;
    handshakes::script(&mut stage)?;
    stage.play_all(handshakes::CASES)
}

/// Outcomes of policies, of the application, of clients that leave and of pods that go.
pub fn ends_are_logged_and_counted() -> anyhow::Result<()> {
    Stage::build(ends::prepare, ends::ENROLLED)?.play_all(ends::CASES)
}

/// Without a certificate.
pub fn a_connection_without_a_certificate_is_logged_and_counted() -> anyhow::Result<()> {
    special::no_certificate()
}

/// Without a configuration.
pub fn a_connection_before_the_configuration_is_logged_and_counted() -> anyhow::Result<()> {
    special::not_ready()
}

/// The tables are complete, and no outcome stands in them twice.
pub fn every_outcome_has_its_case() -> anyhow::Result<()> {
    let tables = [decisions::CASES, handshakes::CASES, ends::CASES];
    let of_tables = tables.into_iter().flatten().map(|case| case.outcome);
    let all: Vec<_> = of_tables.chain(special::OUTCOMES).collect();
    let reached: BTreeSet<_> = all.iter().copied().collect();
    let missing: Vec<_> = Outcome::ALL
        .iter()
        .filter(|outcome| !reached.contains(outcome))
        .collect();
    ensure!(missing.is_empty(), "no scenario reaches {missing:?}");
    ensure!(
        all.len() == reached.len(),
        "an outcome stands in the tables twice: {all:?}"
    );
    Ok(())
}
