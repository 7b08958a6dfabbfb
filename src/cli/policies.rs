//! `adit policies`: the authorization policies that a tunnel knows.

use super::dump::{Dump, Part, text};
use super::output::View;
use super::select::{Named, select};
use super::table::Table;

/// Which policies.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct Filter {
    /// Only these: NAME, NAMESPACE/NAME or NAME.NAMESPACE
    names: Vec<String>,
    /// Only those of this namespace
    #[arg(short, long = "policy-namespace", visible_alias = "namespace")]
    namespace: Option<String>,
}

/// What is to be seen.
///
/// # Errors
/// The dump has no policies, or nothing is as it was asked for.
pub fn view(dump: &Dump, filter: &Filter) -> anyhow::Result<View> {
    let policies = dump.part(Part::Policies)?;
    let named = policies.iter().map(|one| Named::usual(one, "")).collect();
    let found = select(dump, "policy", named, &filter.names, filter.namespace.as_deref())?;
    let mut table = Table::new(["NAMESPACE", "POLICY NAME", "ACTION", "SCOPE"]);
    for one in &found {
        // A policy that is not obeyed must not look like one that is.
        let dry_run = one.object["dryRun"].as_bool().unwrap_or_default();
        let action = text(one.object, "action");
        table.add([
            one.namespace.to_owned(),
            one.name.to_owned(),
            format!("{action}{}", if dry_run { " (dry run)" } else { "" }),
            text(one.object, "scope").to_owned(),
        ]);
    }
    Ok(View {
        table,
        objects: found.iter().map(|one| one.object.clone()).collect(),
    })
}
