//! The step that looks back: what the tunnels have counted.

use anyhow::ensure;

use super::bank::{BANK, Bank, identity};
use crate::lab::observe::Sample;
use crate::lab::screen::Screen;

pub(super) fn metrics(bank: &mut Bank, screen: &Screen) -> anyhow::Result<String> {
    screen.says("http://<tunnel>:15020/stats/prometheus of both nodes, with the names that Istio's dashboards expect.");
    // What ledger-2's node counted: that tunnel was there all the time.
    let tunnel = bank.tunnel_of(bank.world.pod("ledger-2")?)?;
    let metrics = tunnel.metrics()?;
    let (payments, ledger) = (identity("payments"), identity("ledger"));
    let peers = [
        ("reporter", "destination"),
        ("source_principal", payments.as_str()),
        ("destination_principal", ledger.as_str()),
        ("destination_workload_namespace", BANK),
        ("connection_security_policy", "mutual_tls"),
    ];
    for name in [
        "istio_tcp_connections_opened_total",
        "istio_tcp_received_bytes_total",
        "istio_tcp_sent_bytes_total",
    ] {
        let total = metrics.sum(name, &peers);
        screen.shows("payments→ledger", format_args!("{name} {total}"));
        ensure!(total > 0.0, "{name} was not counted for these peers");
    }
    let denied: Vec<_> = metrics
        .select(
            "istio_tcp_connections_failed_total",
            &[("response_flags", "DENY")],
        )
        .collect();
    for sample in &denied {
        screen.shows("denied", shown(sample));
    }
    ensure!(!denied.is_empty(), "no connection was counted as denied");
    let expiries = metrics.select("adit_certificate_expiry_seconds", &[]).count();
    screen.shows(
        "certificates",
        format_args!("{expiries} identities with their expiry"),
    );
    ensure!(expiries > 0, "no certificate's expiry is reported");
    Ok("connections, bytes, refusals and certificates, by who called whom".to_owned())
}

fn shown(sample: &Sample) -> String {
    let label = |name: &str| sample.labels.get(name).map_or("unknown", String::as_str);
    format!(
        "{} {{{} → {}}} {}",
        sample.name,
        label("source_workload"),
        label("destination_workload"),
        sample.value
    )
}
