//! `adit workloads`: the pods and other endpoints that a tunnel knows.

use std::net::IpAddr;

use serde_json::Value;

use super::dump::{Dump, Part, text, texts, waypoint};
use super::output::View;
use super::select::{Named, Unknown, select};
use super::table::Table;

/// Which workloads.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct Filter {
    /// Only these: NAME, NAMESPACE/NAME, NAME.NAMESPACE or a uid
    names: Vec<String>,
    /// Only those of this namespace
    #[arg(short, long = "workload-namespace", visible_alias = "namespace")]
    namespace: Option<String>,
    /// Only the one with this address
    #[arg(long)]
    address: Option<IpAddr>,
    /// Only those of this node
    #[arg(long, visible_alias = "workload-node")]
    node: Option<String>,
}

/// What is to be seen.
///
/// # Errors
/// The dump has no workloads, or nothing is as it was asked for.
pub fn view(dump: &Dump, filter: &Filter) -> anyhow::Result<View> {
    let workloads = dump.part(Part::Workloads)?;
    let named = workloads.iter().map(|one| Named::usual(one, "uid")).collect();
    let mut found = select(
        dump,
        "workload",
        named,
        &filter.names,
        filter.namespace.as_deref(),
    )?;
    if let Some(wanted) = filter.address {
        let has = |one: &Named<'_>| addresses(one.object).any(|address| address == wanted);
        if !found.iter().any(has) {
            let known = found.iter().flat_map(|one| texts(one.object, "workloadIps"));
            return Err(Unknown::new("workload with the address", &wanted.to_string(), known).into());
        }
        found.retain(has);
    }
    if let Some(wanted) = &filter.node {
        let is_there = |one: &Named<'_>| text(one.object, "node") == wanted;
        if !found.iter().any(is_there) {
            let known = found.iter().map(|one| text(one.object, "node"));
            return Err(Unknown::new("workload on the node", wanted, known).into());
        }
        found.retain(is_there);
    }
    Ok(View {
        table: table(&found, &dump.part_if_any(Part::Services)),
        objects: found.iter().map(|one| one.object.clone()).collect(),
    })
}

fn addresses(workload: &Value) -> impl Iterator<Item = IpAddr> {
    texts(workload, "workloadIps").filter_map(|text| text.parse().ok())
}

fn table(workloads: &[Named<'_>], services: &[&Value]) -> Table {
    let mut table = Table::new(["NAMESPACE", "POD NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL"]);
    for one in workloads {
        let addresses: Vec<_> = texts(one.object, "workloadIps").collect();
        let address = match addresses.is_empty() {
            true => text(one.object, "hostname").to_owned(),
            false => addresses.join(","),
        };
        table.add([
            one.namespace.to_owned(),
            one.name.to_owned(),
            address,
            text(one.object, "node").to_owned(),
            waypoint(one.object, services),
            text(one.object, "protocol").to_owned(),
        ]);
    }
    table
}
