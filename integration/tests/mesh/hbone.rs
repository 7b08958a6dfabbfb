//! What a peer may ask of a pod's HBONE port, by a client that asks what it likes.

use adit::lab::apps::HTTP_PORT;
use adit_hbone::client::OpenError;
use adit_integration::harness::bed::NAMESPACE;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::pair::Pair;
use adit_integration::harness::scripted::{Client, failure};
use adit_integration::harness::watch::{CLOSED, FAILED, Watch, expect};
use adit_mesh::constants::HBONE_PORT;
use anyhow::{Context, ensure};
use http::{Method, Request};
use serde_json::json;

const HOSTNAME: &str = "ledger.bank.svc.cluster.local";
const QUESTION: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// `server` is `ledger`, whose port 80 leads to its application and whose port 81 has a name; `outside` has nothing
/// but a certificate of a pod that is not known.
fn build() -> anyhow::Result<(Pair, Client)> {
    let pair = Pair::build(&[("server", 1), ("other", 1)], |bed| {
        bed.mesh.add_service(
            "ledger",
            NAMESPACE,
            "10.96.0.30",
            json!({ "80": HTTP_PORT, "81": 0 }),
        );
        bed.mesh
            .serves("server", "ledger", NAMESPACE, json!({ "81": HTTP_PORT }));
        bed.mesh
            .add_service("foreign", NAMESPACE, "10.96.0.31", json!({ "80": HTTP_PORT }));
        bed.add_machine("outside", 0)
    })?;
    let credentials = Ca::of_the_mesh()?.peer(&spiffe("outside"))?;
    let namespace = pair.bed.namespace("outside")?;
    let port = pair.bed.socket("server", HBONE_PORT)?;
    let client = Client::connect(namespace, port, &credentials, &spiffe("server"))??;
    Ok((pair, client))
}

/// By address, by the hostname of its service and a port with a number, and one with a name. The answer says whose
/// it is.
pub fn a_pod_is_asked_for_by_address_and_by_its_services_name() -> anyhow::Result<()> {
    let (pair, client) = build()?;
    let address = pair.bed.socket("server", HTTP_PORT)?.to_string();
    let watch = Watch::begin(&pair.second)?;
    for authority in [address, format!("{HOSTNAME}:80"), format!("{HOSTNAME}:81")] {
        let opened = client.open(&authority).map_err(failure);
        let (mut stream, headers) = opened.with_context(|| format!("asked for {authority}"))?;
        let baggage = headers
            .get("baggage")
            .context("no baggage in the answer")?
            .to_str()?
            .to_owned();
        for member in ["k8s.cluster.name=lab", "k8s.namespace.name=bank"] {
            ensure!(
                baggage.split(',').any(|found| found == member),
                "no {member} in {baggage}"
            );
        }
        let page = client.exchange(&mut stream, QUESTION)?;
        ensure!(page.starts_with(b"HTTP/1.0 200"), "{page:?} for {authority}");
    }
    // The client only moves while it is asked something: its streams end with it.
    drop(client);
    watch.risen(CLOSED, &[("reporter", "destination")], 3)?;
    ensure!(watch.rise(FAILED, &[])? == 0.0, "a connection counts as failed");
    let line = pair
        .second
        .access(Default::default(), &[("src.identity", &spiffe("outside"))])?;
    expect(&line, &[("dst.workload", "server"), ("direction", "inbound")])
}

/// What is not this pod is refused with its status, and the same HBONE connection goes on.
pub fn what_is_not_this_pod_is_refused() -> anyhow::Result<()> {
    let (pair, client) = build()?;
    let other = pair.bed.socket("other", HTTP_PORT)?.to_string();
    let server = pair.bed.world.pod("server")?.address();
    let unknown = "nobody.bank.svc.cluster.local:80".to_owned();
    let table = [
        (other, "wrong_destination", "400"),
        (
            format!("foreign.{NAMESPACE}.svc.cluster.local:80"),
            "wrong_destination",
            "400",
        ),
        ("127.0.0.1:8080".to_owned(), "wrong_destination", "400"),
        (format!("{server}:{HBONE_PORT}"), "loop", "503"),
        (format!("{server}:15001"), "loop", "503"),
        (unknown, "no_endpoint", "503"),
        (format!("{HOSTNAME}:82"), "no_port", "503"),
        (format!("{server}:1"), "connect_failed", "503"),
    ];
    for (authority, outcome, status) in table {
        let watch = Watch::begin(&pair.second)?;
        refused(client.open(&authority), status).with_context(|| format!("asked for {authority}"))?;
        let line = watch.line("inbound", outcome, &[("src.identity", &spiffe("outside"))])?;
        ensure!(line["level"] == "error", "not an error: {line}");
        watch.risen(
            "adit_refused_connections_total",
            &[("outcome", outcome), ("direction", "inbound")],
            1,
        )?;
    }
    let (mut stream, _) = client.open(&format!("{server}:{HTTP_PORT}")).map_err(failure)?;
    ensure!(
        client
            .exchange(&mut stream, QUESTION)?
            .starts_with(b"HTTP/1.0 200")
    );
    Ok(())
}

/// Another method is a bad request.
pub fn what_is_not_a_connect_is_refused() -> anyhow::Result<()> {
    let (pair, client) = build()?;
    let watch = Watch::begin(&pair.second)?;
    let uri = format!("http://{}/", pair.bed.socket("server", HTTP_PORT)?);
    refused(
        client.request(Request::builder().method(Method::GET).uri(uri).body(())?),
        "400",
    )?;
    watch.line("inbound", "bad_request", &[("response_flags", "BAD_REQUEST")])?;
    Ok(())
}

fn refused<T>(answer: Result<T, OpenError>, status: &str) -> anyhow::Result<()> {
    match answer {
        Ok(_) => anyhow::bail!("it was not refused"),
        Err(OpenError::Refused(failure)) => {
            ensure!(
                failure.detail.contains(status),
                "not refused with {status}: {failure:?}"
            );
            Ok(())
        }
        Err(other) => Err(anyhow::Error::new(failure(other)).context("the connection is lost")),
    }
}
