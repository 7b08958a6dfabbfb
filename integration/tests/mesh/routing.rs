//! Where connections go: services of every kind, and the endpoint that is chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use adit::lab::apps::HTTP_PORT;
use adit::lab::world::PodSpec;
use adit_integration::harness::bed::{Bed, NAMESPACE};
use adit_integration::harness::pair::Pair;
use adit_integration::harness::plain::Pages;
use adit_integration::harness::watch::{CLOSED, FAILED, Watch, expect};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// The virtual address of the service of most scenarios, and its port.
const VIP: &str = "10.96.0.10";
const PORT: u16 = 80;
/// Its hostname.
const HOSTNAME: &str = "ledger.bank.svc.cluster.local";

fn service() -> SocketAddr {
    SocketAddr::new(VIP.parse().expect("an address"), PORT)
}

/// `client` on the first node and an endpoint of `ledger` on each.
fn two_replicas(edit: impl FnOnce(&mut Bed) -> anyhow::Result<()>) -> anyhow::Result<Pair> {
    Pair::build(&[("client", 0), ("near", 0), ("far", 1)], |bed| {
        bed.mesh
            .add_service("ledger", NAMESPACE, VIP, json!({ "80": HTTP_PORT }));
        for endpoint in ["near", "far"] {
            bed.mesh.serves(endpoint, "ledger", NAMESPACE, json!({}));
        }
        edit(bed)
    })
}

/// Calls that all have to be answered: by whom, and how often.
fn calls(bed: &Bed, to: SocketAddr, number: u32) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut answers = BTreeMap::new();
    for _ in 0..number {
        *answers.entry(bed.call("client", to)?).or_default() += 1;
    }
    Ok(answers)
}

fn answers_of(bed: &Bed, to: SocketAddr, number: u32) -> anyhow::Result<BTreeSet<String>> {
    Ok(calls(bed, to, number)?.into_keys().collect())
}

fn are(found: &BTreeSet<String>, expected: &[&str]) -> anyhow::Result<()> {
    ensure!(
        found.iter().map(String::as_str).eq(expected.iter().copied()),
        "{found:?}, not {expected:?}"
    );
    Ok(())
}

/// Both endpoints are used, at their target port, and both tunnels tell of the service.
pub fn a_service_is_spread_over_two_nodes() -> anyhow::Result<()> {
    let pair = two_replicas(|_| Ok(()))?;
    let (from, to) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    let answers = calls(&pair.bed, service(), 50)?;
    ensure!(
        answers.len() == 2 && answers.values().all(|count| *count >= 10),
        "uneven: {answers:?}"
    );
    let line = from.completed("outbound", &[("dst.workload", "far")])?;
    expect(&line, &[("dst.service", HOSTNAME), ("src.workload", "client")])?;
    let line = to.completed("inbound", &[("src.workload", "client")])?;
    expect(&line, &[("dst.service", HOSTNAME)])?;
    let labels = [
        ("reporter", "source"),
        ("destination_service", HOSTNAME),
        ("destination_service_name", "ledger"),
    ];
    from.risen(CLOSED, &labels, 50)
}

/// Every endpoint has a port of its own by that name.
pub fn a_named_port_is_each_endpoints_own() -> anyhow::Result<()> {
    const OTHER: u16 = 7070;
    let pair = Pair::build(&[("client", 0), ("near", 0), ("far", 1)], |bed| {
        bed.mesh.add_service("ledger", NAMESPACE, VIP, json!({ "80": 0 }));
        bed.mesh
            .serves("near", "ledger", NAMESPACE, json!({ "80": HTTP_PORT }));
        bed.mesh
            .serves("far", "ledger", NAMESPACE, json!({ "80": OTHER }));
        Ok(())
    })?;
    let _pages = Pages::serve(pair.bed.namespace("far")?, OTHER, "other")?;
    are(&answers_of(&pair.bed, service(), 30)?, &["near", "other"])
}

/// A port that the service does not have.
pub fn a_port_that_a_service_does_not_have_is_refused() -> anyhow::Result<()> {
    let pair = two_replicas(|_| Ok(()))?;
    let watch = Watch::begin(&pair.first)?;
    pair.bed.refused("client", SocketAddr::new(service().ip(), 81))?;
    watch.line(
        "outbound",
        "no_port",
        &[("response_flags", "NO_PORT"), ("dst.service", HOSTNAME)],
    )?;
    watch.risen(FAILED, &[("response_flags", "NO_PORT")], 1)
}

