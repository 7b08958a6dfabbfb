//! A rolling update as Kubernetes does it: a new pod, healthy and an endpoint before an old one ceases to be one, SIGTERM,
//! and in the end the pod, its address and its network namespace are gone. Nobody who calls the service notices.

use std::time::{Duration, Instant};

use adit::lab::apps::HTTP_PORT;
use adit::lab::traffic::{Tally, Traffic};
use adit_integration::harness::bed::NAMESPACE;
use adit_integration::harness::pair::Pair;
use anyhow::{Context, ensure};
use serde_json::{Value, json};

const SERVICE: &str = "web";
const VIP: &str = "10.96.0.70";
/// The replicas at the beginning, and where each of them and its successors are.
const REPLICAS: [(&str, usize); 3] = [("web-1", 0), ("web-2", 1), ("web-3", 0)];
/// Requests a second, each over a connection of its own.
const RATE: u32 = 200;
/// How often every replica is replaced.
const ROUNDS: usize = 2;

/// Every replica is replaced twice under two hundred requests a second from both nodes, and none of them fails.
pub fn a_rolling_update_fails_no_request() -> anyhow::Result<()> {
    let clients = [("client-1", 0), ("client-2", 1)];
    let pods: Vec<_> = clients.into_iter().chain(REPLICAS).collect();
    let mut pair = Pair::build(&pods, |bed| {
        bed.mesh
            .add_service(SERVICE, NAMESPACE, VIP, json!({ "80": HTTP_PORT }));
        for (replica, _) in REPLICAS {
            bed.mesh.serves(replica, SERVICE, NAMESPACE, json!({}));
        }
        Ok(())
    })?;
    let address = format!("{VIP}:80").parse()?;
    let from = [pair.bed.namespace("client-1")?, pair.bed.namespace("client-2")?];
    let traffic = Traffic::at_rate(&from, address, RATE)?;
    let started = Instant::now();
    let mut replicas = REPLICAS.map(|(name, node)| (name.to_owned(), node));
    for round in 0..ROUNDS {
        for (index, (replica, node)) in replicas.iter_mut().enumerate() {
            let next = format!("web-{}", (round + 1) * REPLICAS.len() + index + 1);
            add(&mut pair, &next, *node)?;
            traffic.wait_answers(50)?;
            remove(&mut pair, replica).with_context(|| format!("{replica} leaves for {next}"))?;
            *replica = next;
        }
    }
    let took = started.elapsed();
    judge(&traffic.stop(), took)
}

/// A new replica: made, taken into the mesh, found healthy, and only then an endpoint.
fn add(pair: &mut Pair, name: &str, node: usize) -> anyhow::Result<()> {
    pair.bed.add_pod(name, node)?["status"] = json!("Unhealthy");
    pair.apply()?;
    pair.bed.enrol(&[name])?;
    pair.bed.mesh.serves(name, SERVICE, NAMESPACE, json!({}));
    pair.bed.mesh.workload(name)["status"] = json!("Healthy");
    pair.apply()
}

/// An old replica: no endpoint any more, told to end in the moment in which that is written, for neither waits for the
/// other in a cluster; and gone once it has ended.
fn remove(pair: &mut Pair, name: &str) -> anyhow::Result<()> {
    let pod = pair.bed.world.pod(name)?;
    let (uid, node) = (pod.uid.clone(), pod.spec.node);
    let tunnel = if node == 0 { &pair.first } else { &pair.second };
    let mark = tunnel.mark()?;
    pair.bed.mesh.workload(name)["services"] = json!({});
    pair.bed.configure()?;
    let ended = pair.bed.world.end_app(name)?;
    ensure!(ended.success(), "{name} ended with {ended}");
    pair.bed.world.remove_pod(name)?;
    pair.bed
        .mesh
        .workloads
        .retain(|workload| workload["name"] != name);
    pair.apply()?;
    let told = tunnel.line(mark, &["pod removed", &format!("\"{name}\"")])?;
    let told: Value = serde_json::from_str(&told)?;
    ensure!(told["connections_cut"] == 0, "connections were cut: {told}");
    let served = &tunnel.dump()?["workloadState"];
    ensure!(served[&uid].is_null(), "{name} is still served: {served}");
    Ok(())
}

fn judge(tally: &Tally, took: Duration) -> anyhow::Result<()> {
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    let replicas = REPLICAS.len() * (ROUNDS + 1);
    ensure!(
        tally.answered.len() == replicas,
        "not every replica had its share: {tally:?}"
    );
    // A crowded machine is late; half of the rate is load enough for what is proved.
    let due = took.as_secs_f64() * f64::from(RATE);
    ensure!(
        tally.answers() as f64 > due / 2.0,
        "only {} of {due:.0} requests were made",
        tally.answers()
    );
    Ok(())
}
