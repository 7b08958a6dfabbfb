//! `adit connections`: the live connections of a node's pods.
//!
//! Addresses are shown by the names of the services and pods that have them, unless `--raw`. An address that several have,
//! as pods of the host's network do, stays an address: a name that may be wrong is worse than none.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::dump::{Dump, Part, address, text, texts};
use super::output::View;
use super::select::{Named, select};
use super::table::Table;

/// Which connections.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct Filter {
    /// Only those of these pods: NAME, NAMESPACE/NAME or NAME.NAMESPACE
    names: Vec<String>,
    /// Only those of pods of this namespace
    #[arg(short, long = "workload-namespace", visible_alias = "namespace")]
    namespace: Option<String>,
    /// Only those that come in or go out, seen from the pod
    #[arg(long, value_enum)]
    direction: Option<Direction>,
    /// Show addresses and not names
    #[arg(long)]
    raw: bool,
}

/// Which way a connection goes, seen from the pod.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Into the pod.
    Inbound,
    /// Out of the pod.
    Outbound,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Inbound, Self::Outbound];

    /// Its key in a dump, and its spelling everywhere else.
    pub fn key(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Inbound => "Inbound",
            Self::Outbound => "Outbound",
        }
    }
}

/// What is to be seen. As JSON: each pod with those of its connections that are wanted, sorted.
///
/// # Errors
/// The dump does not tell of connections, or nothing is as it was asked for.
pub fn view(dump: &Dump, filter: &Filter) -> anyhow::Result<View> {
    let pods = dump.part(Part::WorkloadState)?;
    let named = pods.iter().map(|one| {
        let mut named = Named::usual(&one["info"], "");
        named.object = one;
        named
    });
    let found = select(
        dump,
        "pod",
        named.collect(),
        &filter.names,
        filter.namespace.as_deref(),
    )?;
    let names = if filter.raw {
        Names::default()
    } else {
        Names::of(dump)
    };
    let mut table = Table::new([
        "WORKLOAD",
        "DIRECTION",
        "LOCAL",
        "REMOTE",
        "REMOTE TARGET",
        "PROTOCOL",
    ]);
    let mut objects = Vec::new();
    for pod in &found {
        let mut shown = pod.object.clone();
        for direction in Direction::ALL {
            let wanted = filter.direction.is_none_or(|wanted| wanted == direction);
            let connections = if wanted {
                sorted(pod.object, direction)
            } else {
                Vec::new()
            };
            for connection in &connections {
                table.add(row(pod, direction, connection, &names));
            }
            shown["connections"][direction.key()] = json!(connections);
        }
        objects.push(shown);
    }
    Ok(View { table, objects })
}

/// By the client's address and by what it called, so that the same connections are the same lines.
fn sorted(pod: &Value, direction: Direction) -> Vec<&Value> {
    let connections = pod["connections"][direction.key()].as_array();
    let mut connections: Vec<_> = connections.into_iter().flatten().collect();
    let socket = |one: &Value, key| text(one, key).parse::<SocketAddr>().ok();
    connections.sort_by_cached_key(|one| {
        let written = (
            text(one, "originalDst").to_owned(),
            text(one, "actualDst").to_owned(),
        );
        (socket(one, "src"), socket(one, "originalDst"), written)
    });
    connections
}

fn row(pod: &Named<'_>, direction: Direction, connection: &Value, names: &Names<'_>) -> [String; 6] {
    let [source, original, actual] = ["src", "originalDst", "actualDst"].map(|key| text(connection, key));
    let (local, remote, target) = match direction {
        // What a peer asked for says something only where it is not simply the pod.
        Direction::Inbound => (actual, source, if original == actual { "" } else { original }),
        Direction::Outbound => (source, actual, original),
    };
    [
        format!("{}.{}", pod.name, pod.namespace),
        direction.shown().to_owned(),
        names.of_socket(local),
        names.of_socket(remote),
        names.of_socket(target),
        text(connection, "protocol").to_owned(),
    ]
}

/// Whose address is whose; `None` for one that several have.
#[derive(Default)]
struct Names<'d>(HashMap<IpAddr, Option<(&'d str, &'d str)>>);

impl<'d> Names<'d> {
    fn of(dump: &'d Dump) -> Self {
        let mut names = Self::default();
        for workload in dump.part_if_any(Part::Workloads) {
            let name = (text(workload, "name"), text(workload, "namespace"));
            names.add(texts(workload, "workloadIps"), name);
        }
        let mut services = Self::default();
        for service in dump.part_if_any(Part::Services) {
            services.add(
                texts(service, "vips").map(address),
                (text(service, "hostname"), ""),
            );
        }
        // A service's address is the service's, whatever workload claims it too.
        names.0.extend(services.0);
        names
    }

    fn add(&mut self, addresses: impl Iterator<Item = &'d str>, name: (&'d str, &'d str)) {
        for address in addresses.filter_map(|text| text.parse().ok()) {
            let known = self.0.entry(address).or_insert(Some(name));
            if *known != Some(name) {
                *known = None;
            }
        }
    }

    fn of_socket(&self, written: &str) -> String {
        let found = written.parse::<SocketAddr>().ok().and_then(|socket| {
            let name = self.0.get(&socket.ip().to_canonical()).copied().flatten()?;
            Some((name, socket.port()))
        });
        match found {
            Some(((name, ""), port)) => format!("{name}:{port}"),
            Some(((name, namespace), port)) => format!("{name}.{namespace}:{port}"),
            None => written.to_owned(),
        }
    }
}
