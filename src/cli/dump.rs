//! A tunnel's `config_dump`, read as it comes: Adit's own, stock ztunnel's, and those of older and newer versions of both.
//!
//! Nothing is parsed into types, because a dump is shown, not obeyed: what is there is shown as it is (`-o json` gives the
//! dump's own objects), and a field that is missing is an empty cell. Older versions of ztunnel have maps where newer ones
//! have lists, so both are read.

use serde_json::{Map, Value};
use thiserror::Error;

/// The parts of a dump that commands show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Pods and other endpoints.
    Workloads,
    /// Services.
    Services,
    /// Authorization policies.
    Policies,
    /// The certificates of the node's pods.
    Certificates,
    /// The node's pods and their connections.
    WorkloadState,
}

impl Part {
    const ALL: [Self; 5] = [
        Self::Workloads,
        Self::Services,
        Self::Policies,
        Self::Certificates,
        Self::WorkloadState,
    ];

    /// Its key in the dump.
    pub fn key(self) -> &'static str {
        match self {
            Self::Workloads => "workloads",
            Self::Services => "services",
            Self::Policies => "policies",
            Self::Certificates => "certificates",
            Self::WorkloadState => "workloadState",
        }
    }
}

/// A dump.
#[derive(Clone, PartialEq, Debug)]
pub struct Dump(Map<String, Value>);

/// Why something is no dump, or not one that has what is asked for.
#[derive(Debug, Error)]
pub enum InvalidDump {
    /// It is no JSON.
    #[error("this is not JSON ({0})")]
    NotJson(#[from] serde_json::Error),
    /// It is JSON of something else.
    #[error(
        "this is JSON, but no config_dump: it has none of workloads, services, policies, certificates, workloadState"
    )]
    NotADump,
    /// The part is missing, which is not the same as empty.
    #[error("the config_dump has no {0}: the tunnel is of a version that does not tell")]
    NoPart(&'static str),
}

impl Dump {
    /// Reads a dump.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidDump> {
        match serde_json::from_slice(bytes)? {
            Value::Object(dump) if Part::ALL.iter().any(|part| dump.contains_key(part.key())) => {
                Ok(Self(dump))
            }
            _ => Err(InvalidDump::NotADump),
        }
    }

    /// The objects of a part.
    ///
    /// # Errors
    /// The dump does not have it.
    pub fn part(&self, part: Part) -> Result<Vec<&Value>, InvalidDump> {
        match self.0.get(part.key()) {
            Some(Value::Array(list)) => Ok(list.iter().collect()),
            Some(Value::Object(map)) => Ok(map.values().collect()),
            _ => Err(InvalidDump::NoPart(part.key())),
        }
    }

    /// The objects of a part that is wanted only to explain another: none if it is not there.
    pub fn part_if_any(&self, part: Part) -> Vec<&Value> {
        self.part(part).unwrap_or_default()
    }
}

/// A field that is a string, or nothing.
pub fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

/// The strings of a field that is a list of them.
pub fn texts<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    let list = object[key].as_array();
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// The address in `network/address`, which is how a dump writes addresses of services.
pub fn address(networked: &str) -> &str {
    networked
        .rsplit_once('/')
        .map_or(networked, |(_, address)| address)
}

/// The name of the waypoint of a workload or service: that of the service that it points to, or else what the dump says.
pub fn waypoint(object: &Value, services: &[&Value]) -> String {
    let destination = text(&object["waypoint"], "destination");
    if destination.is_empty() {
        return "None".to_owned();
    }
    let is_it = |service: &&&Value| {
        let hostname = format!("{}/{}", text(service, "namespace"), text(service, "hostname"));
        hostname == destination || texts(service, "vips").any(|vip| vip == destination)
    };
    let name = services.iter().find(is_it).map(|service| text(service, "name"));
    name.unwrap_or(destination).to_owned()
}
