//! Two stock ztunnels, where somebody has put a binary: the same pods, redirection, agent protocol and mesh file.
//!
//! Certificates are its own business: a build with the feature `testing` signs them itself (`FAKE_CA`), which is what
//! a comparison without a control plane needs.

use std::net::SocketAddr;
use std::path::Path;

use adit::lab::{host, http, observe};
use adit_integration::harness::agents::redirect;
use adit_mesh::constants::READINESS_PORT;
use adit_net::namespace::MountedName;
use anyhow::{Context, ensure};

use super::System;
use crate::cost::Processes;
use crate::ground::{Ground, Pods};

/// Starts them from the folder with `ztunnel` and `inpodserver`.
pub fn start(ground: &mut Ground, folder: &Path) -> anyhow::Result<System> {
    for program in ["ztunnel", "inpodserver"] {
        let path = folder.join(program);
        ensure!(
            path.is_file(),
            "ZTUNNEL_DIR: there is no program {}",
            path.display()
        );
    }
    ensure!(
        ground.args.path == crate::Path::TwoNodes,
        "ztunnel is compared on two nodes only: leave out --path or ZTUNNEL_DIR"
    );
    let pods = ground.add_pods("ztunnel")?;
    ground.bed.configure()?;
    let near = tunnel(ground, folder, 0, &pods)?;
    let far = tunnel(ground, folder, 1, &pods)?;
    Ok(System {
        name: "ztunnel",
        pods,
        near,
        far,
        program: None,
        handshake: None,
    })
}

fn tunnel(ground: &mut Ground, folder: &Path, node: usize, pods: &Pods) -> anyhow::Result<Processes> {
    let name = format!("ztunnel-{}", node + 1);
    let (namespace, address) = ground.bed.place(&name, node)?;
    let socket = host::path(&format!("{name}.sock")).display().to_string();
    let pod = if node == 0 { &pods.client } else { &pods.server };
    let mounted = named(ground, pod)?;
    let argument = mounted.path().display().to_string();
    ground.keep(mounted);
    let spec = &ground.bed.world.pod(pod)?.spec;
    let workload = format!("{}/{}/{}", spec.namespace, spec.name, spec.service_account);
    let environment = [
        ("INPOD_UDS".to_owned(), socket.clone()),
        ("PROXY_WORKLOAD_INFO".to_owned(), workload),
    ];
    let server = folder.join("inpodserver");
    ground.start(
        &format!("{name}-agent"),
        &namespace,
        &server,
        &[argument],
        &environment,
    )?;
    let mut environment = ground.bed.settings(node)?;
    environment.remove("ADIT_LOCAL_CA");
    environment.extend(
        [
            ("INPOD_UDS", socket.as_str()),
            ("FAKE_CA", "true"),
            ("XDS_ADDRESS", ""),
            ("RUST_LOG", "info"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let environment: Vec<_> = environment.into_iter().collect();
    let id = ground.start(
        &name,
        &namespace,
        &folder.join("ztunnel"),
        &["proxy".to_owned(), "ztunnel".to_owned()],
        &environment,
    )?;
    let readiness = SocketAddr::new(address, READINESS_PORT);
    observe::eventually(format_args!("readiness of {name}"), || {
        let answer = http::request(&namespace, readiness, "GET", "/healthz/ready");
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .with_context(|| ground.last_words(&name))?;
    redirect(ground.bed.world.pod(pod)?)?;
    Ok(Processes(vec![id]))
}

/// Gives a pod's namespace a name in the file system, which is how `inpodserver` is told of it.
fn named(ground: &Ground, pod: &str) -> anyhow::Result<MountedName> {
    Ok(ground
        .namespace(pod)?
        .mount_at(host::path(&format!("{pod}.ns")))?)
}
