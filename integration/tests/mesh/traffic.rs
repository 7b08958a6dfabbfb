//! Bytes from pod to pod: who talks to whom, what is on the wire meanwhile, and what is told afterwards.

use std::net::{IpAddr, SocketAddr};

use adit::lab::apps::{Answer, HTTP_PORT};
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::spiffe;
use adit_integration::harness::pair::Pair;
use adit_integration::harness::watch::{CLOSED, FAILED, OPENED, Watch, expect};
use adit_mesh::constants::HBONE_PORT;
use adit_net::Namespace;
use adit_net::capture::Capture;
use anyhow::{Context, ensure};
use serde_json::json;

/// What must not be read on the wire.
const SECRET: &str = "account-4711-balance";

/// Labels of connections that were encrypted, by who reports.
const SOURCE: &[(&str, &str)] = &[
    ("reporter", "source"),
    ("connection_security_policy", "mutual_tls"),
];
const DESTINATION: &[(&str, &str)] = &[
    ("reporter", "destination"),
    ("connection_security_policy", "mutual_tls"),
];

/// Asks for the secret, and returns what the application says about the call.
fn ask(bed: &Bed, from: &str, to: SocketAddr) -> anyhow::Result<Answer> {
    let target = format!("/{SECRET}");
    let response = adit::lab::http::request(bed.namespace(from)?, to, "GET", &target)?;
    ensure!(response.status == 200, "{response:?}");
    let answer: Answer = serde_json::from_str(&response.body)?;
    ensure!(answer.target == target, "another target: {answer:?}");
    Ok(answer)
}

/// What passes a device while `from` asks `to`.
fn seen(on: (&Namespace, &str), bed: &Bed, from: &str, to: SocketAddr) -> anyhow::Result<(Answer, bool)> {
    let mut capture = Capture::open(on.0, on.1)?;
    let answer = ask(bed, from, to)?;
    let captured = capture.take()?;
    ensure!(
        captured.dropped == 0,
        "{} packets were not captured",
        captured.dropped
    );
    ensure!(
        captured.packets.len() > 5,
        "only {} packets: the wrong device?",
        captured.packets.len()
    );
    Ok((answer, captured.contains(SECRET.as_bytes())))
}

/// Both ends tell of the connection, with the identities that they proved.
fn told(from: &Watch<'_>, to: &Watch<'_>) -> anyhow::Result<()> {
    let identities = [
        ("src.identity", spiffe("client")),
        ("dst.identity", spiffe("server")),
    ];
    let identities = identities.each_ref().map(|(name, value)| (*name, value.as_str()));
    let pods = [("src.workload", "client"), ("dst.workload", "server")];
    for (watch, direction, labels) in [(from, "outbound", SOURCE), (to, "inbound", DESTINATION)] {
        let line = watch.completed(direction, &pods)?;
        expect(&line, &identities)?;
        let bytes = ["bytes_sent", "bytes_recv"].map(|name| line[name].as_u64().unwrap_or_default());
        ensure!(
            bytes.iter().all(|count| *count > 20),
            "bytes are missing in {line}"
        );
        watch.risen(OPENED, labels, 1)?;
        watch.risen(CLOSED, labels, 1)?;
        ensure!(watch.rise(FAILED, &[])? == 0.0, "a connection counts as failed");
    }
    Ok(())
}

fn is_client(bed: &Bed, answer: &Answer) -> anyhow::Result<()> {
    let client = bed.world.pod("client")?.address();
    ensure!(
        answer.peer.ip() == client,
        "the application sees {}, not its client {client}",
        answer.peer
    );
    Ok(())
}

/// Two pods of one node: encrypted on the cable of the server, and the server sees its client's address.
pub fn pods_of_one_node_talk_encrypted() -> anyhow::Result<()> {
    let Pair { bed, first, .. } = Pair::build(&[("client", 0), ("server", 0)], |_| Ok(()))?;
    let watch = Watch::begin(&first)?;
    let node = &bed.world.node(0)?.namespace;
    let cable = &bed.world.pod("server")?.attachment.cable;
    let (answer, readable) = seen((node, cable), &bed, "client", bed.socket("server", HTTP_PORT)?)?;
    ensure!(!readable, "the cable between two pods carries plaintext");
    is_client(&bed, &answer)?;
    told(&watch, &watch)
}

