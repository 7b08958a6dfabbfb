//! `adit services`: the services that a tunnel knows, and how many of their endpoints are healthy.

use serde_json::Value;

use super::dump::{Dump, Part, address, text, texts, waypoint};
use super::output::View;
use super::select::{Named, select};
use super::table::Table;

/// Which services.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct Filter {
    /// Only these: NAME, NAMESPACE/NAME, NAME.NAMESPACE or a hostname
    names: Vec<String>,
    /// Only those of this namespace
    #[arg(short, long = "service-namespace", visible_alias = "namespace")]
    namespace: Option<String>,
}

/// What is to be seen.
///
/// # Errors
/// The dump has no services, or nothing is as it was asked for.
pub fn view(dump: &Dump, filter: &Filter) -> anyhow::Result<View> {
    let services = dump.part(Part::Services)?;
    let named = services.iter().map(|one| Named::usual(one, "hostname")).collect();
    let found = select(dump, "service", named, &filter.names, filter.namespace.as_deref())?;
    Ok(View {
        table: table(&found, &services),
        objects: found.iter().map(|one| one.object.clone()).collect(),
    })
}

fn table(found: &[Named<'_>], services: &[&Value]) -> Table {
    let mut table = Table::new([
        "NAMESPACE",
        "SERVICE NAME",
        "SERVICE VIP",
        "WAYPOINT",
        "ENDPOINTS",
    ]);
    for one in found {
        let vips: Vec<_> = texts(one.object, "vips").map(address).collect();
        table.add([
            one.namespace.to_owned(),
            one.name.to_owned(),
            vips.join(","),
            waypoint(one.object, services),
            endpoints(one.object),
        ]);
    }
    table
}

/// Healthy ones and all. An endpoint whose health is not told is healthy: that is the default of the protocol.
fn endpoints(service: &Value) -> String {
    let Some(endpoints) = service["endpoints"].as_object() else {
        return String::new();
    };
    let healthy = endpoints
        .values()
        .filter(|one| text(one, "status") != "Unhealthy")
        .count();
    format!("{healthy}/{}", endpoints.len())
}
