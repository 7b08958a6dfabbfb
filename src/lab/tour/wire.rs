//! Steps that look at packets.

use std::net::SocketAddr;

use adit_net::capture::{Capture, Captured};
use anyhow::{bail, ensure};

use super::bank::{Bank, INTRUDER, SECRET};
use crate::lab::apps::{Answer, HTTP_PORT};
use crate::lab::screen::Screen;

/// Where tunnels listen for each other.
const HBONE_PORT: u16 = 15008;

/// The device of a node that leads to the other nodes.
const UPLINK: &str = "eth0";

pub(super) fn without_mesh(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says(
        "payments on node-1 calls ledger-2 on node-2, while the packets between the nodes are captured.",
    );
    let ledger = bank.world.pod("ledger-2")?.socket(HTTP_PORT);
    let mut capture = Capture::open(&bank.world.node(0)?.namespace, UPLINK)?;
    let answer = bank.call("payments", ledger)?;
    let seen = capture.take()?;
    screen.shows("answered", &answer.app);
    screen.shows("on the wire", readable(&seen).unwrap_or_default());
    ensure!(
        seen.contains(SECRET.as_bytes()),
        "the captured packets do not hold what was sent: {}",
        describe(&seen)
    );
    Ok("without the mesh, whoever is on the network reads along".to_owned())
}

pub(super) fn join(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says(
        "A control plane is started, and a tunnel on each node; then every pod but the intruder is enrolled.",
    );
    bank.deploy()?;
    bank.configure(&["payments"])?;
    bank.world.start_control(&[])?;
    let control = bank.world.control()?.process()?.id();
    screen.shows("control plane", format_args!("is ready, process {control}"));
    for node in 0..bank.world.nodes().len() {
        bank.world.start_tunnel(node)?;
        let node = bank.world.node(node)?;
        let process = node.tunnel()?.process().id();
        screen.shows(&node.name, format_args!("tunnel is ready, process {process}"));
    }
    let members = bank.world.pods().filter(|pod| pod.spec.name != INTRUDER);
    let enrolled: Vec<_> = members.map(|pod| pod.spec.name.clone()).collect();
    for pod in &enrolled {
        bank.world.enrol(pod)?;
    }
    bank.world.wait_known()?;
    screen.shows("enrolled", enrolled.join(", "));
    Ok(format!(
        "{} pods are served and redirected; their applications were not restarted",
        enrolled.len()
    ))
}

pub(super) fn call(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("A client in web calls web, web calls payments, payments calls ledger.");
    let web = bank.world.pod("web")?;
    let here = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), HTTP_PORT);
    let mut hop = bank.call("web", here)?;
    let mut caller = (web.spec.name.clone(), None);
    loop {
        screen.shows(
            &hop.app,
            format_args!("was called by {} from {}", caller.0, hop.peer),
        );
        if let Some(expected) = caller.1 {
            ensure!(
                hop.peer.ip() == expected,
                "{} should have seen {}'s own address {expected}",
                hop.app,
                caller.0
            );
        }
        let (app, next) = next(hop)?;
        let Some(next) = next else { break };
        caller = (app.clone(), Some(bank.world.pod(&app)?.address()));
        hop = next;
    }
    Ok("every application saw its caller's real address".to_owned())
}

/// Who answered, and what the next one answered to it.
fn next(hop: Answer) -> anyhow::Result<(String, Option<Answer>)> {
    if let Some(failure) = hop.upstream_failure {
        bail!("{} could not call on: {failure}", hop.app);
    }
    let last = hop.app.starts_with("ledger");
    ensure!(last == hop.upstream.is_none(), "the chain ends at {}", hop.app);
    Ok((hop.app, hop.upstream.map(|next| *next)))
}

pub(super) fn between_nodes(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("The same call as in step 1, captured at the same place.");
    let namespace = bank.world.node(0)?.namespace.clone();
    unreadable(bank, screen, Capture::open(&namespace, UPLINK)?, "ledger-2")
}

pub(super) fn same_node(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("payments calls ledger-1 beside it; the packets of payments' own cable are captured.");
    let namespace = bank.world.node(0)?.namespace.clone();
    let cable = bank.world.pod("payments")?.attachment.cable.clone();
    unreadable(bank, screen, Capture::open(&namespace, &cable)?, "ledger-1")
}

fn unreadable(bank: &Bank, screen: &Screen, mut capture: Capture, ledger: &str) -> anyhow::Result<String> {
    let address = bank.world.pod(ledger)?.socket(HTTP_PORT);
    let answer = bank.call("payments", address)?;
    ensure!(
        answer.app == ledger,
        "{} answered in place of {ledger}",
        answer.app
    );
    let seen = capture.take()?;
    let tunnelled = seen
        .packets
        .iter()
        .filter(|packet| is_tcp_with(packet, HBONE_PORT));
    let (packets, bytes) = tunnelled.fold((0, 0), |(packets, bytes), packet| {
        (packets + 1, bytes + packet.len())
    });
    screen.shows("answered", &answer.app);
    screen.shows(
        "on the wire",
        format_args!("{packets} packets of port {HBONE_PORT}, {bytes} bytes, none with the IBAN"),
    );
    if let Some(text) = readable(&seen) {
        bail!("the captured packets hold plaintext: {text}");
    }
    ensure!(
        packets > 0 && bytes > SECRET.len(),
        "the call was not seen at all, so nothing is proved: {}",
        describe(&seen)
    );
    ensure!(
        !seen.packets.iter().any(|packet| is_tcp_with(packet, HTTP_PORT)),
        "packets went to the application's port {HTTP_PORT}"
    );
    ensure!(seen.dropped == 0, "{} packets were not captured", seen.dropped);
    Ok("the answer came, and nobody on the way could read it".to_owned())
}

/// The line of a packet that holds the secret.
fn readable(seen: &Captured) -> Option<String> {
    let secret = SECRET.as_bytes();
    let packet = seen
        .packets
        .iter()
        .find(|packet| packet.windows(secret.len()).any(|window| window == secret))?;
    let text = String::from_utf8_lossy(packet);
    let line = text.lines().find(|line| line.contains(SECRET))?;
    let printable = line.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
    let printable: String = printable.collect();
    // Before the request there are the headers of Ethernet, IP and TCP.
    let from = printable.find("GET ").unwrap_or_default();
    Some(printable[from..].to_owned())
}

fn describe(seen: &Captured) -> String {
    let bytes: usize = seen.packets.iter().map(Vec::len).sum();
    format!("{} packets, {bytes} bytes", seen.packets.len())
}

/// Whether this is a TCP packet over IPv4 that comes from the port or goes to it.
fn is_tcp_with(packet: &[u8], port: u16) -> bool {
    const ETHERNET: usize = 14;
    const TCP: u8 = 6;
    let Some(ip) = packet.get(ETHERNET..) else {
        return false;
    };
    let is_tcp = packet.get(12..14) == Some(&[0x08, 0x00]) && ip.get(9) == Some(&TCP);
    let length = usize::from(ip.first().copied().unwrap_or_default() & 0xf) * 4;
    let ports = ip.get(length..length + 4);
    let port = port.to_be_bytes();
    is_tcp && ports.is_some_and(|ports| ports[..2] == port || ports[2..] == port)
}
