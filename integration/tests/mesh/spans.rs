//! Spans of connections: real tunnels, and a real receiver of OTLP in a pod of the bed.

use adit::lab::apps::HTTP_PORT;
use adit_integration::harness::bed::{Bed, NAMESPACE};
use adit_integration::harness::collector::{Collector, Told};
use adit_integration::harness::credentials::spiffe;
use adit_integration::harness::plain;
use adit_integration::harness::tunnels::Tunnel;
use adit_integration::harness::watch::{CLOSED, Watch};
use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::json;

/// OTLP's port for gRPC.
const PORT: u16 = 4317;
/// The virtual address of the service.
const SERVICE: &str = "10.96.0.10";
const DROPPED: &str = "adit_spans_dropped_total";
const EXPORTED: &str = "adit_spans_exported_total";

/// `client` on the first node, `server` behind a service on the second, `plain` outside of the mesh, and a pod where
/// the collector is to be.
struct Stage {
    bed: Bed,
    /// Of the client's node, of the server's node.
    tunnels: [Tunnel; 2],
}

impl Stage {
    /// `settings` are those of the tunnels beside the endpoint.
    fn build(settings: [&[(&str, &str)]; 2], prepare: fn(&mut Bed)) -> anyhow::Result<Self> {
        let mut bed = Bed::new(2)?;
        bed.add_pod("client", 0)?;
        bed.add_pod("server", 1)?;
        bed.add_machine("plain", 0)?;
        bed.add_machine("collector", 0)?;
        bed.mesh
            .add_service("ledger", NAMESPACE, SERVICE, json!({ "80": HTTP_PORT }));
        bed.mesh
            .serves("server", "ledger", NAMESPACE, json!({ "80": HTTP_PORT }));
        prepare(&mut bed);
        bed.configure()?;
        let endpoint = format!("http://{}", bed.socket("collector", PORT)?);
        let mut start = |node, own: &[(&str, &str)]| {
            let common = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
                ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ];
            let all: Vec<_> = common.iter().chain(own).copied().collect();
            bed.start_tunnel(node, &all)
        };
        let tunnels = [start(0, settings[0])?, start(1, settings[1])?];
        bed.enrol(&["client", "server"])?;
        Ok(Self { bed, tunnels })
    }

    fn collector(&self) -> anyhow::Result<Collector> {
        let address = self.bed.socket("collector", PORT)?;
        Collector::start(self.bed.namespace("collector")?, address)
    }

    /// One request to the service.
    fn call(&self) -> anyhow::Result<()> {
        let answered = self.bed.call("client", format!("{SERVICE}:80").parse()?)?;
        ensure!(answered == "server", "{answered} answered");
        Ok(())
    }
}

fn is_child(told: &Told, parent: &Told) -> anyhow::Result<()> {
    ensure!(
        told.trace() == parent.trace() && told.span.parent_span_id == parent.span.span_id,
        "not parent and child: {parent:#?} {told:#?}"
    );
    ensure!(
        parent.span.kind() == SpanKind::Client && told.span.kind() == SpanKind::Server,
        "other kinds: {parent:#?} {told:#?}"
    );
    ensure!(parent.span.parent_span_id.is_empty(), "not the root: {parent:#?}");
    Ok(())
}

fn has(told: &Told, attributes: &[(&str, &str)]) -> anyhow::Result<()> {
    for (name, value) in attributes {
        ensure!(
            told.attribute(name) == *value,
            "{name} is not {value:?} in {told:#?}"
        );
    }
    Ok(())
}

