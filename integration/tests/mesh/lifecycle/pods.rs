//! Pods come and go; those that stay do not notice.

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::host;
use adit::lab::observe;
use adit::lab::session::Session;
use adit::lab::traffic::Traffic;
use adit_integration::harness::agents::Agent;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::tunnels::Tunnel;
use adit_net::link;
use anyhow::ensure;

/// How many pods come and go.
const PODS: usize = 12;
/// Descriptors that may come and go with connections that are closing.
const SLACK: usize = 6;

/// Pods are made, called, and deleted in the middle of a connection, while two others talk.
pub fn pods_come_and_go_under_load() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    bed.configure()?;
    // The tunnels to pods that have vanished go when their silence is noticed, long after their removal is.
    let pings = [("ADIT_PING_INTERVAL", "3s"), ("ADIT_PING_TIMEOUT", "2s")];
    let tunnel = bed.start_tunnel(0, &pings)?;
    bed.enrol(&["client", "server"])?;
    let address = bed.socket("server", HTTP_PORT)?;
    bed.call("client", address)?;
    let descriptors = tunnel.descriptors()?;
    let traffic = Traffic::start(bed.namespace("client")?, address, 2)?;
    let mut sessions = Vec::new();
    for number in 0..PODS {
        sessions.push(come_and_go(&mut bed, &tunnel, &format!("guest-{number}"))?);
    }
    drop(sessions);
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "the others were disturbed: {tally:?}");
    ensure!(
        tally.answers() > 50,
        "only {} requests in so much time",
        tally.answers()
    );
    nothing_is_left(&tunnel)?;
    observe::eventually("descriptors of pods that have gone to be closed", || {
        Ok((tunnel.descriptors()? <= descriptors + SLACK).then_some(()))
    })
}

/// A pod is made, called, and deleted in the middle of a connection; the connection's other end.
fn come_and_go(bed: &mut Bed, tunnel: &Tunnel, name: &str) -> anyhow::Result<Session> {
    bed.add_pod(name, 0)?;
    bed.apply(&[tunnel])?;
    bed.enrol(&[name])?;
    let (http, echo) = (bed.socket(name, HTTP_PORT)?, bed.socket(name, ECHO_PORT)?);
    ensure!(
        bed.call("client", http)? == name,
        "somebody else answered for {name}"
    );
    let session = bed.session("client", echo)?;
    let mark = tunnel.mark()?;
    link::remove(bed.namespace(name)?, "eth0")?;
    bed.world.release(name)?;
    let fields = [
        ("outcome", "pod_gone"),
        ("dst.workload", name),
        ("direction", "inbound"),
    ];
    tunnel.access(mark, &fields)?;
    tunnel.line(mark, &["pod removed", name])?;
    bed.mesh.workloads.retain(|workload| workload["name"] != name);
    bed.apply(&[tunnel])?;
    Ok(session)
}

/// Two pods are served as before, and of the others nothing is to be seen.
fn nothing_is_left(tunnel: &Tunnel) -> anyhow::Result<()> {
    let metrics = tunnel.metrics()?;
    let count = |name: &str| metrics.sum(name, &[]);
    ensure!(
        count("workload_manager_active_proxy_count") == 2.0,
        "pods are left"
    );
    ensure!(
        count("workload_manager_proxies_stopped_total") == PODS as f64,
        "another number of pods was stopped"
    );
    ensure!(
        tunnel.serials()?.len() == 2,
        "certificates are left: {:?}",
        tunnel.serials()?
    );
    let dump = tunnel.dump()?;
    ensure!(
        dump["workloadState"]
            .as_object()
            .is_some_and(|pods| pods.len() == 2),
        "{}",
        dump["workloadState"]
    );
    Ok(())
}

/// A pod whose interface is gone cannot say goodbye: its peers notice that it does not answer.
pub fn a_peer_that_vanishes_is_noticed() -> anyhow::Result<()> {
    let mut bed = Bed::new(2)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 1)?;
    bed.add_pod("other", 1)?;
    bed.configure()?;
    let pings = [("ADIT_PING_INTERVAL", "500ms"), ("ADIT_PING_TIMEOUT", "1s")];
    let here = bed.start_tunnel(0, &pings)?;
    let _there = bed.start_tunnel(1, &[])?;
    bed.enrol(&["client", "server", "other"])?;
    let mut session = bed.session("client", bed.socket("server", ECHO_PORT)?)?;
    let mut bystander = bed.session("client", bed.socket("other", ECHO_PORT)?)?;
    let mark = here.mark()?;
    link::remove(bed.namespace("server")?, "eth0")?;
    session.wait_cut()?;
    let fields = [
        ("dst.workload", "server"),
        ("direction", "outbound"),
        ("level", "error"),
    ];
    let line = here.access(mark, &fields)?;
    ensure!(
        line["error"].as_str().is_some_and(|told| told.contains("PING")),
        "the silence is not told as the reason: {line}"
    );
    bystander.echo("still here")
}

/// A pod that is taken out of the mesh lives on: what it has open may finish, and nothing new comes in.
pub fn a_pod_that_leaves_the_mesh_may_finish() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    for pod in ["client", "server", "other"] {
        bed.add_pod(pod, 0)?;
    }
    bed.configure()?;
    let socket = host::path("own.sock");
    let path = socket.display().to_string();
    let agent = Agent::listen(&socket)?;
    let settings = [
        ("INPOD_UDS", path.as_str()),
        ("CONNECTION_TERMINATION_DEADLINE", "2s"),
    ];
    let tunnel = bed.start_tunnel(0, &settings)?;
    for pod in ["client", "server", "other"] {
        agent.enrol(bed.world.pod(pod)?)?;
    }
    let mut long = bed.session("client", bed.socket("server", ECHO_PORT)?)?;
    let mut bystander = bed.session("client", bed.socket("other", ECHO_PORT)?)?;
    let mark = tunnel.mark()?;
    agent.remove(bed.world.pod("server")?);
    long.echo("after it was told")?;
    long.wait_cut()?;
    tunnel.access(
        mark,
        &[
            ("outcome", "shutdown"),
            ("dst.workload", "server"),
            ("direction", "inbound"),
        ],
    )?;
    tunnel.line(mark, &["pod removed", "\"server\""])?;
    bystander.echo("not my business")?;
    bed.refused("client", bed.socket("server", HTTP_PORT)?)?;
    bed.call("client", bed.socket("other", HTTP_PORT)?)?;
    Ok(())
}
