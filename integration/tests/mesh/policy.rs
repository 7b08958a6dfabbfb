//! Who may call: policies of every kind, on connections that begin and on connections that live.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::world::PATIENCE;
use adit_integration::harness::credentials::spiffe;
use adit_integration::harness::pair::Pair;
use adit_integration::harness::plain::read_to_end;
use adit_integration::harness::watch::{FAILED, Watch, expect};
use adit_mesh::constants::ADMIN_PORT;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// The policy of most scenarios, as workloads name it.
const KEY: &str = "bank/doors";

/// `client` and `guest` on the first node, `server` on the second with the policy `doors`; `plain`, outside of the mesh.
fn build() -> anyhow::Result<Pair> {
    Pair::build(&[("client", 0), ("guest", 0), ("server", 1)], |bed| {
        bed.mesh.workload("server")["authorizationPolicies"] = json!([KEY]);
        bed.mesh
            .add_policy("doors", "bank", "Allow", principals("client"));
        bed.add_machine("plain", 0)
    })
}

fn principals(service_account: &str) -> Value {
    let principal = spiffe(service_account).replace("spiffe://", "");
    json!({ "principals": [{ "Exact": principal }] })
}

/// What `/explain` says about a call, as JSON.
fn explain(pair: &Pair, from: &str, port: u16) -> anyhow::Result<Value> {
    let source = pair.bed.world.pod(from)?.address();
    let destination = pair.bed.socket("server", port)?;
    let path = format!("/explain?direction=inbound&source={source}&destination={destination}");
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let mut stream = pair
        .second
        .namespace()
        .run(|| TcpStream::connect(admin))
        .flatten()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
    )?;
    let answer = String::from_utf8(read_to_end(&stream)?)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    serde_json::from_str(body).with_context(|| format!("/explain says {answer}"))
}

fn allowed(pair: &Pair, from: &str) -> anyhow::Result<()> {
    ensure!(pair.bed.call(from, pair.bed.socket("server", HTTP_PORT)?)? == "server");
    let explained = explain(pair, from, HTTP_PORT)?;
    ensure!(
        explained["verdict"]["allowed"] == true,
        "/explain says otherwise: {explained}"
    );
    Ok(())
}

/// The call is refused with this outcome, which the log, the metrics and `/explain` agree on; the line.
fn denied(pair: &Pair, from: &str, outcome: &str) -> anyhow::Result<Value> {
    let watch = Watch::begin(&pair.second)?;
    pair.bed.refused(from, pair.bed.socket("server", HTTP_PORT)?)?;
    let line = watch.line("inbound", outcome, &[("response_flags", "DENY")])?;
    watch.risen(
        FAILED,
        &[("reporter", "destination"), ("response_flags", "DENY")],
        1,
    )?;
    watch.risen(
        "adit_refused_connections_total",
        &[("outcome", outcome), ("direction", "inbound")],
        1,
    )?;
    let explained = explain(pair, from, HTTP_PORT)?;
    ensure!(
        explained["verdict"]["allowed"] == false,
        "/explain says otherwise: {explained}"
    );
    expect(&explained["verdict"], &[("outcome", outcome)])?;
    Ok(line)
}

/// One policy after the other: what it says, whether `client` may call and whether `guest` may.
pub fn each_kind_of_condition_decides() -> anyhow::Result<()> {
    let mut pair = build()?;
    let address = |name: &str| anyhow::Ok(format!("{}/32", pair.bed.world.pod(name)?.address()));
    let (client, guest) = (address("client")?, address("guest")?);
    let table = [
        ("Allow", principals("client"), true, false),
        ("Deny", principals("client"), false, true),
        (
            "Allow",
            json!({ "namespaces": [{ "Exact": "bank" }] }),
            true,
            true,
        ),
        (
            "Deny",
            json!({ "namespaces": [{ "Prefix": "ba" }] }),
            false,
            false,
        ),
        (
            "Allow",
            json!({ "notNamespaces": [{ "Exact": "bank" }] }),
            false,
            false,
        ),
        ("Allow", json!({ "sourceIps": [guest] }), false, true),
        ("Deny", json!({ "notSourceIps": [client] }), true, false),
        ("Allow", json!({ "destinationPorts": [HTTP_PORT] }), true, true),
        ("Allow", json!({ "destinationPorts": [ECHO_PORT] }), false, false),
        ("Deny", json!({ "destinationPorts": [HTTP_PORT] }), false, false),
    ];
    for (action, condition, for_client, for_guest) in table {
        pair.bed.mesh.policies[0]["action"] = json!(action);
        pair.bed.mesh.policies[0]["rules"] = json!([[[condition]]]);
        pair.apply()?;
        let outcome = if action == "Allow" {
            "policy_not_allowed"
        } else {
            "policy_denied"
        };
        for (from, may) in [("client", for_client), ("guest", for_guest)] {
            let checked = match may {
                true => allowed(&pair, from),
                false => denied(&pair, from, outcome).map(drop),
            };
            checked.with_context(|| format!("{from}, {action} {condition}"))?;
        }
    }
    Ok(())
}

