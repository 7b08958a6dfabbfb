//! The file with the mesh: late, broken, and replaced in every way in which files are.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use adit::lab::apps::HTTP_PORT;
use adit::lab::host;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::document::replace;
use adit_integration::harness::tunnels::Tunnel;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

fn build(settings: &[(&str, &str)]) -> anyhow::Result<(Bed, Tunnel)> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    bed.configure()?;
    let tunnel = bed.start_tunnel(0, settings)?;
    bed.enrol(&["client", "server"])?;
    Ok((bed, tunnel))
}

/// What is no mesh at all is reported, counted, and passed over.
pub fn a_broken_edit_is_reported_and_changes_nothing() -> anyhow::Result<()> {
    let (bed, tunnel) = build(&[])?;
    let address = bed.socket("server", HTTP_PORT)?;
    let good = bed.mesh.text();
    let half = good[..good.len() / 2].to_owned();
    let broken = [
        half.as_str(),
        "",
        "workloads: 7\n",
        "workloads: []\npolicys: []\n",
        "workloads: [\n",
        "- a\n",
    ];
    for (number, text) in broken.into_iter().enumerate() {
        let mark = tunnel.mark()?;
        replace(&Bed::mesh_file(), text)?;
        let reported = tunnel.line(mark, &["configuration not applied", "error"]);
        reported.with_context(|| format!("broken edit number {number}"))?;
        let labels = [("source", "local")];
        tunnel.wait_metric("adit_configuration_errors_total", &labels, (number + 1) as f64)?;
        let status = &tunnel.dump()?["configuration"];
        let error = status["lastError"]
            .as_str()
            .with_context(|| format!("no error in {status}"))?;
        ensure!(error.contains("mesh.yaml"), "the file is not named: {error}");
        ensure!(bed.call("client", address)? == "server", "somebody else answered");
    }
    let mark = tunnel.mark()?;
    fs::remove_file(Bed::mesh_file())?;
    tunnel.line(mark, &["configuration not applied", "cannot be read"])?;
    bed.call("client", address)?;
    bed.apply(&[&tunnel])?;
    let status = &tunnel.dump()?["configuration"];
    ensure!(
        status["lastError"].is_null(),
        "an error after a good edit: {status}"
    );
    bed.call("client", address)?;
    Ok(())
}

/// A policy that cannot be read denies, a service that cannot be read is refused by name; one that was good before stays
/// as it was; the others do not notice.
pub fn a_resource_that_cannot_be_read_refuses_its_own() -> anyhow::Result<()> {
    let (mut bed, tunnel) = build(&[])?;
    let direct = bed.socket("server", HTTP_PORT)?;
    let vip: SocketAddr = "10.96.2.1:8080".parse()?;
    let is_client = json!({"principals": [{"Exact": "cluster.local/ns/bank/sa/client"}]});
    bed.mesh
        .add_service("ledger", "bank", "10.96.2.1", json!({"8080": 8080}));
    bed.mesh.serves("server", "ledger", "bank", json!({"8080": 8080}));
    bed.mesh.add_policy("callers", "bank", "Allow", is_client.clone());
    bed.mesh.workload("server")["authorizationPolicies"] = json!(["bank/callers"]);
    bed.apply(&[&tunnel])?;
    bed.call("client", vip)?;

    // Was good, is broken: the last good one stays.
    bed.mesh.services[0]["ports"] = json!({"8080": "eighty"});
    bed.mesh.policies[0]["rules"] = json!([[[{"principals": [{"Exact": ""}]}]]]);
    bed.apply(&[&tunnel])?;
    bed.call("client", vip)?;
    rejected(&tunnel, &["ledger.bank.svc.cluster.local", "bank/callers"])?;

    // Never was good: refused by name, and denied.
    bed.mesh
        .add_service("till", "bank", "10.96.2.2", json!({"8080": "eighty"}));
    bed.mesh.serves("server", "till", "bank", json!({"8080": 8080}));
    bed.mesh.add_policy(
        "half-written",
        "bank",
        "Deny",
        json!({"sourceIps": ["10.0.0.0/8/8"]}),
    );
    bed.apply(&[&tunnel])?;
    let mark = tunnel.mark()?;
    bed.refused("client", "10.96.2.2:8080".parse()?)?;
    tunnel.access(
        mark,
        &[
            ("outcome", "invalid_configuration"),
            ("response_flags", "INVALID_CONFIG"),
        ],
    )?;
    bed.call("client", direct)?;
    bed.mesh.workload("server")["authorizationPolicies"] = json!(["bank/callers", "bank/half-written"]);
    bed.apply(&[&tunnel])?;
    let mark = tunnel.mark()?;
    bed.refused("client", direct)?;
    let line = tunnel.access(mark, &[("outcome", "policy_missing"), ("direction", "inbound")])?;
    ensure!(
        line["error"]
            .as_str()
            .is_some_and(|told| told.contains("half-written")),
        "{line}"
    );

    // Mended: as if nothing had been.
    bed.mesh.services[0]["ports"] = json!({"8080": 8080});
    bed.mesh.services[1]["ports"] = json!({"8080": 8080});
    bed.mesh.policies[0]["rules"] = json!([[[is_client]]]);
    bed.mesh.policies[1]["rules"] = json!([[[{"sourceIps": ["192.0.2.0/24"]}]]]);
    bed.apply(&[&tunnel])?;
    rejected(&tunnel, &[])?;
    bed.call("client", vip)?;
    bed.call("client", "10.96.2.2:8080".parse()?)?;
    Ok(())
}

