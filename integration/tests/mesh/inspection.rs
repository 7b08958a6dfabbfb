//! What an operator sees: each command of `adit` that asks a tunnel, run as a process where the tunnel is, shows what was
//! configured and what goes on; and what `adit explain` says is what connections then experience.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::visit::Door;
use adit::lab::{host, observe};
use adit_integration::harness::agents::Agent;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::spiffe;
use adit_integration::harness::operator::{self, Said, row};
use adit_integration::harness::pair::Pair;
use adit_integration::harness::tunnels::Tunnel;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

const VIP: &str = "10.96.4.1";

/// `client` and `guest` on the first node, `server` on the second: an endpoint of the service `ledger`, and only `client`
/// may call it. `plain` is outside of the mesh.
fn build() -> anyhow::Result<Pair> {
    Pair::build(&[("client", 0), ("guest", 0), ("server", 1)], |bed| {
        let ports = json!({ HTTP_PORT.to_string(): HTTP_PORT, ECHO_PORT.to_string(): ECHO_PORT });
        bed.mesh.add_service("ledger", "bank", VIP, ports);
        bed.mesh.serves("server", "ledger", "bank", json!({}));
        let principal = spiffe("client").replace("spiffe://", "");
        let client = json!({ "principals": [{ "Exact": principal }] });
        bed.mesh.add_policy("doors", "bank", "Allow", client);
        bed.mesh.workload("server")["authorizationPolicies"] = json!(["bank/doors"]);
        bed.add_machine("plain", 0)?;
        bed.run_app("plain")
    })
}

fn ask(tunnel: &Tunnel, arguments: &str) -> anyhow::Result<Said> {
    operator::run(Some(tunnel.namespace()), arguments)
}

pub fn each_list_shows_what_was_configured() -> anyhow::Result<()> {
    let pair = build()?;
    let (first, second) = (&pair.first, &pair.second);
    let address = |pod: &str| anyhow::Ok(pair.bed.world.pod(pod)?.address().to_string());
    let workloads = ask(first, "workloads -n bank")?.good()?;
    let server = row(&workloads, &["bank", "server"])?;
    ensure!(
        server[2].split(',').next() == Some(&*address("server")?)
            && server[3..] == ["node-2", "None", "HBONE"],
        "{server:?}"
    );
    let services = ask(first, "services")?.good()?;
    ensure!(
        row(&services, &["bank", "ledger"])?[2..] == [VIP, "None", "1/1"],
        "{services}"
    );
    let policies = ask(first, "policies doors")?.good()?;
    ensure!(
        row(&policies, &["bank", "doors"])?[2..] == ["Allow", "WorkloadSelector"],
        "{policies}"
    );
    let certificates = ask(first, "certificates")?.good()?;
    let leaf = row(&certificates, &[&spiffe("client"), "Leaf"])?;
    ensure!(leaf[2..4] == ["Available", "true"], "{leaf:?}");
    let dump = first.dump()?;
    let serial = &dump["certificates"][0]["certChain"][0]["serialNumber"];
    let serial = serial.as_str().context("no serial number")?;
    ensure!(
        serial.bytes().all(|byte| byte.is_ascii_digit()),
        "{serial} is not decimal, as istioctl expects it"
    );
    same_as_the_dump(first)?;
    connections(&pair)?;
    // A dump that was saved is shown as the tunnel it came from.
    let saved = host::path("dump.json");
    std::fs::write(&saved, first.admin("GET", "/config_dump")?.body)?;
    let from_file = ask(second, &format!("workloads -n bank --file {}", saved.display()))?;
    ensure!(from_file.good()? == workloads, "another table of the same dump");
    Ok(())
}

/// What programs get is what is in the dump.
fn same_as_the_dump(tunnel: &Tunnel) -> anyhow::Result<()> {
    let dump = tunnel.dump()?;
    for (command, key) in [
        ("workloads", "workloads"),
        ("services", "services"),
        ("policies", "policies"),
        ("certificates", "certificates"),
    ] {
        let shown = ask(tunnel, &format!("{command} -o json"))?.json()?;
        let sorted = |list: &Value| {
            let objects = list.as_array().into_iter().flatten();
            let mut objects: Vec<_> = objects.map(Value::to_string).collect();
            objects.sort();
            objects
        };
        ensure!(
            sorted(&shown) == sorted(&dump[key]),
            "{command}: {shown} of {dump}"
        );
    }
    Ok(())
}