/// Two pods of two nodes: encrypted between the nodes, and the server sees its client's address.
pub fn pods_of_two_nodes_talk_encrypted() -> anyhow::Result<()> {
    let pair = Pair::build(&[("client", 0), ("server", 1)], |bed| {
        bed.add_machine("outside", 0)?;
        bed.add_machine("plain", 1)?;
        bed.run_app("plain")
    })?;
    let Pair { bed, first, second } = &pair;
    let wire = (&bed.world.node(0)?.namespace, "eth0");
    let (_, readable) = seen(wire, bed, "outside", bed.socket("plain", HTTP_PORT)?)?;
    ensure!(
        readable,
        "plaintext is not seen on the wire, so its absence proves nothing"
    );
    let (from, to) = (Watch::begin(first)?, Watch::begin(second)?);
    let server = bed.socket("server", HTTP_PORT)?;
    let (answer, readable) = seen(wire, bed, "client", server)?;
    ensure!(!readable, "the wire between the nodes carries plaintext");
    is_client(bed, &answer)?;
    told(&from, &to)?;
    let line = from.completed("outbound", &[])?;
    let tunnel = SocketAddr::new(server.ip(), HBONE_PORT);
    expect(
        &line,
        &[
            ("dst.addr", &tunnel.to_string()),
            ("dst.hbone_addr", &server.to_string()),
        ],
    )?;
    to.risen("istio_tcp_sent_bytes_total", DESTINATION, 20)?;
    to.risen("istio_tcp_received_bytes_total", DESTINATION, 20)
}

/// A pod of the mesh calls one that is known and has no tunnel, and one that is not known: both in plaintext.
pub fn a_captured_client_reaches_servers_outside_of_the_mesh() -> anyhow::Result<()> {
    let pair = Pair::build(&[("client", 0)], |bed| {
        bed.add_pod("legacy", 1)?["protocol"] = json!("TCP");
        bed.add_machine("stranger", 1)?;
        bed.run_app("stranger")
    })?;
    let watch = Watch::begin(&pair.first)?;
    for (server, workload) in [("legacy", json!("legacy")), ("stranger", json!(null))] {
        let address = pair.bed.socket(server, HTTP_PORT)?;
        let answer = ask(&pair.bed, "client", address)?;
        ensure!(answer.app == server);
        is_client(&pair.bed, &answer)?;
        let called = [("src.workload", "client"), ("dst.addr", &address.to_string())];
        let line = watch.completed("outbound", &called)?;
        ensure!(line["dst.workload"] == workload, "another destination in {line}");
        ensure!(
            line["dst.identity"].is_null() && line["src.identity"].is_null(),
            "nobody proved anything: {line}"
        );
    }
    let labels = [("reporter", "source"), ("connection_security_policy", "unknown")];
    watch.risen(CLOSED, &labels, 2)
}

/// A machine outside of the mesh calls a pod of the mesh, which no policy forbids.
pub fn an_uncaptured_client_reaches_a_pod_of_the_mesh() -> anyhow::Result<()> {
    let pair = Pair::build(&[("server", 1)], |bed| bed.add_machine("client", 0))?;
    let watch = Watch::begin(&pair.second)?;
    let answer = ask(&pair.bed, "client", pair.bed.socket("server", HTTP_PORT)?)?;
    is_client(&pair.bed, &answer)?;
    let line = watch.completed("inbound", &[("dst.workload", "server")])?;
    ensure!(
        line["src.identity"].is_null(),
        "an identity that nobody proved: {line}"
    );
    let source: SocketAddr = line["src.addr"].as_str().context("no source")?.parse()?;
    ensure!(
        source.ip() == pair.bed.world.pod("client")?.address(),
        "another source: {line}"
    );
    let labels = [
        ("reporter", "destination"),
        ("connection_security_policy", "unknown"),
    ];
    watch.risen(OPENED, &labels, 1)?;
    watch.risen(CLOSED, &labels, 1)
}

/// Many connections live at the same time, and all of them end.
pub fn two_hundred_connections_live_at_once() -> anyhow::Result<()> {
    const MANY: u32 = 200;
    let pair = Pair::build(&[("client", 0), ("server", 1)], |_| Ok(()))?;
    let (from, to) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    let echo = pair.bed.socket("server", adit::lab::apps::ECHO_PORT)?;
    let mut sessions = std::thread::scope(|scope| {
        let open = || {
            (0..MANY / 8)
                .map(|_| pair.bed.session("client", echo))
                .collect::<Result<Vec<_>, _>>()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        let opened = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        opened.collect::<anyhow::Result<Vec<_>>>()
    })?;
    for (number, session) in sessions.iter_mut().flatten().enumerate() {
        session.echo(&format!("number {number}"))?;
    }
    from.risen(OPENED, SOURCE, MANY)?;
    to.risen(OPENED, DESTINATION, MANY)?;
    ensure!(from.rise(CLOSED, SOURCE)? == 0.0, "a connection ended early");
    drop(sessions);
    from.risen(CLOSED, SOURCE, MANY)?;
    to.risen(CLOSED, DESTINATION, MANY)?;
    let open = pair.first.metrics()?.sum("istio_tcp_sockets_open", &[]);
    ensure!(open == 0.0, "{open} sockets count as open");
    Ok(())
}

/// By its address and by loopback.
pub fn a_pod_calls_itself() -> anyhow::Result<()> {
    let pair = Pair::build(&[("client", 0)], |_| Ok(()))?;
    let own = pair.bed.socket("client", HTTP_PORT)?;
    for ip in [own.ip(), IpAddr::from([127, 0, 0, 1])] {
        let answer = ask(&pair.bed, "client", SocketAddr::new(ip, HTTP_PORT))?;
        ensure!(answer.app == "client");
    }
    Ok(())
}
