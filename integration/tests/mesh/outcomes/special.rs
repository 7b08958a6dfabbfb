//! Outcomes that need a tunnel which is not ready, or cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use adit::lab::apps::HTTP_PORT;
use adit::lab::host;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::tunnels::Tunnel;
use adit_mesh::Outcome;
use anyhow::ensure;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// What is reached here.
pub(super) const OUTCOMES: [Outcome; 2] = [Outcome::NoCertificate, Outcome::NotReady];

/// The authority of the tunnel has expired, so it issues nothing.
pub(super) fn no_certificate() -> anyhow::Result<()> {
    let directory = host::path("old-ca");
    expired_authority(&directory)?;
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    bed.configure()?;
    let directory = directory.display().to_string();
    let settings = [
        ("ADIT_LOCAL_CA", directory.as_str()),
        ("ADIT_READY_TIMEOUT", "1s"),
    ];
    let tunnel = bed.start_tunnel(0, &settings)?;
    bed.enrol(&["client"])?;
    refused(&bed, &tunnel, Outcome::NoCertificate, "certificate has expired")?;
    let dump = tunnel.dump()?;
    ensure!(
        dump["certificates"][0]["state"] == "Unavailable",
        "the dump shows it as {}",
        dump["certificates"]
    );
    Ok(())
}

/// There is no file with the mesh.
pub(super) fn not_ready() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    let settings = [
        ("LOCAL_XDS_PATH", "/run/adit/none.yaml"),
        ("ADIT_READY_TIMEOUT", "1s"),
    ];
    let tunnel = bed.launch(0, &settings)?;
    bed.enrol(&["client"])?;
    tunnel.wait_readiness("not ready, pending: configuration")?;
    refused(
        &bed,
        &tunnel,
        Outcome::NotReady,
        "no complete configuration within 1s",
    )
}

fn refused(bed: &Bed, tunnel: &Tunnel, outcome: Outcome, says: &str) -> anyhow::Result<()> {
    let mark = tunnel.mark()?;
    bed.refused("client", bed.socket("server", HTTP_PORT)?)?;
    let name = outcome.name();
    let line = tunnel.access(mark, &[("outcome", &name), ("direction", "outbound")])?;
    ensure!(
        line["response_flags"] == outcome.response_flags(),
        "other flags: {line}"
    );
    ensure!(
        line["error"].as_str().is_some_and(|told| told.contains(says)),
        "another reason: {line}"
    );
    let labels = [("outcome", name.as_str()), ("direction", "outbound")];
    tunnel.wait_metric("adit_refused_connections_total", &labels, 1.0)?;
    let labels = [
        ("response_flags", outcome.response_flags()),
        ("reporter", "source"),
    ];
    tunnel.wait_metric("istio_tcp_connections_failed_total", &labels, 1.0)
}

/// Makes a directory like the tunnel's own, with a root that has expired.
fn expired_authority(directory: &std::path::Path) -> anyhow::Result<()> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = (SystemTime::now() - 3 * DAY).into();
    params.not_after = (SystemTime::now() - DAY).into();
    let root = params.self_signed(&key)?;
    fs::create_dir(directory)?;
    fs::write(directory.join("ca-key.pem"), key.serialize_pem())?;
    fs::set_permissions(directory.join("ca-key.pem"), fs::Permissions::from_mode(0o600))?;
    fs::write(directory.join("root-cert.pem"), root.pem())?;
    fs::set_permissions(directory.join("root-cert.pem"), fs::Permissions::from_mode(0o644))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