/// A refusal is told at both ends: by the policy's name where it was decided, and as the peer's where it was not.
pub fn a_refusal_names_the_policy() -> anyhow::Result<()> {
    let pair = build()?;
    let watch = Watch::begin(&pair.first)?;
    let line = denied(&pair, "guest", "policy_not_allowed")?;
    expect(
        &line,
        &[("src.identity", &spiffe("guest")), ("dst.workload", "server")],
    )?;
    let error = line["error"].as_str().context("no reason")?;
    ensure!(error.contains(KEY), "the policy is not named in {error}");
    let explained = explain(&pair, "guest", HTTP_PORT)?;
    ensure!(
        explained.to_string().contains(KEY),
        "the policy is not named in {explained}"
    );
    let line = watch.line("outbound", "peer_denied", &[("src.workload", "guest")])?;
    expect(&line, &[("response_flags", "DENY"), ("dst.workload", "server")])?;
    watch.risen(FAILED, &[("reporter", "source"), ("response_flags", "DENY")], 1)
}

/// A dry-run policy changes nothing, and a policy that has not arrived lets nobody in.
pub fn a_dry_run_is_not_obeyed_and_a_missing_policy_is() -> anyhow::Result<()> {
    let mut pair = build()?;
    pair.bed.mesh.policies[0]["dryRun"] = json!(true);
    pair.apply()?;
    allowed(&pair, "guest")?;
    pair.bed.mesh.policies.clear();
    pair.apply()?;
    let line = denied(&pair, "client", "policy_missing")?;
    let error = line["error"].as_str().context("no reason")?;
    ensure!(error.contains(KEY), "the policy is not named in {error}");
    Ok(())
}

/// A connection that lives is cut when its policy changes and when another policy is attached to its workload; one that
/// is still allowed goes on.
pub fn a_change_cuts_the_connections_that_it_forbids() -> anyhow::Result<()> {
    let mut pair = build()?;
    let echo = pair.bed.socket("server", ECHO_PORT)?;
    pair.bed.mesh.policies[0]["rules"] = json!([[[principals("client")]], [[principals("guest")]]]);
    pair.bed
        .mesh
        .add_policy("nobody", "bank", "Deny", principals("client"));
    pair.apply()?;
    let mut client = pair.bed.session("client", echo)?;
    let mut guest = pair.bed.session("guest", echo)?;
    let watch = Watch::begin(&pair.second)?;
    pair.bed.mesh.policies[0]["rules"] = json!([[[principals("client")]]]);
    pair.apply()?;
    guest.wait_cut()?;
    client.echo("still here")?;
    let line = watch.line("inbound", "policy_changed", &[("src.workload", "guest")])?;
    expect(&line, &[("response_flags", "DENY")])?;
    let closed = [("reporter", "destination"), ("response_flags", "DENY")];
    watch.risen("istio_tcp_connections_closed_total", &closed, 1)?;
    pair.bed.mesh.workload("server")["authorizationPolicies"] = json!([KEY, "bank/nobody"]);
    pair.apply()?;
    client.wait_cut()?;
    watch.line("inbound", "policy_changed", &[("src.workload", "client")])?;
    Ok(())
}

/// Under a strict policy plaintext is refused, and cut where it lived already.
pub fn strictness_refuses_plaintext() -> anyhow::Result<()> {
    let mut pair = build()?;
    pair.bed.mesh.workload("server")["authorizationPolicies"] = json!([]);
    pair.bed.mesh.policies.clear();
    pair.apply()?;
    let echo = pair.bed.socket("server", ECHO_PORT)?;
    let mut outsider = pair.bed.session("plain", echo)?;
    let strict = json!({ "notPrincipals": [{ "Presence": [] }] });
    pair.bed.mesh.add_policy("strict", "bank", "Deny", strict)["scope"] = json!("Namespace");
    let watch = Watch::begin(&pair.second)?;
    pair.apply()?;
    outsider.wait_cut()?;
    watch.line("inbound", "policy_changed", &[("response_flags", "DENY")])?;
    let line = denied(&pair, "plain", "policy_denied")?;
    ensure!(
        line["src.identity"].is_null(),
        "an identity that nobody proved: {line}"
    );
    ensure!(
        line.to_string().contains("bank/strict"),
        "the policy is not named in {line}"
    );
    allowed(&pair, "client")
}
