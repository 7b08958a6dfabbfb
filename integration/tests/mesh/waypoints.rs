//! Waypoints: who is sent to one, what it is asked, and pods that are one themselves.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use adit::lab::apps::HTTP_PORT;
use adit_integration::harness::bed::{Bed, NAMESPACE};
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::pair::Pair;
use adit_integration::harness::plain::{Pages, accept, listen};
use adit_integration::harness::watch::{CLOSED, FAILED, Watch, expect};
use adit_integration::harness::waypoint::{Asked, Waypoint};
use adit_mesh::constants::HBONE_PORT;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// The virtual address of the service behind the waypoint.
const VIP: &str = "10.96.0.20";
const HOSTNAME: &str = "ledger.bank.svc.cluster.local";
/// The virtual address of the waypoint's own service.
const WAYPOINT_VIP: &str = "10.96.0.21";
const WAYPOINT_HOSTNAME: &str = "waypoint.bank.svc.cluster.local";

fn service() -> SocketAddr {
    SocketAddr::new(VIP.parse().expect("an address"), 80)
}

fn gateway(destination: &str) -> Value {
    json!({ "destination": destination, "hboneMtlsPort": HBONE_PORT })
}

/// `client` on the first node; `server`, which is `ledger`, and the pods of the service `waypoint` on the second.
fn build(waypoints: &[&str], edit: impl FnOnce(&mut Bed) -> anyhow::Result<()>) -> anyhow::Result<Pair> {
    Pair::build(&[("client", 0), ("server", 1)], |bed| {
        bed.mesh
            .add_service("ledger", NAMESPACE, VIP, json!({ "80": HTTP_PORT }));
        bed.mesh.serves("server", "ledger", NAMESPACE, json!({}));
        bed.mesh.add_service(
            "waypoint",
            NAMESPACE,
            WAYPOINT_VIP,
            json!({ "15008": HBONE_PORT }),
        );
        for name in waypoints {
            bed.add_bare(name, 1)?;
            bed.mesh.serves(name, "waypoint", NAMESPACE, json!({}));
        }
        edit(bed)
    })
}

fn start(bed: &Bed, pod: &str) -> anyhow::Result<Waypoint> {
    Waypoint::start(
        bed.namespace(pod)?,
        HBONE_PORT,
        Ca::of_the_mesh()?.peer(&spiffe(pod))?,
        pod,
    )
}

/// The headers that a waypoint relies on.
fn headers_are_right(bed: &Bed, asked: &Asked, host: Option<&str>) -> anyhow::Result<()> {
    let header = |name: &str| {
        asked
            .headers
            .get(name)
            .with_context(|| format!("no {name} in {asked:?}"))
    };
    let forwarded = header("forwarded")?;
    let client = bed.world.pod("client")?.address();
    ensure!(
        forwarded.starts_with(&format!("for=\"{client}:")),
        "another client in {forwarded}"
    );
    match host {
        Some(host) => ensure!(
            forwarded.ends_with(&format!("\";host={host}")),
            "another host in {forwarded}"
        ),
        None => ensure!(!forwarded.contains("host="), "a host in {forwarded}"),
    }
    let trace = header("traceparent")?;
    let lengths: Vec<_> = trace.split('-').map(str::len).collect();
    ensure!(
        lengths == [2, 32, 16, 2] && trace.starts_with("00-"),
        "a malformed traceparent: {trace}"
    );
    let baggage = header("baggage")?;
    for member in ["k8s.cluster.name=lab", "k8s.namespace.name=bank"] {
        ensure!(
            baggage.split(',').any(|found| found == member),
            "no {member} in {baggage}"
        );
    }
    Ok(())
}

