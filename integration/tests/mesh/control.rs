//! Tunnels that are fed by a control plane alone: manifests in, what the traffic does out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use adit::lab::apps::{self, ECHO_PORT, HTTP_PORT};
use adit::lab::http::{self, Failure};
use adit::lab::manifests::{self, Identity};
use adit::lab::session::Session;
use adit::lab::traffic::Traffic;
use adit::lab::world::{PodSpec, World};
use adit::lab::{host, observe};
use adit_integration::harness::tunnels::Tunnel;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

const BANK: &str = "bank";
const POLICIES: &str = "policies.yaml";
const LEDGER_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 30));

/// A client on the first node, a server on the second, both enrolled, and the service of the server.
fn build(arguments: &[&str]) -> anyhow::Result<World> {
    let mut world = World::new(std::env::current_exe()?, 2)?;
    for (name, node) in [("client", 0), ("ledger", 1), ("outsider", 1)] {
        world.add_pod(PodSpec {
            name: name.to_owned(),
            namespace: BANK.to_owned(),
            service_account: name.to_owned(),
            node,
        })?;
        let args = apps::Args {
            name: name.to_owned(),
            upstream: None,
        };
        world.run_in(name, &args.to_command())?;
    }
    manifests::write(
        "services.yaml",
        &[manifests::service(
            "ledger",
            BANK,
            LEDGER_VIP,
            &[HTTP_PORT, ECHO_PORT],
        )],
    )?;
    world.start_control(arguments)?;
    for node in 0..2 {
        world.start_tunnel(node)?;
    }
    for pod in ["client", "ledger"] {
        world.enrol(pod)?;
    }
    world.wait_known()?;
    for pod in ["client", "ledger", "outsider"] {
        let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), HTTP_PORT);
        let namespace = world.pod(pod)?.namespace();
        observe::eventually(format_args!("the application of {pod}"), || {
            Ok(http::request(namespace, here, "GET", "/").ok())
        })?;
    }
    Ok(world)
}

/// Who is enrolled knows the service; the outsider, whose node has no proxy for services, calls the pod.
fn ask(world: &World, from: &str) -> anyhow::Result<Result<http::Response, Failure>> {
    let namespace = world.pod(from)?.namespace();
    let ledger = match from {
        "outsider" => world.pod("ledger")?.socket(HTTP_PORT),
        _ => SocketAddr::new(LEDGER_VIP, HTTP_PORT),
    };
    Ok(http::request(namespace, ledger, "GET", "/"))
}

fn answered(world: &World, from: &str) -> anyhow::Result<bool> {
    Ok(ask(world, from)?.is_ok_and(|response| response.status == 200))
}

fn becomes(world: &World, from: &str, wanted: bool) -> anyhow::Result<()> {
    let what = if wanted { "answered" } else { "refused" };
    observe::eventually(format_args!("{from} to be {what}"), || {
        Ok((answered(world, from)? == wanted).then_some(()))
    })
}

fn page(world: &mut World, path: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&world.control()?.page(path)?.body)?)
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": { "name": name, "namespace": BANK },
        "spec": spec,
    })
}

/// Policies come, change and go, and both new and living connections obey; authors are told.
pub fn manifests_decide_what_the_traffic_may() -> anyhow::Result<()> {
    let mut world = build(&[])?;
    ensure!(answered(&world, "client")?, "there is no policy yet");
    ensure!(
        !answered(&world, "outsider")?,
        "plaintext was taken, although the mesh is strict"
    );
    let ledger = SocketAddr::new(LEDGER_VIP, ECHO_PORT);
    let mut session = Session::open(world.pod("client")?.namespace(), ledger)?;
    session.echo("allowed")?;
    manifests::write(
        POLICIES,
        &[manifests::allow_only("callers", BANK, "ledger", &["nobody"])],
    )?;
    session.wait_cut()?;
    becomes(&world, "client", false)?;
    manifests::write(
        POLICIES,
        &[manifests::allow_only("callers", BANK, "ledger", &["client"])],
    )?;
    becomes(&world, "client", true)?;
    // Only a waypoint can tell methods, and there is none: nothing of it is allowed.
    let methods = json!({ "rules": [{ "to": [{ "operation": { "methods": ["GET"] } }] }] });
    manifests::write(POLICIES, &[policy("methods", &methods)])?;
    becomes(&world, "client", false)?;
    let told = page(&mut world, "/debug/conditions")?;
    let condition = &told["AuthorizationPolicy bank/methods"][0];
    ensure!(condition["reason"] == "UnsupportedValue", "{told}");
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(message.contains("rules[0].to[0].operation.methods"), "{message}");
    // PERMISSIVE lets the outsider in, where policies do.
    let permissive = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": { "name": "open", "namespace": BANK },
        "spec": { "mtls": { "mode": "PERMISSIVE" } },
    });
    manifests::write(POLICIES, &[permissive])?;
    becomes(&world, "outsider", true)?;
    manifests::write(POLICIES, &[])?;
    becomes(&world, "outsider", false)?;
    becomes(&world, "client", true)
}

