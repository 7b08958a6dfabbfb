//! The pages of the administration and metrics servers, and the log.

use std::process::Stdio;

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::host;
use adit::lab::observe;
use adit::lab::traffic::Traffic;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::spiffe;
use adit_integration::harness::tunnels::Tunnel;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// What istioctl, Kiali and Prometheus read.
pub fn the_pages_have_their_shape() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    bed.mesh
        .add_service("ledger", "bank", "10.96.4.1", json!({"8080": 8080}));
    bed.mesh.serves("server", "ledger", "bank", json!({"8080": 8080}));
    bed.mesh.add_policy(
        "callers",
        "bank",
        "Allow",
        json!({"namespaces": [{"Exact": "bank"}]}),
    );
    bed.configure()?;
    let tunnel = bed.start_tunnel(0, &[])?;
    bed.enrol(&["client", "server"])?;
    let _session = bed.session("client", bed.socket("server", ECHO_PORT)?)?;
    dump(&tunnel.dump()?)?;
    metrics(&tunnel)?;
    logging(&bed, &tunnel)
}

fn dump(dump: &Value) -> anyhow::Result<()> {
    let list = |key: &str, length: usize| -> anyhow::Result<Vec<Value>> {
        let found = dump[key]
            .as_array()
            .with_context(|| format!("{key} is no list in {dump}"))?;
        ensure!(found.len() == length, "{key} has {} entries", found.len());
        Ok(found.clone())
    };
    let workloads = list("workloads", 2)?;
    let client = workloads
        .iter()
        .find(|one| one["name"] == "client")
        .context("no client")?;
    for (key, value) in [
        ("namespace", "bank"),
        ("serviceAccount", "client"),
        ("protocol", "HBONE"),
        ("node", "node-1"),
    ] {
        ensure!(client[key] == value, "{key} of the client is {}", client[key]);
    }
    let services = list("services", 1)?;
    ensure!(
        services[0]["hostname"] == "ledger.bank.svc.cluster.local",
        "the service is {}",
        services[0]
    );
    ensure!(
        services[0]["vips"] == json!(["/10.96.4.1"]),
        "its addresses are {}",
        services[0]["vips"]
    );
    ensure!(
        services[0]["endpoints"]
            .as_object()
            .is_some_and(|some| some.len() == 1),
        "{}",
        services[0]
    );
    let policies = list("policies", 1)?;
    ensure!(
        policies[0]["action"] == "Allow" && policies[0]["scope"] == "WorkloadSelector",
        "{}",
        policies[0]
    );
    list("certificates", 2)?.iter().try_for_each(certificate)?;
    connections(&dump["workloadState"]["uid-of-bank-server"])?;
    ensure!(
        dump["version"].is_object() && dump["config"]["localNode"] == "node-1",
        "{}",
        dump["config"]
    );
    ensure!(!dump.to_string().contains("PRIVATE"), "a key in the dump");
    Ok(())
}

fn certificate(certificate: &Value) -> anyhow::Result<()> {
    ensure!(certificate["state"] == "Available", "{certificate}");
    for key in ["pem", "serialNumber", "validFrom", "expirationTime"] {
        for of in ["certChain", "rootCerts"] {
            ensure!(
                certificate[of][0][key].is_string(),
                "no {key} of {of} in {certificate}"
            );
        }
    }
    Ok(())
}

fn connections(server: &Value) -> anyhow::Result<()> {
    ensure!(
        server["state"] == "Up" && server["info"]["serviceAccount"] == "server",
        "{server}"
    );
    let inbound = &server["connections"]["inbound"][0];
    ensure!(
        inbound["protocol"] == "HBONE" && inbound["srcIdentity"] == spiffe("client"),
        "{inbound}"
    );
    for key in ["src", "originalDst", "actualDst"] {
        ensure!(inbound[key].is_string(), "no {key} in {inbound}");
    }
    Ok(())
}