/// A workload's waypoint gets what is addressed to the workload, and nothing else.
pub fn a_workload_is_reached_through_its_waypoint() -> anyhow::Result<()> {
    let mut pair = build(&["gate"], |bed| {
        let waypoint = format!("/{}", bed.world.pod("gate")?.address());
        bed.mesh.workload("server")["waypoint"] = gateway(&waypoint);
        Ok(())
    })?;
    let waypoint = start(&pair.bed, "gate")?;
    let watch = Watch::begin(&pair.first)?;
    let server = pair.bed.socket("server", HTTP_PORT)?;
    ensure!(pair.bed.call("client", server)? == "gate");
    headers_are_right(&pair.bed, &waypoint.wait_asked(&server.to_string())?, None)?;
    let line = watch.completed("outbound", &[("dst.identity", &spiffe("gate"))])?;
    expect(&line, &[("src.identity", &spiffe("client"))])?;
    watch.risen(
        CLOSED,
        &[
            ("reporter", "source"),
            ("connection_security_policy", "mutual_tls"),
        ],
        1,
    )?;
    // What is addressed to a service never uses the waypoints of its workloads.
    ensure!(pair.bed.call("client", service())? == "server");
    // The same, where the waypoint is named by a workload's hostname.
    pair.bed.mesh.workload("gate")["hostname"] = json!("gate.example");
    pair.bed.mesh.workload("server")["waypoint"] = gateway("bank/gate.example");
    pair.apply()?;
    ensure!(pair.bed.call("client", server)? == "gate");
    Ok(())
}

/// A service's waypoint, named by its address and by its hostname.
pub fn a_service_is_reached_through_its_waypoint() -> anyhow::Result<()> {
    let mut pair = build(&["gate"], |_| Ok(()))?;
    let waypoint = start(&pair.bed, "gate")?;
    for name in [format!("/{WAYPOINT_VIP}"), format!("bank/{WAYPOINT_HOSTNAME}")] {
        pair.bed.mesh.services[0]["waypoint"] = gateway(&name);
        pair.apply()?;
        let watch = Watch::begin(&pair.first)?;
        ensure!(pair.bed.call("client", service())? == "gate", "not by {name}");
        let asked = waypoint.wait_asked(&service().to_string())?;
        headers_are_right(&pair.bed, &asked, Some(HOSTNAME))?;
        let line = watch.completed("outbound", &[("dst.identity", &spiffe("gate"))])?;
        expect(&line, &[("dst.service", HOSTNAME)])?;
    }
    // A pod of it that is called by its own address is not the service.
    ensure!(pair.bed.call("client", pair.bed.socket("server", HTTP_PORT)?)? == "server");
    Ok(())
}

/// Of weighted waypoints each gets its share, and one of weight 0 nothing.
pub fn weighted_waypoints_share() -> anyhow::Result<()> {
    let mut pair = build(&["gate", "door"], |_| Ok(()))?;
    let _both = [start(&pair.bed, "gate")?, start(&pair.bed, "door")?];
    let addresses =
        ["gate", "door"].map(|pod| pair.bed.world.pod(pod).map(|pod| format!("/{}", pod.address())));
    let [gate, door] = addresses;
    let (gate, door) = (gate?, door?);
    for (weights, expected) in [([1, 0], &["gate"] as &[_]), ([1, 1], &["door", "gate"])] {
        pair.bed.mesh.services[0]["weightedWaypoints"] = json!([
            { "destination": gateway(&gate), "weight": weights[0] },
            { "destination": gateway(&door), "weight": weights[1] },
        ]);
        pair.apply()?;
        let answers = (0..30).map(|_| pair.bed.call("client", service()));
        let answers = answers.collect::<anyhow::Result<BTreeSet<_>>>()?;
        ensure!(answers.iter().eq(expected), "weights {weights:?}: {answers:?}");
    }
    Ok(())
}

