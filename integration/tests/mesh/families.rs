//! IPv4, IPv6 and both.

use std::net::{IpAddr, SocketAddr};

use adit::lab::apps::{Answer, ECHO_PORT, HTTP_PORT};
use adit_integration::harness::bed::{Bed, NAMESPACE};
use adit_integration::harness::credentials::spiffe;
use adit_integration::harness::pair::Pair;
use adit_integration::harness::watch::{CLOSED, Watch, expect};
use adit_net::link;
use anyhow::{Context, ensure};
use serde_json::json;

const VIPS: [&str; 2] = ["10.96.0.40", "fd00:96::40"];

fn ipv6(bed: &Bed, pod: &str) -> anyhow::Result<IpAddr> {
    let found = bed.world.pod(pod)?.attachment.addresses.v6;
    Ok(found
        .context("this kernel has no IPv6, so nothing can be said about it")?
        .into())
}

/// Whom the application sees calling.
fn caller(bed: &Bed, from: &str, to: SocketAddr) -> anyhow::Result<IpAddr> {
    let response = bed
        .attempt(from, to)?
        .with_context(|| format!("{from} calls {to}"))?;
    Ok(serde_json::from_str::<Answer>(&response.body)?.peer.ip())
}

/// The same as over IPv4: encrypted, with both identities, and the client's own address at the end.
pub fn pods_talk_over_ipv6() -> anyhow::Result<()> {
    let pair = Pair::build(&[("client", 0), ("server", 1)], |bed| bed.add_machine("plain", 0))?;
    let bed = &pair.bed;
    let (from, to) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    let server = SocketAddr::new(ipv6(bed, "server")?, HTTP_PORT);
    ensure!(
        caller(bed, "client", server)? == ipv6(bed, "client")?,
        "the source address is not kept"
    );
    let identities = [
        ("src.identity", spiffe("client")),
        ("dst.identity", spiffe("server")),
    ];
    let identities = identities.each_ref().map(|(name, value)| (*name, value.as_str()));
    expect(&from.completed("outbound", &[])?, &identities)?;
    expect(&to.completed("inbound", &[])?, &identities)?;
    let labels = [
        ("reporter", "destination"),
        ("connection_security_policy", "mutual_tls"),
    ];
    to.risen(CLOSED, &labels, 1)?;
    // Plaintext from outside of the mesh as well.
    ensure!(
        caller(bed, "plain", server)? == ipv6(bed, "plain")?,
        "the source address is not kept"
    );
    bed.session("client", SocketAddr::new(server.ip(), ECHO_PORT))?
        .echo("over IPv6")
}

/// A service with an address of each family: each is answered, and by an endpoint of either node.
pub fn a_service_of_both_families_is_reached_by_each() -> anyhow::Result<()> {
    let pair = Pair::build(&[("client", 0), ("near", 0), ("far", 1)], |bed| {
        let service = bed
            .mesh
            .add_service("ledger", NAMESPACE, VIPS[0], json!({ "80": HTTP_PORT }));
        service["vips"] = json!(VIPS.map(|address| format!("/{address}")));
        service["ipFamilies"] = json!("Dual");
        for endpoint in ["near", "far"] {
            bed.mesh.serves(endpoint, "ledger", NAMESPACE, json!({}));
        }
        Ok(())
    })?;
    for address in VIPS {
        let address: IpAddr = address.parse()?;
        let watch = Watch::begin(&pair.second)?;
        let mut answers: Vec<_> = (0..20)
            .map(|_| pair.bed.call("client", SocketAddr::new(address, 80)))
            .collect::<Result<_, _>>()?;
        answers.sort();
        answers.dedup();
        ensure!(answers == ["far", "near"], "{answers:?} by {address}");
        // Lines of the calls to the address before may still come: the tunnel writes them when the application is done.
        let far = match address {
            IpAddr::V4(_) => pair.bed.world.pod("far")?.address(),
            IpAddr::V6(_) => ipv6(&pair.bed, "far")?,
        };
        let far = SocketAddr::new(far, HTTP_PORT).to_string();
        let called = [("dst.workload", "far"), ("dst.hbone_addr", far.as_str())];
        let line = watch.completed("inbound", &called)?;
        let source: SocketAddr = line["src.addr"].as_str().context("no source")?.parse()?;
        ensure!(
            source.is_ipv4() == address.is_ipv4(),
            "another family than {address} in {line}"
        );
    }
    Ok(())
}

/// A pod without IPv6 is a pod like any other: it calls and is called, and others keep their IPv6.
pub fn a_pod_without_ipv6_is_served() -> anyhow::Result<()> {
    let mut pair = Pair::build(&[("client", 0), ("server", 1)], |_| Ok(()))?;
    pair.bed.add_pod("bare", 0)?;
    let only = pair.bed.world.pod("bare")?.address();
    pair.bed.mesh.workload("bare")["workloadIps"] = json!([only]);
    link::set(pair.bed.namespace("bare")?, "ipv6/conf/all/disable_ipv6", "1")?;
    // The lab's agent takes every pod for one with IPv6, and routes replies over loopback.
    link::set(pair.bed.namespace("bare")?, "ipv6/conf/lo/disable_ipv6", "0")?;
    pair.apply()?;
    pair.bed.enrol(&["bare"])?;
    let (from, to) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    ensure!(pair.bed.call("bare", pair.bed.socket("server", HTTP_PORT)?)? == "server");
    to.completed("inbound", &[("src.identity", &spiffe("bare"))])?;
    ensure!(pair.bed.call("client", pair.bed.socket("bare", HTTP_PORT)?)? == "bare");
    from.completed("inbound", &[("dst.identity", &spiffe("bare"))])?;
    caller(
        &pair.bed,
        "client",
        SocketAddr::new(ipv6(&pair.bed, "server")?, HTTP_PORT),
    )?;
    Ok(())
}
