//! Two of our tunnels as the lab runs them: real redirection, metrics, access log and policy as they are by default.

use std::net::SocketAddr;
use std::path::Path;

use adit::lab::world::Process;
use adit::lab::{host, http, observe};
use adit_integration::harness::agents::Agent;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_mesh::constants::{HBONE_PORT, READINESS_PORT};
use anyhow::Context;

use super::{Handshake, System};
use crate::Path as Where;
use crate::cost::Processes;
use crate::ground::{Ground, Pods};

/// Starts the tunnels of a build under a name.
pub fn start(ground: &mut Ground, name: &'static str, program: &Path) -> anyhow::Result<System> {
    let pods = ground.add_pods(name)?;
    ground.bed.configure()?;
    let near = tunnel(ground, name, program, 0, &pods)?;
    let far = match ground.args.path {
        Where::TwoNodes => tunnel(ground, name, program, 1, &pods)?,
        Where::OneNode => near.clone(),
    };
    let ca = Ca::of_the_mesh()?;
    let expected = [spiffe(&pods.server).parse()?].into();
    Ok(System {
        name,
        near,
        far,
        program: Some(program.to_owned()),
        handshake: Some(Handshake {
            address: ground.address(&pods.server, HBONE_PORT)?,
            config: ca.peer(&spiffe(&pods.client))?.client_config(&expected),
        }),
        pods,
    })
}

/// A node's tunnel, with an agent of its own that hands it the system's pods on this node.
fn tunnel(
    ground: &mut Ground,
    system: &str,
    program: &Path,
    node: usize,
    pods: &Pods,
) -> anyhow::Result<Processes> {
    let name = format!("{system}-tunnel-{}", node + 1);
    let (process, agent) = launch(ground, &name, program, node)?;
    for pod in [&pods.client, &pods.server] {
        let pod = ground.bed.world.pod(pod)?;
        if pod.spec.node == node {
            agent.enrol(pod).with_context(|| process.last_words())?;
        }
    }
    ground.keep(agent);
    let id = process.id();
    ground.run(process);
    Ok(Processes(vec![id]))
}

/// Starts a node's tunnel and an agent for it, which knows no pod yet.
pub fn launch(
    ground: &mut Ground,
    name: &str,
    program: &Path,
    node: usize,
) -> anyhow::Result<(Process, Agent)> {
    let socket = host::path(&format!("{name}.sock"));
    let agent = Agent::listen(&socket)?;
    let (namespace, address) = ground.bed.place(name, node)?;
    let mut environment = ground.bed.settings(node)?;
    // The default, like everything else.
    environment.remove("LOG_FORMAT");
    environment.insert("INPOD_UDS".to_owned(), socket.display().to_string());
    for setting in &ground.args.set {
        let (name, value) = setting
            .split_once('=')
            .with_context(|| format!("--set {setting}: it has to be NAME=VALUE"))?;
        environment.insert(name.to_owned(), value.to_owned());
    }
    let environment: Vec<_> = environment.into_iter().collect();
    let process = Process::start(name, &namespace, program, &[], &environment)?;
    let readiness = SocketAddr::new(address, READINESS_PORT);
    observe::eventually(format_args!("readiness of {name}"), || {
        let answer = http::request(&namespace, readiness, "GET", "/healthz/ready");
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .with_context(|| process.last_words())?;
    agent.wait_snapshots(1)?;
    Ok((process, agent))
}