fn connections(pair: &Pair) -> anyhow::Result<()> {
    let _session = pair
        .bed
        .session("client", format!("{VIP}:{ECHO_PORT}").parse()?)?;
    let out = ask(&pair.first, "connections --direction outbound client")?.good()?;
    let outbound = row(&out, &["client.bank", "Outbound"])?;
    let target = format!("ledger.bank.svc.cluster.local:{ECHO_PORT}");
    ensure!(outbound[3..] == ["server.bank:15008", &*target, "HBONE"], "{out}");
    let back = ask(&pair.second, "connections --raw")?.good()?;
    let inbound = row(&back, &["server.bank", "Inbound"])?;
    let local = pair.bed.socket("server", ECHO_PORT)?.to_string();
    ensure!(inbound[2] == local && inbound[5] == "HBONE", "{back}");
    Ok(())
}

/// Whoever asks in the wrong place, or for what is not there, is told so.
pub fn what_is_no_tunnel_is_said_to_be_none() -> anyhow::Result<()> {
    let pair = build()?;
    let echo = pair.bed.socket("guest", ECHO_PORT)?;
    ask(&pair.first, "workloads --admin 127.0.0.1:1")?.fails_with(1, "no tunnel answers at 127.0.0.1:1")?;
    ask(&pair.first, "workloads --admin 127.0.0.1:15020")?.fails_with(1, "has no page /config_dump")?;
    ask(&pair.first, "explain a b:1 --admin 127.0.0.1:15020")?.fails_with(2, "has no page /explain")?;
    let elsewhere = operator::run(
        Some(pair.bed.namespace("plain")?),
        &format!("services --admin {echo}"),
    )?;
    elsewhere.fails_with(1, "is no administration server of a tunnel")?;
    ask(&pair.first, "services ledgr")?.fails_with(1, "did you mean ledger?")?;
    ask(&pair.first, "explain clinet server:1")?.fails_with(2, "did you mean client?")?;
    ask(&pair.first, "explain client severs:1")?.fails_with(2, "did you mean server?")?;
    ask(&pair.first, "explain client ledger")?.fails_with(2, "which port?")?;
    ask(&pair.first, "explain client server")?.fails_with(2, "a port is missing")?;
    ask(&pair.first, "explain client server:99999")?.fails_with(2, "is no port")?;
    ask(&pair.first, "explain client")?.fails_with(2, "DESTINATION")
}