/// A pod of a service that is called by its own address is called itself, whatever its service says.
pub fn a_pod_that_is_called_by_its_address_answers_itself() -> anyhow::Result<()> {
    let pair = two_replicas(|_| Ok(()))?;
    for pod in ["near", "far"] {
        are(
            &answers_of(&pair.bed, pair.bed.socket(pod, HTTP_PORT)?, 5)?,
            &[pod],
        )?;
    }
    Ok(())
}

/// Every address of a range leads to the endpoints; addresses beside it do not.
pub fn a_service_of_a_range_takes_all_its_addresses() -> anyhow::Result<()> {
    let pair = two_replicas(|bed| {
        bed.mesh.services[0]["cidrVips"] = json!([{ "cidr": "10.97.0.0/24", "network": "" }]);
        Ok(())
    })?;
    let watch = Watch::begin(&pair.first)?;
    for last in [0, 7, 255] {
        let address = SocketAddr::from(([10, 97, 0, last], PORT));
        are(&answers_of(&pair.bed, address, 12)?, &["far", "near"])?;
    }
    watch.completed("outbound", &[("dst.service", HOSTNAME)])?;
    let beside = Watch::begin(&pair.first)?;
    let beyond = SocketAddr::from(([10, 97, 1, 0], PORT));
    pair.bed.refused("client", beyond)?;
    beside.line("outbound", "connect_failed", &[("dst.addr", &beyond.to_string())])?;
    Ok(())
}

/// A passthrough service's address is dialled as it is.
pub fn a_passthrough_service_is_left_alone() -> anyhow::Result<()> {
    let pair = Pair::build(&[("client", 0)], |bed| {
        bed.add_machine("outside", 1)?;
        bed.run_app("outside")?;
        let address = bed.world.pod("outside")?.address().to_string();
        let service = bed
            .mesh
            .add_service("legacy", NAMESPACE, &address, json!({ "8080": HTTP_PORT }));
        service["loadBalancer"] = json!({ "mode": "Passthrough" });
        Ok(())
    })?;
    let watch = Watch::begin(&pair.first)?;
    are(
        &answers_of(&pair.bed, pair.bed.socket("outside", HTTP_PORT)?, 1)?,
        &["outside"],
    )?;
    let line = watch.completed("outbound", &[("dst.service", "legacy.bank.svc.cluster.local")])?;
    ensure!(line["dst.workload"].is_null(), "a workload in {line}");
    Ok(())
}

/// A service of a namespace's own is not there for clients of another.
pub fn a_service_of_one_namespace_is_hidden_from_others() -> anyhow::Result<()> {
    let mut pair = two_replicas(|bed| {
        bed.mesh.services[0]["visibility"] = json!("Namespace");
        let spec = PodSpec {
            name: "foreign".to_owned(),
            namespace: "elsewhere".to_owned(),
            service_account: "foreign".to_owned(),
            node: 0,
        };
        let node = bed.world.node(0)?.name.clone();
        bed.mesh.add_pod(bed.world.add_pod(spec)?, &node);
        Ok(())
    })?;
    pair.bed.enrol(&["foreign"])?;
    are(&answers_of(&pair.bed, service(), 20)?, &["far", "near"])?;
    let watch = Watch::begin(&pair.first)?;
    pair.bed.refused("foreign", service())?;
    watch.line("outbound", "not_visible", &[("src.workload", "foreign")])?;
    pair.bed.mesh.services[0]["visibility"] = json!("Public");
    pair.apply()?;
    pair.bed.call("foreign", service())?;
    Ok(())
}

/// An unhealthy endpoint gets nothing, unless the service takes all; without any endpoint the service is refused.
pub fn an_unhealthy_endpoint_is_left_out_unless_all_are_allowed() -> anyhow::Result<()> {
    let mut pair = two_replicas(|bed| {
        bed.mesh.workload("far")["status"] = json!("Unhealthy");
        Ok(())
    })?;
    are(&answers_of(&pair.bed, service(), 20)?, &["near"])?;
    pair.bed.mesh.services[0]["loadBalancer"] = json!({ "healthPolicy": "AllowAll" });
    pair.apply()?;
    are(&answers_of(&pair.bed, service(), 30)?, &["far", "near"])?;
    pair.bed.mesh.services[0]["loadBalancer"] = json!({});
    pair.bed.mesh.workload("near")["status"] = json!("Unhealthy");
    pair.apply()?;
    let watch = Watch::begin(&pair.first)?;
    pair.bed.refused("client", service())?;
    watch.line(
        "outbound",
        "no_endpoint",
        &[("dst.service", HOSTNAME), ("response_flags", "NO_ENDPOINT")],
    )?;
    watch.risen(
        FAILED,
        &[
            ("response_flags", "NO_ENDPOINT"),
            ("destination_service_name", "ledger"),
        ],
        1,
    )
}