fn metrics(tunnel: &Tunnel) -> anyhow::Result<()> {
    let text = tunnel.stats("/metrics")?;
    ensure!(
        text.status == 200
            && text
                .body
                .contains("# TYPE istio_tcp_connections_opened_total counter"),
        "{text:?}"
    );
    ensure!(
        text.body == tunnel.stats("/metrics")?.body || !text.body.is_empty(),
        "no metrics"
    );
    let open = accepting(tunnel, "application/openmetrics-text;version=1.0.0")?;
    ensure!(
        open.contains("# TYPE istio_tcp_connections_opened counter"),
        "not OpenMetrics:\n{open}"
    );
    ensure!(open.trim_end().ends_with("# EOF"), "OpenMetrics without its end");
    ensure!(
        !text.body.contains("# EOF"),
        "the text format with an end of OpenMetrics"
    );
    for name in [
        "adit_certificate_expiry_seconds",
        "adit_configuration_age_seconds",
        "istio_build",
        "process_open_fds",
    ] {
        ensure!(tunnel.metrics()?.select(name, &[]).next().is_some(), "no {name}");
    }
    let secure = [
        ("connection_security_policy", "mutual_tls"),
        ("source_principal", &*spiffe("client")),
    ];
    let opened = tunnel
        .metrics()?
        .sum("istio_tcp_connections_opened_total", &secure);
    ensure!(
        opened == 2.0,
        "{opened} connections with mutual TLS, of two ends of one"
    );
    Ok(())
}

/// Asks for a format, which the lab's client cannot.
fn accepting(tunnel: &Tunnel, format: &str) -> anyhow::Result<String> {
    use std::io::{Read, Write};
    let address = tunnel.stats_address();
    let mut stream = tunnel
        .namespace()
        .run(|| std::net::TcpStream::connect(address))
        .flatten()?;
    write!(
        stream,
        "GET /stats/prometheus HTTP/1.0\r\nHost: tunnel\r\nAccept: {format}\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn logging(bed: &Bed, tunnel: &Tunnel) -> anyhow::Result<()> {
    let post = |query: &str| tunnel.admin("POST", &format!("/logging{query}"));
    let listed = post("")?;
    ensure!(listed.status == 200 && listed.body.contains("info"), "{listed:?}");
    let wrong = post("?level=shout")?;
    ensure!(wrong.status == 400, "a level that is none: {wrong:?}");
    let changed = post("?level=access=off")?;
    ensure!(changed.status == 200, "{changed:?}");
    let address = bed.socket("server", HTTP_PORT)?;
    let mark = tunnel.mark()?;
    let labels = [("reporter", "source")];
    let closed = tunnel
        .metrics()?
        .sum("istio_tcp_connections_closed_total", &labels);
    bed.call("client", address)?;
    // Its line would be written when it has ended, which is after the answer.
    tunnel.wait_metric("istio_tcp_connections_closed_total", &labels, closed + 1.0)?;
    let reset = post("?reset")?;
    ensure!(reset.status == 200, "{reset:?}");
    bed.call("client", address)?;
    tunnel.access(mark, &[("direction", "outbound"), ("outcome", "completed")])?;
    let text = tunnel.text()?;
    let lines = text.lines().filter(|line| line.contains("\"scope\":\"access\""));
    let calls = lines
        .filter(|line| line.contains("\"direction\":\"outbound\"") && line.contains(":8080\""))
        .count();
    ensure!(
        calls == 1,
        "{calls} lines of one call with the log on and one with it off"
    );
    Ok(())
}

/// Nobody reads the pipe that the log goes to: lines are lost and counted, and no connection waits.
pub fn a_log_that_nobody_reads_never_blocks_traffic() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    bed.configure()?;
    let name = bed.next_name();
    let (namespace, address) = bed.place(&name, 0)?;
    let settings = bed
        .settings(0)?
        .into_iter()
        .chain([("RUST_LOG".to_owned(), "debug".to_owned())])
        .collect();
    let output = std::fs::File::create(host::path(&format!("{name}.log")))?;
    let mut tunnel = Tunnel::start_with(
        &name,
        &namespace,
        address,
        &settings,
        (Stdio::piped(), output.into()),
    )?;
    tunnel.wait_ready()?;
    bed.enrol(&["client", "server"])?;
    let traffic = Traffic::start(bed.namespace("client")?, bed.socket("server", HTTP_PORT)?, 4)?;
    observe::eventually("lines to be dropped", || {
        Ok((tunnel.metrics()?.sum("adit_log_lines_dropped_total", &[]) > 0.0).then_some(()))
    })?;
    traffic.wait_answers(500)?;
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    let mut pipe = tunnel.child().stdout.take().context("no pipe")?;
    let reader = std::thread::spawn(move || {
        // Read until the tunnel ends.
        let mut text = String::new();
        std::io::Read::read_to_string(&mut pipe, &mut text).map(|_| text)
    });
    tunnel.signal(nix::sys::signal::Signal::SIGTERM)?;
    tunnel.wait_end()?;
    let text = reader.join().expect("no panic")?;
    ensure!(text.contains("\"scope\":\"access\""), "no access log at all");
    ensure!(text.contains("dropped"), "the log does not tell of its losses");
    Ok(())
}
