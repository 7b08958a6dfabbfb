//! Istio's `ProxyConfig`, as far as it concerns a node tunnel: `PROXY_CONFIG`, over the `defaultConfig` of the mesh's
//! configuration file, over which the variables `ISTIO_META_*` are laid.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::environment::Environment;
use super::error::ConfigError;
use super::read;

/// Where Istio mounts the mesh's configuration.
const MESH_CONFIG: &str = "./etc/istio/config/mesh";
/// How variables are named that carry metadata.
pub(super) const METADATA_PREFIX: &str = "ISTIO_META_";

/// Nodes that stand in a document because an alias repeats them: some hundred are sensible, and a few lines of aliases of
/// aliases can say millions.
const MOST_REPEATED: usize = 10_000;

/// What a `ProxyConfig` says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct ProxyConfig {
    pub(super) discovery_address: Option<String>,
    pub(super) admin_port: Option<u16>,
    pub(super) stats_port: Option<u16>,
    pub(super) concurrency: Option<u32>,
    /// Without the prefix, and without empty values.
    pub(super) metadata: BTreeMap<String, String>,
}

/// The document. Istio's has many more fields, for sidecars; they are not ours to judge.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    discovery_address: Option<String>,
    proxy_admin_port: Option<u16>,
    stats_port: Option<u16>,
    concurrency: Option<u32>,
    proxy_metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MeshConfig {
    default_config: Option<Document>,
}

/// Reads everything; the text of `PROXY_CONFIG` comes from the caller.
pub(super) fn read(text: Option<&str>, environment: &Environment) -> Result<ProxyConfig, ConfigError> {
    let over: Document = match read::given(text) {
        Some(text) => parse(text, "PROXY_CONFIG (flag --proxy-config)")?,
        None => Document::default(),
    };
    let path = Path::new(MESH_CONFIG);
    let file = environment.file(path).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    let mesh: MeshConfig = match read::given(file.as_deref()) {
        Some(text) => parse(text, MESH_CONFIG)?,
        None => MeshConfig::default(),
    };
    let under = mesh.default_config.unwrap_or_default();
    let port = |port: Option<u16>, field: &str| match port {
        Some(0) => Err(ConfigError::ProxyConfig {
            origin: "PROXY_CONFIG (flag --proxy-config), or the file below it,".to_owned(),
            problem: format!("{field} is 0: give a port from 1 to 65535"),
        }),
        port => Ok(port),
    };
    Ok(ProxyConfig {
        discovery_address: over
            .discovery_address
            .or(under.discovery_address)
            .filter(|address| !address.is_empty()),
        admin_port: port(over.proxy_admin_port.or(under.proxy_admin_port), "proxyAdminPort")?,
        stats_port: port(over.stats_port.or(under.stats_port), "statsPort")?,
        concurrency: over.concurrency.or(under.concurrency),
        metadata: metadata([under.proxy_metadata, over.proxy_metadata], environment),
    })
}

fn parse<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, ConfigError> {
    let options = serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MOST_REPEATED,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // The first line says what and where; the excerpt below it would be spread over several lines of the log.
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        ConfigError::ProxyConfig {
            origin: origin.to_owned(),
            problem: line.strip_prefix("error: ").unwrap_or(line).to_owned(),
        }
    })
}

/// Later sources win key by key, the variables over all.
fn metadata(
    sources: [Option<BTreeMap<String, String>>; 2],
    environment: &Environment,
) -> BTreeMap<String, String> {
    let documents = sources.into_iter().flatten().flatten().map(|(name, value)| {
        let name = name
            .strip_prefix(METADATA_PREFIX)
            .map_or(name.clone(), str::to_owned);
        (name, value)
    });
    let variables = environment
        .variables()
        .filter_map(|(name, value)| Some((name.strip_prefix(METADATA_PREFIX)?.to_owned(), value.to_owned())));
    documents
        .chain(variables)
        .filter_map(|(name, value)| Some((name, read::given(Some(&value))?.to_owned())))
        .collect()
}