/// How to choose, who may be chosen, and whether each of the endpoints is healthy.
struct Preference {
    balancer: Value,
    near: &'static str,
    expected: &'static [&'static str],
}

/// Failover prefers what is near and takes the rest when there is nothing near; strict never takes the rest.
pub fn failover_prefers_what_is_near_and_strict_demands_it() -> anyhow::Result<()> {
    let mut pair = two_replicas(|bed| {
        for (pod, zone) in [("client", "a"), ("near", "a"), ("far", "b")] {
            bed.mesh.workload(pod)["locality"] = json!({ "region": "r", "zone": zone });
        }
        Ok(())
    })?;
    let failover = |scopes: Value| json!({ "mode": "Failover", "routingPreferences": scopes });
    let strict = |scopes: Value| json!({ "mode": "Strict", "routingPreferences": scopes });
    let table = [
        (failover(json!(["Region", "Zone"])), "Healthy", &["near"] as &[_]),
        (failover(json!(["Region", "Zone"])), "Unhealthy", &["far"]),
        (
            failover(json!(["Network", "Region", "Zone"])),
            "Healthy",
            &["near"],
        ),
        (failover(json!(["Region"])), "Healthy", &["far", "near"]),
        (failover(json!(["Node"])), "Healthy", &["near"]),
        (strict(json!(["Node"])), "Healthy", &["near"]),
        (strict(json!(["Zone"])), "Unhealthy", &[]),
        (strict(json!(["Region"])), "Unhealthy", &["far"]),
    ];
    for (balancer, near, expected) in table {
        let case = Preference {
            balancer,
            near,
            expected,
        };
        prefer(&mut pair, &case).with_context(|| format!("{}, near is {}", case.balancer, case.near))?;
    }
    Ok(())
}

fn prefer(pair: &mut Pair, case: &Preference) -> anyhow::Result<()> {
    pair.bed.mesh.services[0]["loadBalancer"] = case.balancer.clone();
    pair.bed.mesh.workload("near")["status"] = json!(case.near);
    pair.apply()?;
    if case.expected.is_empty() {
        let watch = Watch::begin(&pair.first)?;
        pair.bed.refused("client", service())?;
        watch.line("outbound", "no_endpoint", &[("dst.service", HOSTNAME)])?;
        return Ok(());
    }
    are(&answers_of(&pair.bed, service(), 20)?, case.expected)
}

/// No request fails because one endpoint refuses connections, and after a few it is not even tried.
pub fn a_refused_endpoint_costs_no_request_and_is_ejected() -> anyhow::Result<()> {
    const MANY: u32 = 60;
    let mut pair = two_replicas(|bed| {
        bed.add_bare("dead", 1)?;
        bed.mesh.serves("dead", "ledger", NAMESPACE, json!({}));
        Ok(())
    })?;
    pair.bed.enrol(&["dead"])?;
    let (from, to) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    let answers = calls(&pair.bed, service(), MANY)?;
    ensure!(answers.len() == 2, "{answers:?}");
    from.risen(CLOSED, &[("reporter", "source"), ("response_flags", "-")], MANY)?;
    ensure!(from.rise(FAILED, &[])? == 0.0, "a connection counts as failed");
    let line = to.line("inbound", "connect_failed", &[("dst.workload", "dead")])?;
    ensure!(line["error"].is_string(), "no reason in {line}");
    let tried = to.rise(FAILED, &[("destination_workload", "dead")])?;
    let by_name = to.rise("adit_refused_connections_total", &[("outcome", "connect_failed")])?;
    ensure!(tried.max(by_name) >= 1.0, "the dead endpoint was never tried");
    ensure!(
        by_name <= 15.0,
        "the dead endpoint was tried {by_name} times in {MANY} calls"
    );
    Ok(())
}
