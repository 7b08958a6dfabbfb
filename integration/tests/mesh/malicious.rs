//! Calls to the tunnel's own ports, from pods, from outside of the mesh and from the pod itself: none of them leads
//! anywhere, none goes round in circles, and everybody else is served on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use adit::lab::apps::HTTP_PORT;
use adit::lab::http::Failure;
use adit_integration::harness::bed::{Bed, NAMESPACE};
use adit_integration::harness::pair::Pair;
use adit_integration::harness::watch::Watch;
use anyhow::{Context, ensure};
use serde_json::json;

/// Where tunnels listen in pods, and where they listen for operators in a namespace of their own.
const IN_PODS: [u16; 3] = [15001, 15006, 15008];
const OF_TUNNELS: [u16; 3] = [15000, 15020, 15021];
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 50);

/// How many connections one call may cause. A loop causes thousands.
const FEW: f64 = 4.0;

fn build() -> anyhow::Result<Pair> {
    Pair::build(&[("client", 0), ("server", 1), ("neighbour", 0)], |bed| {
        let ports = IN_PODS.map(|port| (port.to_string(), json!(port)));
        let ports = serde_json::Map::from_iter(ports).into();
        bed.mesh.add_service("trap", NAMESPACE, &VIP.to_string(), ports);
        bed.mesh.serves("server", "trap", NAMESPACE, json!({}));
        bed.add_machine("plain", 0)
    })
}

/// What the tunnels have refused or opened.
fn connections(watch: &Watch<'_>) -> anyhow::Result<f64> {
    let opened = watch.rise("istio_tcp_connections_opened_total", &[])?;
    Ok(opened + watch.rise("adit_refused_connections_total", &[])?)
}

/// The call is not answered with a page, and causes few connections.
fn leads_nowhere(pair: &Pair, from: &str, to: SocketAddr) -> anyhow::Result<Failure> {
    let (first, second) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    let failure = pair.bed.refused(from, to)?;
    let caused = connections(&first)? + connections(&second)?;
    ensure!(
        caused <= FEW,
        "{from} calls {to}, and {caused} connections came of it"
    );
    Ok(failure)
}

fn others_are_served(bed: &Bed) -> anyhow::Result<()> {
    ensure!(bed.call("client", bed.socket("server", HTTP_PORT)?)? == "server");
    ensure!(bed.call("plain", bed.socket("server", HTTP_PORT)?)? == "server");
    Ok(())
}

/// From a pod of the mesh: to other pods, to itself, to loopback, and through a service.
pub fn a_pod_cannot_call_the_tunnels_ports() -> anyhow::Result<()> {
    let pair = build()?;
    let address = |pod: &str| anyhow::Ok(pair.bed.world.pod(pod)?.address());
    let targets = [
        ("another node's pod", address("server")?),
        ("the neighbour", address("neighbour")?),
        ("itself", address("client")?),
        ("loopback", IpAddr::from(Ipv4Addr::LOCALHOST)),
        ("a service", IpAddr::from(VIP)),
    ];
    for (what, target) in targets {
        for port in IN_PODS.into_iter().chain(OF_TUNNELS) {
            leads_nowhere(&pair, "client", SocketAddr::new(target, port))
                .with_context(|| format!("{what}, port {port}"))?;
        }
    }
    others_are_served(&pair.bed)
}

/// From outside of the mesh: ports that take plaintext refuse those who call them, the HBONE port those without TLS.
pub fn a_stranger_cannot_call_the_tunnels_ports() -> anyhow::Result<()> {
    let pair = build()?;
    let server = pair.bed.world.pod("server")?.address();
    let watch = Watch::begin(&pair.second)?;
    for port in IN_PODS.into_iter().chain(OF_TUNNELS) {
        leads_nowhere(&pair, "plain", SocketAddr::new(server, port))
            .with_context(|| format!("port {port}"))?;
    }
    watch.line("inbound", "loop", &[("dst.workload", "server")])?;
    watch.line("inbound", "tls_failed", &[("response_flags", "TLS_FAILURE")])?;
    watch.risen(
        "adit_refused_connections_total",
        &[("outcome", "loop"), ("direction", "inbound")],
        2,
    )?;
    others_are_served(&pair.bed)
}
