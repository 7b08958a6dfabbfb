//! Rules that Istio's node agent left in the pod: by iptables (which on current systems are nftables underneath, and
//! visible to `nft`), by the older iptables of the kernel, or by its own nftables tables.

use std::process::{Command, Stdio};

use super::{RulesError, nft};
use crate::namespace::{Namespace, errno_of};

/// The chains that Istio's agent and its sidecars' initialisation make.
const CHAIN_PREFIX: &str = "ISTIO_";

/// The tables of Istio's native nftables mode.
const TABLE_PREFIX: &str = "istio-";

/// The programs that show rules which `nft` cannot see, where they exist.
const LEGACY: [&str; 2] = ["iptables-legacy-save", "ip6tables-legacy-save"];

/// What is found, each thing named as an administrator would look for it, in the order of the listing.
pub(super) fn find(namespace: &Namespace) -> Result<Vec<String>, RulesError> {
    let mut found = in_ruleset(&nft::list_ruleset(namespace)?);
    for program in LEGACY {
        found.extend(in_legacy(program, &legacy_listing(namespace, program)?));
    }
    Ok(found)
}

/// Istio's tables and chains in a listing of nft.
pub(super) fn in_ruleset(listing: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut table = "";
    for line in listing.lines() {
        let line = line.trim();
        let Some(header) = line.strip_suffix(" {") else {
            continue;
        };
        if let Some(name) = header.strip_prefix("table ") {
            table = name;
            if name
                .split(' ')
                .nth(1)
                .is_some_and(|name| name.starts_with(TABLE_PREFIX))
            {
                found.push(format!("table {name}"));
            }
        } else if let Some(chain) = header.strip_prefix("chain ")
            && chain.starts_with(CHAIN_PREFIX)
        {
            found.push(format!("chain {chain} of table {table}"));
        }
    }
    found
}

/// Istio's chains in the output of `iptables-save`.
pub(super) fn in_legacy(program: &str, listing: &str) -> Vec<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_prefix(':')?.split(' ').next())
        .filter(|chain| chain.starts_with(CHAIN_PREFIX))
        .map(|chain| format!("chain {chain} in {program}"))
        .collect()
}

/// Empty where the program or the kernel's part of it does not exist: then there are no such rules either.
fn legacy_listing(namespace: &Namespace, program: &str) -> Result<String, RulesError> {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = namespace
        .run(|| command.output())
        .map_err(|error| RulesError::Namespace(errno_of(&error)))?;
    Ok(output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default())
}