/// Parent and child, and what they say is what the log lines say.
pub fn a_connection_has_a_span_at_each_end() -> anyhow::Result<()> {
    let named: &[_] = &[
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let stage = Stage::build([named, &[]], |_| ())?;
    let collector = stage.collector()?;
    let [from, to] = [Watch::begin(&stage.tunnels[0])?, Watch::begin(&stage.tunnels[1])?];
    stage.call()?;
    let lines = [from.completed("outbound", &[])?, to.completed("inbound", &[])?];
    let trace = lines[0]["trace_id"].as_str().context("no trace in the log")?;
    let client = collector.wait(&[("network.peer.port", "15008")])?;
    let server = collector.wait(&[
        ("source.address", client.attribute("source.address")),
        ("adit.tunnel.reused", ""),
    ])?;
    is_child(&server, &client)?;
    ensure!(
        client.trace() == trace && lines[1]["trace_id"] == trace,
        "the log has another trace: {lines:?}"
    );
    let (ours, theirs) = (spiffe("client"), spiffe("server"));
    for told in [&client, &server] {
        has(
            told,
            &[
                ("adit.outcome", "completed"),
                ("adit.response_flags", "-"),
                ("error.type", ""),
                ("adit.source.identity", &ours),
                ("adit.destination.identity", &theirs),
                ("adit.source.workload", "client"),
                ("adit.destination.workload", "server"),
                ("adit.destination.hostname", "ledger.bank.svc.cluster.local"),
                (
                    "destination.address",
                    &stage.bed.socket("server", HTTP_PORT)?.ip().to_string(),
                ),
                ("destination.port", &HTTP_PORT.to_string()),
                ("source.address", &stage.bed.socket("client", 0)?.ip().to_string()),
                ("adit.request_bytes", &lines[0]["bytes_sent"].to_string()),
                ("adit.response_bytes", &lines[0]["bytes_recv"].to_string()),
                ("tls.established", "true"),
            ],
        )?;
        ensure!(told.span.name == "tcp ledger.bank.svc.cluster.local", "{told:#?}");
        ensure!(told.span.status.is_none(), "{told:#?}");
        let times = told.span.events.iter().map(|event| event.time_unix_nano);
        let within = told.span.start_time_unix_nano..=told.span.end_time_unix_nano;
        ensure!(times.clone().all(|time| within.contains(&time)), "{told:#?}");
        ensure!(told.resource["service.name"] == "adit-tunnel" && told.resource["k8s.cluster.name"] == "lab");
    }
    ensure!(client.attribute("adit.request_bytes") != "0" && client.attribute("adit.response_bytes") != "0");
    ensure!(
        client.resource["deployment.environment.name"] == "lab",
        "{client:#?}"
    );
    ensure!(client.resource["k8s.node.name"] != server.resource["k8s.node.name"]);
    has(
        &client,
        &[
            ("adit.tunnel.reused", "false"),
            ("service.peer.namespace", NAMESPACE),
        ],
    )?;
    let phases = [
        "routed",
        "tcp_connected",
        "tls_established",
        "connect_answered",
        "first_byte",
    ];
    let phases = phases.map(|phase| format!("adit.{phase}"));
    ensure!(client.events() == phases, "{client:#?}");
    let phases = [
        "routed",
        "authorized",
        "tcp_connected",
        "connect_answered",
        "first_byte",
    ];
    let phases = phases.map(|phase| format!("adit.{phase}"));
    ensure!(server.events() == phases, "{server:#?}");
    // The next one finds the tunnel.
    stage.call()?;
    let next = collector.wait(&[("adit.tunnel.reused", "true")])?;
    ensure!(
        next.events() == ["adit.routed", "adit.connect_answered", "adit.first_byte"],
        "{next:#?}"
    );
    ensure!(next.trace() != client.trace());
    stage.tunnels[0].wait_metric(EXPORTED, &[], 2.0)
}

/// The destination's span names the policy, the source's what it was answered.
pub fn a_refused_connection_is_an_error_at_each_end() -> anyhow::Result<()> {
    let stage = Stage::build([&[], &[]], |bed| {
        bed.mesh.add_policy(
            "nobody",
            NAMESPACE,
            "Deny",
            json!({ "namespaces": [{ "Exact": NAMESPACE }] }),
        );
        bed.mesh.workload("server")["authorizationPolicies"] = json!(["bank/nobody"]);
    })?;
    let collector = stage.collector()?;
    stage.bed.refused("client", format!("{SERVICE}:80").parse()?)?;
    let client = collector.wait(&[("adit.outcome", "peer_denied")])?;
    let server = collector.wait(&[("adit.outcome", "policy_denied")])?;
    is_child(&server, &client)?;
    for (told, words) in [(&client, "401"), (&server, "bank/nobody")] {
        let status = told.span.status.as_ref().context("no status")?;
        ensure!(
            status.code() == StatusCode::Error && status.message.contains(words),
            "{told:#?}"
        );
        has(
            told,
            &[
                ("error.type", told.attribute("adit.outcome")),
                ("adit.response_bytes", "0"),
            ],
        )?;
    }
    ensure!(
        server.attribute("adit.policy").contains("bank/nobody"),
        "{server:#?}"
    );
    has(
        &server,
        &[
            ("adit.source.identity", &spiffe("client")),
            ("adit.response_flags", "DENY"),
        ],
    )?;
    ensure!(
        server.events() == ["adit.routed", "adit.authorized"],
        "{server:#?}"
    );
    Ok(())
}

/// The source decides, and the destination follows: though it would tell of everything that begins at it.
pub fn a_connection_that_is_not_sampled_is_told_nowhere() -> anyhow::Result<()> {
    let mut stage = Stage::build(
        [&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")], &[]],
        |_| (),
    )?;
    let collector = stage.collector()?;
    let watch = Watch::begin(&stage.tunnels[1])?;
    stage.call()?;
    let line = watch.completed("inbound", &[("src.identity", &spiffe("client"))])?;
    ensure!(line["trace_id"].is_string(), "no trace in {line}");
    // A client without a tunnel begins a trace at the destination, after the other one has ended there.
    stage.bed.call("plain", stage.bed.socket("server", HTTP_PORT)?)?;
    let told = collector.wait(&[
        ("tls.established", "false"),
        ("adit.destination.workload", "server"),
    ])?;
    ensure!(
        told.span.parent_span_id.is_empty() && told.span.kind() == SpanKind::Server,
        "{told:#?}"
    );
    // What a tunnel has to tell it tells before it ends.
    for tunnel in &mut stage.tunnels {
        tunnel.signal(Signal::SIGTERM)?;
        tunnel.wait_end()?;
    }
    let all = collector.spans();
    ensure!(all.len() == 1, "{all:#?}");
    Ok(())
}

/// Its port accepts and nothing comes back. Traffic goes on, what does not fit is counted, and when a collector is
/// there at last, the next spans arrive.
pub fn a_collector_that_says_nothing_costs_spans_and_nothing_else() -> anyhow::Result<()> {
    const CALLS: u32 = 30;
    const ROOM: f64 = 8.0;
    let settings: &[_] = &[
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "600000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
    ];
    let stage = Stage::build([settings, settings], |_| ())?;
    let silent = plain::listen(stage.bed.namespace("collector")?, PORT)?;
    let watches = [Watch::begin(&stage.tunnels[0])?, Watch::begin(&stage.tunnels[1])?];
    // The first is in the exporter's hand once it has connected.
    stage.call()?;
    let hanging = [plain::accept(&silent)?, plain::accept(&silent)?];
    for _ in 1..CALLS {
        stage.call()?;
    }
    let mut kept = 0.0;
    for (watch, tunnel) in watches.iter().zip(&stage.tunnels) {
        watch.risen(CLOSED, &[("response_flags", "-")], CALLS)?;
        // Beside the queue, one is in the exporter's hand, if it was quick enough to take it.
        let dropped = f64::from(CALLS) - (ROOM + 1.0);
        tunnel.wait_metric(DROPPED, &[("reason", "queue_full")], dropped)?;
        kept += f64::from(CALLS) - tunnel.metrics()?.sum(DROPPED, &[]);
    }
    ensure!(
        (2.0 * ROOM..=2.0 * (ROOM + 1.0)).contains(&kept),
        "{kept} spans wait, where there is room for {ROOM} at each end"
    );
    drop((silent, hanging));
    let collector = stage.collector()?;
    for tunnel in &stage.tunnels {
        tunnel.wait_metric(EXPORTED, &[], ROOM)?;
    }
    let told = adit::lab::observe::eventually("the spans that were kept", || {
        let told = collector.spans().len();
        Ok((told as f64 >= kept).then_some(told))
    })?;
    ensure!(told as f64 == kept, "{told} spans arrived, and {kept} were kept");
    Ok(())
}