/// The dump names these, and no others, as rejected.
fn rejected(tunnel: &Tunnel, names: &[&str]) -> anyhow::Result<()> {
    let status = tunnel.dump()?["configuration"].take();
    let list: Vec<_> = status["rejected"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let named = names
        .iter()
        .all(|name| list.iter().any(|rejected| rejected.contains(name)));
    ensure!(
        named && list.len() == names.len(),
        "rejected are {list:?}, not {names:?}"
    );
    Ok(())
}

/// By a rename, in place, and through the links that Kubernetes mounts a ConfigMap with.
pub fn the_file_may_be_replaced_in_every_usual_way() -> anyhow::Result<()> {
    let directory = host::path("mounted");
    fs::create_dir(&directory)?;
    let file = directory.join("mesh.yaml");
    let path = file.display().to_string();
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    let publish = |version: &str, text: &str| -> anyhow::Result<()> {
        let data = directory.join(format!("..{version}"));
        fs::create_dir(&data)?;
        fs::write(data.join("mesh.yaml"), text)?;
        let link = directory.join("..data_tmp");
        symlink(format!("..{version}"), &link)?;
        fs::rename(link, directory.join("..data"))?;
        Ok(())
    };
    publish("1", &bed.mesh.text())?;
    symlink("..data/mesh.yaml", &file)?;
    let tunnel = bed.start_tunnel(0, &[("LOCAL_XDS_PATH", &path)])?;
    bed.enrol(&["client", "server"])?;
    bed.call("client", bed.socket("server", HTTP_PORT)?)?;
    let expect = |vip: &str| -> anyhow::Result<()> {
        adit::lab::observe::eventually(format_args!("{vip} to be applied"), || {
            let dump = tunnel.admin("GET", "/config_dump")?.body;
            Ok(dump.contains(&format!("/{vip}\"")).then_some(()))
        })?;
        bed.call("client", SocketAddr::new(vip.parse()?, HTTP_PORT))
            .map(drop)
    };
    let with = |vip: &str| {
        let mut mesh = bed.mesh.clone();
        mesh.add_service("ledger", "bank", vip, json!({"8080": 8080}));
        mesh.serves("server", "ledger", "bank", json!({"8080": 8080}));
        mesh.text()
    };
    publish("2", &with("10.96.3.1"))?;
    expect("10.96.3.1").context("through ConfigMap's links")?;
    replace(&file, &with("10.96.3.2"))?;
    expect("10.96.3.2").context("by a rename over a link")?;
    replace(&file, &with("10.96.3.3"))?;
    expect("10.96.3.3").context("by a rename over a file")?;
    fs::write(&file, with("10.96.3.4"))?;
    expect("10.96.3.4").context("in place")
}

/// What the application sees is a slow connect; how long at most, another scenario shows.
pub fn a_connection_before_the_configuration_waits_for_it() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    let file = host::path("late.yaml");
    let tunnel = bed.launch(0, &[("LOCAL_XDS_PATH", "/run/adit/late.yaml")])?;
    bed.enrol(&["client", "server"])?;
    let address = bed.socket("server", HTTP_PORT)?;
    std::thread::scope(|scope| {
        let call = scope.spawn(|| bed.call("client", address));
        adit::lab::observe::eventually("the connection in the table", || {
            let connections = &tunnel.dump()?["workloadState"]["uid-of-bank-client"]["connections"];
            Ok(connections["outbound"]
                .as_array()
                .is_some_and(|some| !some.is_empty())
                .then_some(()))
        })?;
        ensure!(!call.is_finished(), "the connection did not wait");
        replace(&file, &bed.mesh.text())?;
        let answered = call.join().expect("no panic")?;
        ensure!(answered == "server", "{answered} answered");
        tunnel.access(
            adit::lab::observe::Mark::default(),
            &[("outcome", "completed"), ("direction", "outbound")],
        )?;
        tunnel.wait_readiness("ready")
    })
}
