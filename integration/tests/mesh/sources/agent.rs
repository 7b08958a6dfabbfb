//! The node agent is lost, comes back, and talks nonsense.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::host;
use adit::lab::traffic::Traffic;
use adit::lab::world::Pod;
use adit_integration::harness::agents::{Agent, RawAgent, RawConnection};
use adit_integration::harness::bed::Bed;
use adit_integration::harness::tunnels::Tunnel;
use adit_proto::zds::{
    AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, WorkloadInfo, WorkloadRequest,
    workload_request::Payload,
};
use anyhow::{Context, ensure};
use prost::Message;

/// `client`, `server` and `other` on one node, and a tunnel that asks the agent at `path`.
fn build(path: &Path) -> anyhow::Result<(Bed, Tunnel)> {
    let mut bed = Bed::new(1)?;
    for pod in ["client", "server", "other"] {
        bed.add_pod(pod, 0)?;
    }
    bed.configure()?;
    let socket = path.display().to_string();
    // A pod that an agent no longer names may finish: not in these scenarios.
    let tunnel = bed.launch(
        0,
        &[("INPOD_UDS", &socket), ("CONNECTION_TERMINATION_DEADLINE", "0s")],
    )?;
    Ok((bed, tunnel))
}

fn path() -> PathBuf {
    host::path("own.sock")
}

/// Pods stay served while the agent is away; the next agent's snapshot, and what it asks to keep, is what counts then.
pub fn an_agent_that_comes_back_settles_what_is_served() -> anyhow::Result<()> {
    let (bed, mut tunnel) = build(&path())?;
    let agent = Agent::listen(&path())?;
    tunnel.wait_ready()?;
    for pod in ["client", "server", "other"] {
        agent.enrol(bed.world.pod(pod)?)?;
    }
    let (server, other) = (bed.socket("server", HTTP_PORT)?, bed.socket("other", HTTP_PORT)?);
    let traffic = Traffic::start(bed.namespace("client")?, server, 2)?;
    let mut session = bed.session("client", bed.socket("server", ECHO_PORT)?)?;
    drop(agent);
    tunnel.wait_readiness("not ready, pending: workload proxy manager")?;
    traffic.wait_answers(50)?;
    bed.call("client", other)?;

    let mark = tunnel.mark()?;
    let agent = Agent::listen(&path())?;
    // Nobody can tell the order of these and of the tunnel's hello, which must not matter.
    agent.keep(bed.world.pod("client")?);
    agent.keep(bed.world.pod("server")?);
    agent.wait_snapshots(1)?;
    drop(agent);
    let agent = Agent::listen(&path())?;
    agent.keep(bed.world.pod("client")?);
    agent.add(bed.world.pod("server")?)?;
    agent.wait_snapshots(1)?;
    tunnel.wait_ready()?;
    tunnel.line(mark, &["pod removed", "\"other\""])?;
    bed.refused("client", other)?;
    traffic.wait_answers(50)?;
    session.echo("still here")?;
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    agent.add(bed.world.pod("other")?)?;
    bed.call("client", other)?;
    Ok(())
}

/// The connection breaks before, within and after the snapshot. Nobody is removed by half a snapshot.
pub fn an_agent_that_leaves_at_any_point_is_reconnected_to() -> anyhow::Result<()> {
    let agent = RawAgent::listen(&path())?;
    let (bed, mut tunnel) = build(&path())?;
    let pods = ["client", "server", "other"].map(|name| bed.world.pod(name));
    let pods = pods.into_iter().collect::<Result<Vec<_>, _>>()?;
    settle(&agent, &pods)?;
    pods.iter()
        .try_for_each(|pod| adit_integration::harness::agents::redirect(pod))?;
    let address = bed.socket("server", HTTP_PORT)?;
    let traffic = Traffic::start(bed.namespace("client")?, address, 2)?;
    let descriptors = tunnel.descriptors()?;
    // Hello; a request and its answer for each pod; the end of the snapshot and its answer.
    let steps = 1 + 2 * (pods.len() + 1);
    for breaks_after in 0..=steps {
        let mut connection = agent.accept()?;
        for step in 0..breaks_after {
            match (step, pods.get(step / 2)) {
                (0, _) => drop(connection.receive()?.context("no hello")?),
                (step, _) if step % 2 == 0 => acknowledged(&mut connection)?,
                (_, Some(pod)) => add(&connection, pod)?,
                (_, None) => connection.send(&request(Payload::SnapshotSent(SnapshotSent {})), &[])?,
            }
        }
        drop(connection);
        // Half of a snapshot must not remove those who were to come.
        bed.call("client", bed.socket("other", HTTP_PORT)?)?;
    }
    let _connection = settle(&agent, &pods)?;
    tunnel.wait_ready()?;
    bed.call("client", address)?;
    bed.call("client", bed.socket("other", HTTP_PORT)?)?;
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    ensure!(tunnel.is_running()?, "the tunnel has ended");
    adit::lab::observe::eventually("descriptors of lost connections to be closed", || {
        Ok((tunnel.descriptors()? <= descriptors + 6).then_some(()))
    })
}

