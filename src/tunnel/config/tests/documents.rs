//! `PROXY_CONFIG`, and the mesh's configuration file below it.

use super::{Given, one, with};
use crate::config::{Config, ConfigError};

const MESH_FILE: &str = "
trustDomain: cluster.local
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  proxyAdminPort: 16000
  statsPort: 16020
  concurrency: 3
  proxyMetadata: {ISTIO_META_A: file, ISTIO_META_B: file, C: file}
  tracing: {sampling: 1.0}
";

const PROXY_CONFIG: &str =
    r#"{"proxyAdminPort": 17000, "concurrency": 4, "proxyMetadata": {"B": "config", "C": "config"}}"#;

fn configured(flags: &[&str], variables: &[(&str, &str)]) -> Config {
    let given = Given {
        flags,
        variables,
        mesh_file: Some(MESH_FILE),
    };
    given.configure().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_mesh_file_counts_before_defaults() {
    let process = configured(&[], &[]).process;
    assert_eq!(
        (process.ports.admin, process.ports.stats, process.ports.readiness),
        (16000, 16020, 15021)
    );
    assert_eq!(process.workers.count.get(), 3);
}

#[test]
fn proxy_config_counts_before_the_mesh_file() {
    let process = configured(&[], &[("PROXY_CONFIG", PROXY_CONFIG)]).process;
    assert_eq!((process.ports.admin, process.ports.stats), (17000, 16020));
    assert_eq!(process.workers.count.get(), 4);
    assert_eq!(
        process.workers.reason.to_string(),
        "concurrency 4 of PROXY_CONFIG"
    );
}

#[test]
fn a_variable_counts_before_proxy_config_and_a_flag_before_all() {
    let variables = [
        ("PROXY_CONFIG", PROXY_CONFIG),
        ("ADIT_PORT_ADMIN", "18000"),
        ("ZTUNNEL_WORKER_THREADS", "5"),
    ];
    let by_variable = configured(&[], &variables).process;
    assert_eq!(
        (by_variable.ports.admin, by_variable.workers.count.get()),
        (18000, 5)
    );
    let flags = ["--port-admin=19000", "--worker-threads", "6"];
    let by_flag = configured(&flags, &variables).process;
    assert_eq!((by_flag.ports.admin, by_flag.workers.count.get()), (19000, 6));
}

#[test]
fn metadata_is_merged_key_by_key_and_has_no_prefix() {
    let variables = [
        ("PROXY_CONFIG", PROXY_CONFIG),
        ("ISTIO_META_C", "variable"),
        ("ISTIO_META_D", "variable"),
    ];
    let metadata = configured(&[], &variables).node.metadata;
    let metadata: Vec<(&str, &str)> = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        metadata,
        [
            ("A", "file"),
            ("B", "config"),
            ("C", "variable"),
            ("D", "variable")
        ]
    );
}

#[test]
fn metadata_can_name_the_cluster_and_ask_for_what_we_do_not_have() {
    let text = "proxyMetadata: {ISTIO_META_CLUSTER_ID: west, ISTIO_META_DNS_CAPTURE: 'true'}";
    let config = with(&[("PROXY_CONFIG", text), ("CLUSTER_ID", "east")]).expect("valid");
    assert_eq!(config.node.cluster, "west");
    assert_eq!(config.unsupported[0].setting, "ISTIO_META_DNS_CAPTURE");
}

#[test]
fn a_broken_document_is_named() {
    for text in [
        "proxyAdminPort: many",
        "concurrency: -1",
        "[1, 2]",
        "a: b: c",
        "statsPort: 65536",
    ] {
        match one("PROXY_CONFIG", text) {
            Err(ConfigError::ProxyConfig { origin, problem }) => {
                assert_eq!(origin, "PROXY_CONFIG (flag --proxy-config)", "{text}");
                assert!(!problem.contains('\n'), "{problem}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let given = Given {
        mesh_file: Some("defaultConfig: 7"),
        ..Given::default()
    };
    match given.configure() {
        Err(ConfigError::ProxyConfig { origin, .. }) => assert_eq!(origin, "./etc/istio/config/mesh"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_port_of_zero_is_refused_wherever_it_stands() {
    for text in ["proxyAdminPort: 0", "statsPort: 0"] {
        assert!(
            matches!(one("PROXY_CONFIG", text), Err(ConfigError::ProxyConfig { .. })),
            "{text}"
        );
    }
}