/// A waypoint that cannot be found, or has no healthy endpoint, is never gone around.
pub fn without_its_waypoint_a_service_is_refused() -> anyhow::Result<()> {
    let mut pair = build(&["gate"], |bed| {
        bed.mesh.workload("gate")["status"] = json!("Unhealthy");
        Ok(())
    })?;
    for name in [
        format!("bank/{WAYPOINT_HOSTNAME}"),
        "bank/nobody.bank.svc.cluster.local".to_owned(),
    ] {
        pair.bed.mesh.services[0]["waypoint"] = gateway(&name);
        pair.apply()?;
        let watch = Watch::begin(&pair.first)?;
        pair.bed.refused("client", service())?;
        watch.line(
            "outbound",
            "no_waypoint",
            &[("dst.service", HOSTNAME), ("response_flags", "NO_WAYPOINT")],
        )?;
        watch.risen(FAILED, &[("response_flags", "NO_WAYPOINT")], 1)?;
    }
    Ok(())
}

/// A pod behind a tunnel of its own that is a waypoint, as `edit` configures it.
fn sandwich(protocol: &str, port: u16) -> anyhow::Result<Pair> {
    let mut pair = build(&["gate"], |bed| {
        bed.mesh.services[0]["waypoint"] = gateway(&format!("bank/{WAYPOINT_HOSTNAME}"));
        bed.mesh.workload("gate")["applicationTunnel"] = json!({ "protocol": protocol, "port": port });
        Ok(())
    })?;
    pair.bed.enrol(&["gate"])?;
    Ok(pair)
}

/// A waypoint behind a tunnel gets the bytes of the application at its port.
pub fn a_waypoint_behind_a_tunnel_gets_plain_bytes() -> anyhow::Result<()> {
    const PORT: u16 = 15088;
    let pair = sandwich("NONE", PORT)?;
    let watch = Watch::begin(&pair.second)?;
    let _pages = Pages::serve(pair.bed.namespace("gate")?, PORT, "proxy")?;
    ensure!(pair.bed.call("client", service())? == "proxy");
    let line = watch.completed("inbound", &[("src.workload", "client")])?;
    expect(
        &line,
        &[("dst.workload", "gate"), ("src.identity", &spiffe("client"))],
    )
}

/// The same with a PROXY header, which tells the client, what it called, its identity and the service.
pub fn a_waypoint_behind_a_tunnel_is_told_of_the_client() -> anyhow::Result<()> {
    const PORT: u16 = 15088;
    let pair = sandwich("PROXY", PORT)?;
    let watch = Watch::begin(&pair.second)?;
    let listener = listen(pair.bed.namespace("gate")?, PORT)?;
    let mut client = pair.bed.connect("client", service())?;
    let (mut server, _) = accept(&listener)?;
    client.write_all(b"hello")?;
    let mut from = client.local_addr()?;
    let mut received = vec![0; proxy_header(from, service(), &spiffe("client"), HOSTNAME)?.len()];
    server.read_exact(&mut received)?;
    // The port is that of the tunnel, as with stock ztunnel: the client's own is only a claim of the other end's.
    from.set_port(u16::from_be_bytes([received[24], received[25]]));
    let header = proxy_header(from, service(), &spiffe("client"), HOSTNAME)?;
    ensure!(
        received == header,
        "received {received:02x?}\nexpected {header:02x?}"
    );
    let mut hello = [0; 5];
    server.read_exact(&mut hello)?;
    ensure!(&hello == b"hello");
    drop((client, server));
    watch.line("inbound", "completed", &[("dst.workload", "gate")])?;
    Ok(())
}

/// PROXY protocol, version 2, written from its specification.
fn proxy_header(
    client: SocketAddr,
    called: SocketAddr,
    identity: &str,
    host: &str,
) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    for address in [client, called] {
        let SocketAddr::V4(address) = address else {
            anyhow::bail!("{address} is not IPv4")
        };
        let ip: &Ipv4Addr = address.ip();
        body.extend(ip.octets());
    }
    body.extend(client.port().to_be_bytes());
    body.extend(called.port().to_be_bytes());
    for (kind, value) in [(0xD0, identity), (0xD1, host)] {
        body.push(kind);
        body.extend(u16::try_from(value.len())?.to_be_bytes());
        body.extend(value.as_bytes());
    }
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend(u16::try_from(body.len())?.to_be_bytes());
    header.extend(body);
    Ok(header)
}