/// Who calls what, and whether it may. Each is asked about and then tried.
pub fn explain_agrees_with_what_connections_experience() -> anyhow::Result<()> {
    let pair = build()?;
    let plain = pair.bed.world.pod("plain")?.address().to_string();
    let at = |pod: &str, port| anyhow::Ok(pair.bed.socket(pod, port)?);
    let vip = |port: u16| format!("{VIP}:{port}").parse::<SocketAddr>();
    let (server, guest) = (at("server", HTTP_PORT)?, at("guest", HTTP_PORT)?);
    let outside = at("plain", HTTP_PORT)?;
    let table = [
        // Who, in words of the command; whom, in its words and by address; whether; what the answer says.
        (
            "client",
            "client",
            "server:8080",
            server,
            true,
            "bank/doors rule[0]",
        ),
        ("guest", "guest", "server:8080", server, false, "bank/doors"),
        (
            "client",
            "bank/client",
            "ledger:8080",
            vip(HTTP_PORT)?,
            true,
            "bank/ledger.bank.svc",
        ),
        (
            "guest",
            "guest.bank",
            "ledger.bank.svc.cluster.local:8080",
            vip(HTTP_PORT)?,
            false,
            "bank/doors",
        ),
        ("client", "client", "bank/ledger:81", vip(81)?, false, "81"),
        (
            "client",
            "client",
            &*format!("{plain}:8080"),
            outside,
            true,
            "passthrough",
        ),
        ("plain", &*plain, "server.bank:8080", server, false, "no identity"),
        ("plain", &*plain, "guest:8080", guest, true, "no policy"),
        (
            "client",
            "client",
            "client:15008",
            at("client", 15008)?,
            false,
            "port of the tunnel",
        ),
    ];
    for (from, source, called, address, allowed, words) in table {
        let context = || format!("{source} to {called}");
        let said = ask(&pair.first, &format!("explain {source} {called}"))?;
        ensure!(said.code == i32::from(!allowed), "{}: {said:?}", context());
        ensure!(said.output.contains(words), "{}: {said:?}", context());
        let last = if allowed {
            "answer       allowed\n"
        } else {
            "answer       refused\n"
        };
        ensure!(said.output.ends_with(last), "{}: {said:?}", context());
        let json = ask(&pair.first, &format!("explain {source} {called} -o json"))?;
        let json: Value = serde_json::from_str(&json.output).with_context(context)?;
        ensure!(json["allowed"] == allowed, "{}: {json}", context());
        let attempt = pair.bed.attempt(from, address)?;
        let answered = attempt.as_ref().is_ok_and(|answer| answer.status == 200);
        ensure!(answered == allowed, "{} really: {attempt:?}", context());
    }
    Ok(())
}

/// A pod that has left the mesh and whose connections may finish is still shown, as what it is.
pub fn a_pod_that_drains_is_shown_while_it_does() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    for pod in ["client", "server"] {
        bed.add_pod(pod, 0)?;
    }
    bed.configure()?;
    // An agent that tells the tunnel and leaves the rules: without them answers do not find back.
    let socket = host::path("own.sock");
    let agent = Agent::listen(&socket)?;
    let path = socket.display().to_string();
    let settings = [("INPOD_UDS", &*path), ("CONNECTION_TERMINATION_DEADLINE", "5s")];
    let tunnel = bed.start_tunnel(0, &settings)?;
    for pod in ["client", "server"] {
        agent.enrol(bed.world.pod(pod)?)?;
    }
    let mut session = bed.session("client", bed.socket("server", ECHO_PORT)?)?;
    let shown = |state: &str| {
        let pods = ask(&tunnel, "connections -o json server")?.json()?;
        let inbound = pods[0]["connections"]["inbound"].as_array().map_or(0, Vec::len);
        Ok((pods[0]["state"] == state && inbound == 1).then_some(()))
    };
    observe::eventually("the pod to be shown as up", || shown("Up"))?;
    agent.remove(bed.world.pod("server")?);
    observe::eventually("the pod to be shown as draining", || shown("Draining"))?;
    session.echo("still here")?;
    session.wait_cut()?;
    observe::eventually("the pod to be gone", || {
        let gone = ask(&tunnel, "connections server")?;
        Ok((gone.code == 1 && gone.error.contains("no pod \"server\"")).then_some(()))
    })
}

/// From outside of the lab's networks, as a visitor would.
pub fn the_labs_tunnels_are_reached_by_the_names_of_their_nodes() -> anyhow::Result<()> {
    let pair = build()?;
    let tunnels = [("node-1", &pair.first), ("node-2", &pair.second)];
    let places: BTreeMap<_, _> = tunnels
        .map(|(node, tunnel)| (node.to_owned(), tunnel.id()))
        .into();
    let _directory = Door::new()?.open(&places)?;
    for (node, pod) in [("node-1", "client"), ("node-2", "server")] {
        let certificates = operator::run(None, &format!("certificates --lab {node}"))?.good()?;
        row(&certificates, &[&spiffe(pod), "Leaf"])?;
    }
    let refused = operator::run(None, "explain guest ledger:8080 --lab node-1")?;
    ensure!(
        refused.code == 1 && refused.output.contains("bank/doors"),
        "{refused:?}"
    );
    operator::run(None, "workloads --lab node-7")?.fails_with(1, "no pod or node node-7; did you mean node-1")
}
