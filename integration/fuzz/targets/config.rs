//! The tunnel's documents and settings, separated by NUL: `PROXY_CONFIG`, the mesh's configuration file, variables
//! (`NAME=value`, one a line) and values of settings of every kind. The same text makes the same configuration, and what
//! is refused is refused in one line, which cannot pass for another line of the log.

#![no_main]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use adit_tunnel::cli::{Args, SourceArgs};
use adit_tunnel::config::{Config, Environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    let (one, other) = (configure(text), configure(text));
    match (one, other) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(one), Err(other)) => {
            let words = one.to_string();
            assert_eq!(words, other.to_string());
            assert!(
                !words.is_empty() && !words.contains(char::is_control),
                "{words:?}"
            );
        }
        (one, other) => panic!("{one:?}, then {other:?}"),
    }
});

fn configure(text: &str) -> Result<Config, adit_tunnel::config::ConfigError> {
    let mut parts = text.split('\0').map(str::to_owned);
    let mut part = || parts.next();
    let (proxy_config, mesh_config, variables) = (part(), part(), part().unwrap_or_default());
    let variables: BTreeMap<_, _> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let environment = Environment::new(
        variables,
        NonZeroUsize::MIN,
        move |path: &Path| match &mesh_config {
            Some(text) if path == Path::new("./etc/istio/config/mesh") => Ok(text.clone()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        },
    );
    let mut args = Args {
        sources: SourceArgs {
            proxy_config,
            local_xds_path: Some("/mesh.yaml".to_owned()),
            local_ca: Some("/ca".to_owned()),
            ..SourceArgs::default()
        },
        ..Args::default()
    };
    args.node.trust_domain_aliases = part();
    args.node.instance_ip = part();
    args.sources.secret_ttl = part();
    args.sources.trust_bundle = part();
    Config::new(args, &environment)
}