/// A policy that allows the client comes and goes, again and again: the client notices nothing, because no tunnel ever
/// knows that there is a policy before it knows which.
pub fn a_policy_that_allows_disturbs_nobody() -> anyhow::Result<()> {
    let mut world = build(&[])?;
    let namespace = world.pod("client")?.namespace().clone();
    let mut session = Session::open(&namespace, SocketAddr::new(LEDGER_VIP, ECHO_PORT))?;
    let traffic = Traffic::start(&namespace, SocketAddr::new(LEDGER_VIP, HTTP_PORT), 2)?;
    for round in 0..5 {
        manifests::write(
            POLICIES,
            &[manifests::allow_only("callers", BANK, "ledger", &["client"])],
        )?;
        known(&mut world, "bank/callers", true)?;
        traffic.wait_answers(20)?;
        session.echo(&format!("with a policy, round {round}"))?;
        manifests::write(POLICIES, &[])?;
        known(&mut world, "bank/callers", false)?;
        traffic.wait_answers(20)?;
        session.echo(&format!("without, round {round}"))?;
    }
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    Ok(())
}

/// Waits until the tunnel of the server knows a policy, or does not.
fn known(world: &mut World, policy: &str, wanted: bool) -> anyhow::Result<()> {
    let (_, name) = policy.split_once('/').context("a name")?;
    let tunnel = world.node(1)?.tunnel()?;
    observe::eventually(format_args!("{policy} to be known: {wanted}"), || {
        let dump: Value = serde_json::from_str(&tunnel.admin("GET", "/config_dump")?.body)?;
        let policies = dump["policies"].as_array().context("no policies")?;
        let known = policies.iter().any(|policy| policy["name"] == name);
        Ok((known == wanted).then_some(()))
    })
}

/// Text that cannot be understood changes nothing, and what is right beside it counts.
pub fn a_broken_manifest_leaves_what_was() -> anyhow::Result<()> {
    let mut world = build(&[])?;
    manifests::write(
        POLICIES,
        &[manifests::allow_only("callers", BANK, "ledger", &["nobody"])],
    )?;
    becomes(&world, "client", false)?;
    let log = world.control()?.process()?.log().to_owned();
    let mark = observe::mark(&log)?;
    std::fs::write(
        manifests::file(POLICIES),
        "apiVersion: security.istio.io/v1\nkind: [\n",
    )?;
    observe::line(&log, mark, &[POLICIES, "not YAML", "what was there before stays"])?;
    // A document that is right is taken meanwhile.
    manifests::write("more.yaml", &[policy("more", &json!({ "action": "DENY" }))])?;
    observe::eventually("the other file to be applied", || {
        let known = page(&mut world, "/debug/registryz")?;
        Ok(known["Authorization"]["bank/more"].is_string().then_some(()))
    })?;
    ensure!(
        !answered(&world, "client")?,
        "the broken file took its policy away"
    );
    std::fs::remove_file(manifests::file(POLICIES))?;
    becomes(&world, "client", true)
}

/// While the control plane is away everything goes on; when it is back, the tunnels hear what they missed.
pub fn traffic_outlives_the_control_plane() -> anyhow::Result<()> {
    let mut world = build(&[])?;
    let namespace = world.pod("client")?.namespace().clone();
    let traffic = Traffic::start(&namespace, SocketAddr::new(LEDGER_VIP, HTTP_PORT), 2)?;
    traffic.wait_answers(50)?;
    world.control()?.kill();
    traffic.wait_answers(200)?;
    manifests::write("more.yaml", &[policy("more", &json!({ "action": "DENY" }))])?;
    world.control()?.start()?;
    observe::eventually("both tunnels to be in step", || {
        let sync = page(&mut world, "/debug/syncz")?;
        let clients = sync["clients"].as_array().context("no clients")?;
        let synced = clients.iter().filter(|client| {
            let kinds = &client["kinds"];
            kinds["Address"]["state"] == "SYNCED" && kinds["Authorization"]["state"] == "SYNCED"
        });
        Ok((synced.count() == 2).then_some(()))
    })?;
    for node in world.nodes() {
        let tunnel = node.tunnel()?;
        observe::eventually("what was missed", || {
            let dump = tunnel.admin("GET", "/config_dump")?.body;
            Ok(dump.contains("\"more\"").then_some(()))
        })?;
    }
    traffic.wait_answers(50)?;
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    manifests::write(
        POLICIES,
        &[manifests::allow_only("callers", BANK, "ledger", &["nobody"])],
    )?;
    becomes(&world, "client", false)
}

