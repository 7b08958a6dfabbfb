//! Starts that fail, and starts that take their time.

use std::net::SocketAddr;

use adit::lab::host;
use adit_integration::harness::agents::Agent;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::document::replace;
use adit_mesh::constants::{HBONE_PORT, METRICS_PORT};
use anyhow::{Context, ensure};

/// Variables and their values.
type Settings = &'static [(&'static str, &'static str)];

/// Settings with which nothing can start, and what the tunnel has to say about each.
const WRONG: &[(Settings, &[&str])] = &[
    (
        &[("LOCAL_XDS_PATH", "")],
        &["XDS_ADDRESS", "--xds-address", "LOCAL_XDS_PATH", "is not set"],
    ),
    (&[("ADIT_LOCAL_CA", "")], &["ADIT_LOCAL_CA", "is not set"]),
    (
        &[("ADIT_READY_TIMEOUT", "soon")],
        &["ADIT_READY_TIMEOUT", "\"soon\""],
    ),
    (
        &[("ADIT_REDDY_TIMEOUT", "1s")],
        &["ADIT_REDDY_TIMEOUT", "is not a setting"],
    ),
    (
        &[("LOG_FORMAT", "xml")],
        &["LOG_FORMAT", "\"xml\"", "plain or json"],
    ),
    (&[("PACKET_MARK", "1")], &["PACKET_MARK", "0x539"]),
    (&[("COMPLIANCE_POLICY", "fips")], &["COMPLIANCE_POLICY", "pqc"]),
    (
        &[("ADIT_PORT_STATS", "15021")],
        &["ADIT_PORT_STATS", "ADIT_PORT_READINESS", "15021"],
    ),
    (&[("POD_NAME", "tunnel")], &["POD_NAMESPACE"]),
    (&[("TLS12_ENABLED", "true")], &["TLS12_ENABLED"]),
    (
        &[("ADIT_TRUST_BUNDLE", "/run/adit/no-roots.pem")],
        &["/run/adit/no-roots.pem", "cannot read"],
    ),
    (
        &[("ADIT_LOCAL_CA", "/proc/nowhere")],
        &["local CA", "/proc/nowhere"],
    ),
];

/// Exit code 1, and a message that names the setting, what is wrong and what to do.
pub fn a_start_that_cannot_work_says_why() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    for (settings, words) in WRONG {
        let mut tunnel = bed.launch(0, settings)?;
        let text = tunnel.wait_failure(1).with_context(|| format!("{settings:?}"))?;
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
        ensure!(
            missing.is_empty(),
            "with {settings:?} it does not say {missing:?}, but:\n{text}"
        );
    }
    let name = bed.next_name();
    let (namespace, address) = bed.place(&name, 0)?;
    let taken = SocketAddr::from(([0, 0, 0, 0], METRICS_PORT));
    let _taken = namespace.run(|| std::net::TcpListener::bind(taken)).flatten()?;
    let settings = bed.settings(0)?;
    let mut tunnel =
        adit_integration::harness::tunnels::Tunnel::start(&name, &namespace, address, &settings)?;
    let text = tunnel.wait_failure(1)?;
    ensure!(
        text.contains("15020") && text.contains("ADIT_PORT_STATS"),
        "a port is taken, and it says:\n{text}"
    );
    Ok(())
}

/// Each reason why the tunnel is not ready stands in the answer until it has gone.
pub fn readiness_names_what_is_pending() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_machine("blocked", 0)?;
    let (socket, file) = (host::path("late.sock"), host::path("late.yaml"));
    let paths = [socket.display().to_string(), file.display().to_string()];
    let tunnel = bed.launch(0, &[("INPOD_UDS", &paths[0]), ("LOCAL_XDS_PATH", &paths[1])])?;
    tunnel.wait_readiness("not ready, pending: configuration, workload proxy manager")?;
    replace(&file, &std::fs::read_to_string(Bed::mesh_file())?)?;
    tunnel.wait_readiness("not ready, pending: workload proxy manager")?;
    let agent = Agent::listen(&socket)?;
    tunnel.wait_readiness("ready")?;
    agent.add(bed.world.pod("client")?)?;
    ensure!(
        tunnel.readiness()?.0 == 200,
        "a pod that is served makes it unready"
    );

    let taken = SocketAddr::from(([0, 0, 0, 0], HBONE_PORT));
    let listener = bed
        .namespace("blocked")?
        .run(|| std::net::TcpListener::bind(taken))
        .flatten()?;
    let refused = agent
        .add(bed.world.pod("blocked")?)
        .err()
        .context("a pod without ports is served")?;
    ensure!(
        refused.to_string().contains("15008"),
        "the agent is told {refused}"
    );
    tunnel.wait_readiness("not ready, pending: pending pods")?;
    tunnel.wait_metric("workload_manager_pending_proxy_count", &[], 1.0)?;
    ensure!(
        tunnel.dump()?["workloadState"]["uid-of-bank-blocked"]["state"] == "Pending",
        "not shown as pending"
    );
    drop(listener);
    tunnel.wait_readiness("ready")?;
    ensure!(
        tunnel.dump()?["workloadState"]["uid-of-bank-blocked"]["state"] == "Up",
        "not shown as up"
    );
    drop(agent);
    tunnel.wait_readiness("not ready, pending: workload proxy manager")
}