/// Each is answered with a reason, or with the end of the connection; pods stay, no descriptor does.
pub fn a_malformed_message_costs_its_connection_and_nothing_else() -> anyhow::Result<()> {
    let agent = RawAgent::listen(&path())?;
    let (bed, mut tunnel) = build(&path())?;
    let pods = [bed.world.pod("client")?, bed.world.pod("server")?];
    settle(&agent, &pods)?;
    pods.iter()
        .try_for_each(|pod| adit_integration::harness::agents::redirect(pod))?;
    let address = bed.socket("server", HTTP_PORT)?;
    let traffic = Traffic::start(bed.namespace("client")?, address, 1)?;
    let mut connection = settle(&agent, &pods)?;
    let descriptors = tunnel.descriptors()?;
    let not_a_namespace = std::fs::File::open("/dev/null")?;
    let malformed = malformed(bed.world.pod("other")?);
    for _ in 0..3 {
        for (packet, fds, says) in &malformed {
            let mark = tunnel.mark()?;
            connection.send(packet, fds)?;
            connection.wait_closed().with_context(|| (*says).to_owned())?;
            drop(connection);
            tunnel.line(mark, &["malformed message", says])?;
            connection = settle(&agent, &pods)?;
        }
    }
    connection.send(
        &request(Payload::Add(add_of(bed.world.pod("other")?))),
        &[not_a_namespace.as_raw_fd()],
    )?;
    let answer = connection.receive()?.context("no answer")?;
    ensure!(
        String::from_utf8_lossy(&answer).contains("namespace"),
        "it answers {answer:?}"
    );
    ensure!(
        connection.is_quiet(Duration::from_millis(50))?,
        "a pod that cannot be served costs the connection"
    );
    ensure!(tunnel.is_running()?, "the tunnel has ended");
    let tally = traffic.stop();
    ensure!(
        tally.answers() > 0 && tally.failures() == 0,
        "requests failed: {tally:?}"
    );
    adit::lab::observe::eventually("descriptors of malformed messages to be closed", || {
        Ok((tunnel.descriptors()? <= descriptors + 4).then_some(()))
    })
}

/// Packets, the descriptors that go with them, and part of what the tunnel says about them.
fn malformed(pod: &Pod) -> [(Vec<u8>, Vec<RawFd>, &'static str); 9] {
    let namespace = pod.namespace().as_fd().as_raw_fd();
    let no_info = AddWorkload {
        uid: "x".into(),
        workload_info: None,
    };
    [
        (b"\xff\xff\xff\xff".to_vec(), vec![], "not a WorkloadRequest"),
        (vec![0x42; 1500], vec![], "longer than 1024 bytes"),
        (request(Payload::Add(add_of(pod))), vec![], "no network namespace"),
        (
            request(Payload::Add(no_info)),
            vec![namespace],
            "no workload_info",
        ),
        (
            request(Payload::Add(add_of(pod))),
            vec![namespace; 2],
            "2 file descriptors",
        ),
        (
            request(Payload::Add(add_of(pod))),
            vec![namespace; 30],
            "descriptor",
        ),
        (
            request(Payload::Del(DelWorkload { uid: String::new() })),
            vec![],
            "empty uid",
        ),
        (
            request(Payload::Del(DelWorkload { uid: "x".into() })),
            vec![namespace],
            "carries a file descriptor",
        ),
        (
            request(Payload::Keep(KeepWorkload { uid: "x".into() })),
            vec![],
            "after snapshot_sent",
        ),
    ]
}

/// Accepts the tunnel, and sends it these pods as a whole snapshot.
fn settle(agent: &RawAgent, pods: &[&Pod]) -> anyhow::Result<RawConnection> {
    let mut connection = agent.accept()?;
    connection.receive()?.context("no hello")?;
    for pod in pods {
        add(&connection, pod)?;
        acknowledged(&mut connection)?;
    }
    connection.send(&request(Payload::SnapshotSent(SnapshotSent {})), &[])?;
    acknowledged(&mut connection)?;
    Ok(connection)
}

fn add(connection: &RawConnection, pod: &Pod) -> anyhow::Result<()> {
    connection.send(
        &request(Payload::Add(add_of(pod))),
        &[pod.namespace().as_fd().as_raw_fd()],
    )
}

fn add_of(pod: &Pod) -> AddWorkload {
    AddWorkload {
        uid: pod.uid.clone(),
        workload_info: Some(WorkloadInfo {
            name: pod.spec.name.clone(),
            namespace: pod.spec.namespace.clone(),
            service_account: pod.spec.service_account.clone(),
        }),
    }
}

fn request(payload: Payload) -> Vec<u8> {
    WorkloadRequest {
        payload: Some(payload),
    }
    .encode_to_vec()
}

/// An acknowledgement without an error is two bytes long.
fn acknowledged(connection: &mut RawConnection) -> anyhow::Result<()> {
    let answer = connection.receive()?.context("the tunnel left")?;
    ensure!(
        answer.len() == 2,
        "it answers {:?}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}