/// The control plane is away, and a tunnel is replaced: its successor serves with the mesh and the certificates that were
/// kept for it, and mutual TLS goes on.
pub fn a_tunnel_is_replaced_while_the_control_plane_is_away() -> anyhow::Result<()> {
    let mut world = build(&[])?;
    manifests::write(
        POLICIES,
        &[manifests::allow_only("callers", BANK, "ledger", &["client"])],
    )?;
    known(&mut world, "bank/callers", true)?;
    let namespace = world.pod("client")?.namespace().clone();
    // Kept some seconds after the last change.
    for node in ["node-1", "node-2"] {
        let file = host::path(&format!("{node}-state/mesh.kept"));
        observe::eventually(format_args!("{node} to keep the mesh"), || {
            let text = std::fs::read(&file).unwrap_or_default();
            Ok(text.windows(7).any(|part| part == b"callers").then_some(()))
        })?;
    }
    world.control()?.kill();
    let traffic = Traffic::start(&namespace, SocketAddr::new(LEDGER_VIP, HTTP_PORT), 2)?;
    for node in 0..2 {
        traffic.wait_answers(20)?;
        world.start_tunnel(node)?;
        let status = world.retire_tunnel(node)?;
        ensure!(status.success(), "the old tunnel ended with {status}");
    }
    traffic.wait_answers(50)?;
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    ensure!(
        !answered(&world, "outsider")?,
        "plaintext was taken, although the mesh is strict"
    );
    let tunnel = world.node(1)?.tunnel()?;
    let explained = tunnel.admin("GET", "/explain?source=bank/client&destination=10.96.0.30:8080")?;
    ensure!(explained.body.contains("bank/callers"), "{}", explained.body);
    let dump = tunnel.admin("GET", "/config_dump")?.body;
    let dump: Value = serde_json::from_str(&dump)?;
    let error = dump["configuration"]["lastError"].as_str().unwrap_or_default();
    ensure!(
        error.contains("cannot connect"),
        "it does not say that it is alone: {error:?}"
    );
    // Keys are their owner's alone.
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        anyhow::Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
    };
    let directory = host::path("node-1-state");
    ensure!(mode(&directory)? == 0o700);
    for entry in std::fs::read_dir(&directory)? {
        ensure!(mode(&entry?.path())? == 0o600);
    }
    Ok(())
}

/// A tunnel that cannot prove who it is hears nothing, and does not become ready.
pub fn who_is_not_known_hears_nothing() -> anyhow::Result<()> {
    let mut world = build(&[])?;
    let attachment = world.pod("outsider")?.attachment.clone();
    let identity = Identity {
        name: "stranger",
        namespace: "adit-system",
        uid: "uid-of-stranger",
        service_account: "adit-tunnel",
        node: "node-2",
    };
    let address = attachment.addresses.v4.into();
    let mut settings = world.control()?.environment(identity, address)?;
    std::fs::write(host::path("stranger.token"), "eyJhbGciOiJub25lIn0.e30.")?;
    settings.push(("LOG_FORMAT".to_owned(), "json".to_owned()));
    settings.push((
        "INPOD_UDS".to_owned(),
        host::path("nobody.sock").display().to_string(),
    ));
    let settings = settings.into_iter().collect();
    let mut tunnel = Tunnel::start("stranger", &attachment.namespace, address, &settings)?;
    tunnel.line(observe::Mark::default(), &["no control plane", "authenticat"])?;
    ensure!(tunnel.is_running()?, "it has ended");
    let (status, pending) = tunnel.readiness()?;
    ensure!(status != 200, "it is ready: {pending}");
    ensure!(pending.contains("configuration"), "{pending}");
    let sync = page(&mut world, "/debug/syncz")?;
    let clients = sync["clients"].as_array().map(Vec::len);
    ensure!(clients == Some(2), "{sync}");
    let log = world.control()?.process()?.log().to_owned();
    observe::line(
        &log,
        observe::Mark::default(),
        &["discovery:", "the token does not hold"],
    )?;
    Ok(())
}
