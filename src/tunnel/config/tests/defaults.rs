//! What holds when nothing is said, and that everything can be found in the help.

use std::process::Command as Process;
use std::time::Duration;

use adit_net::{Congestion, Keepalive, SocketOptions};
use clap::{Args as _, Command};

use super::{Given, with};
use crate::cli::Args;
use crate::config::{
    CertificateSource, Config, ConfigError, Environment, KeepSource, Limits, LogFormat, MeshSource, Ports,
    error,
};

#[test]
fn has_ztunnels_defaults_where_it_says_nothing_else() {
    let config = with(&[]).expect("valid");
    assert_eq!(config.mesh, MeshSource::File("/mesh.yaml".into()));
    assert_eq!(
        config.certificates.source,
        CertificateSource::LocalCa("/ca".into())
    );
    assert_eq!(config.certificates.ttl, Duration::from_secs(86_400));
    assert_eq!(
        config.certificates.trust_options(),
        adit_pki::TrustOptions::default()
    );
    assert_eq!(config.agent_socket.as_os_str(), "/var/run/ztunnel/ztunnel.sock");
    assert_eq!(config.node.name, None);
    assert_eq!(config.node.cluster, "Kubernetes");
    assert_eq!(config.node.network, "");
    assert_eq!(config.node.trust_domain.as_str(), "cluster.local");
    assert_eq!(config.node.pod, None);
    assert_eq!(config.hbone, adit_hbone::Settings::default());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.process.drain_deadline, Duration::from_secs(5));
    assert_eq!(
        config.process.ports,
        Ports {
            admin: 15000,
            stats: 15020,
            readiness: 15021
        }
    );
    assert_eq!(config.process.workers.count.get(), 8);
    assert_eq!(config.process.logging.levels, "info");
    assert_eq!(config.process.logging.format, LogFormat::Plain);
    assert_eq!(config.traffic.ready_timeout, Duration::from_secs(10));
    assert!(config.traffic.ipv6 && config.traffic.localhost_app_tunnel && config.traffic.response_baggage);
    assert_eq!(config.unsupported, []);
}

#[test]
fn sockets_are_marked_probed_and_spared_the_pacing_of_bbr() {
    let sockets = with(&[]).expect("valid").sockets;
    let seconds = Duration::from_secs;
    let remote = SocketOptions {
        mark: Some(0x539),
        keepalive: Some(Keepalive {
            time: seconds(180),
            interval: seconds(180),
            retries: 9,
        }),
        user_timeout: None,
        congestion: None,
        nodelay: true,
    };
    assert_eq!(sockets.remote, remote);
    assert_eq!(
        sockets.local,
        SocketOptions {
            congestion: Congestion::for_node_local(),
            ..remote
        }
    );
    assert_eq!(sockets.keep_source, KeepSource::Try);
    assert_eq!(sockets.towards(true), &sockets.local);
    assert_eq!(sockets.towards(false), &sockets.remote);
}

#[test]
fn a_peer_hears_our_refusal_before_it_gives_up() {
    let config = with(&[]).expect("valid");
    assert!(config.traffic.ready_timeout < config.hbone.deadlines.answer);
}

#[test]
fn does_not_start_without_a_mesh_or_certificates() {
    let missing = |variable: &str| match with(&[(variable, " ")]) {
        Err(ConfigError::Missing { variable, .. }) => Some(variable),
        _ => None,
    };
    assert_eq!(missing("LOCAL_XDS_PATH"), Some("XDS_ADDRESS"));
    assert_eq!(missing("ADIT_LOCAL_CA"), Some("CA_ADDRESS"));
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let command = Args::augment_args(Command::new("tunnel"));
    let names: Vec<&str> = command
        .get_arguments()
        .filter_map(|a| a.get_env()?.to_str())
        .collect();
    let expected = with(&[]).expect("valid");
    for name in names
        .into_iter()
        .filter(|name| !["LOCAL_XDS_PATH", "ADIT_LOCAL_CA"].contains(name))
    {
        assert_eq!(with(&[(name, "")]).as_ref(), Ok(&expected), "{name}");
    }
}

#[test]
fn every_flag_is_its_variable_in_lower_case() {
    for argument in Args::augment_args(Command::new("tunnel")).get_arguments() {
        if let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) {
            let variable = variable.to_str().expect("ASCII");
            assert_eq!(format!("--{flag}"), error::flag(variable));
        }
    }
}

#[test]
fn help_states_variable_default_or_necessity_of_every_setting() {
    for argument in Args::augment_args(Command::new("tunnel")).get_arguments() {
        let Some(flag) = argument.get_long() else { continue };
        let help = argument.get_help().expect("documented").to_string();
        assert!(
            argument.get_env().is_some() || help.contains("[env: "),
            "{flag}: {help}"
        );
        assert!(
            help.contains("[default: ") || help.contains("Required"),
            "{flag}: {help}"
        );
    }
}

#[test]
fn help_names_every_setting_of_ztunnel() {
    let help = Args::augment_args(Command::new("tunnel"))
        .render_long_help()
        .to_string();
    let words: Vec<&str> = help
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let ztunnels = "PROXY_MODE PROXY_WORKLOAD_INFO ENABLE_PROXY NETWORK NODE_NAME CLUSTER_ID ISTIO_META_CLUSTER_ID \
        CLUSTER_DOMAIN TRUST_DOMAIN POD_NAME POD_NAMESPACE SERVICE_ACCOUNT INSTANCE_IP XDS_ADDRESS CA_ADDRESS FAKE_CA \
        XDS_ROOT_CA CA_ROOT_CA ALT_XDS_HOSTNAME ALT_CA_HOSTNAME AUTH_TOKEN SECRET_TTL LOCAL_XDS_PATH LOCAL_XDS \
        XDS_ON_DEMAND PREFERED_SERVICE_NAMESPACE PACKET_MARK ENABLE_ORIG_SRC KEEPALIVE_ENABLED KEEPALIVE_TIME \
        KEEPALIVE_INTERVAL KEEPALIVE_RETRIES USER_TIMEOUT_ENABLED INPOD_UDS INPOD_PORT_REUSE \
        POOL_MAX_STREAMS_PER_CONNECTION POOL_UNUSED_RELEASE_TIMEOUT HTTP2_STREAM_WINDOW_SIZE \
        HTTP2_CONNECTION_WINDOW_SIZE HTTP2_FRAME_SIZE CONNECTION_TERMINATION_DEADLINE \
        TERMINATION_GRACE_PERIOD_SECONDS ZTUNNEL_WORKER_THREADS ZTUNNEL_CPU_LIMIT ZTUNNEL_RESOURCE_CPU_LIMIT \
        ZTUNNEL_RESOURCE_CPU_REQUEST IPV6_ENABLED UNSTABLE_ENABLE_SOCKS5 LOCALHOST_APP_TUNNEL \
        ENABLE_RESPONSE_BAGGAGE CRL_PATH COMPLIANCE_POLICY TLS12_ENABLED AUTHZ_POLICY_INFO_LOGGING RUST_LOG \
        LOG_FORMAT PROXY_CONFIG ISTIO_META_ ISTIO_META_DNS_CAPTURE ISTIO_META_DNS_PROXY_ADDR ISTIO_METAJSON_ \
        XDS_HEADER_ CA_HEADER_";
    for name in ztunnels.split_whitespace() {
        assert!(words.contains(&name), "{name} is not in the help");
    }
}

#[test]
fn no_variable_of_ours_looks_like_one_of_a_kubernetes_service() {
    for argument in Args::augment_args(Command::new("tunnel")).get_arguments() {
        let Some(name) = argument.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        assert!(
            !name.starts_with("ADIT_") || !name.ends_with("_PORT") && !name.contains("_SERVICE_"),
            "{name}"
        );
    }
}

#[test]
fn takes_the_arguments_of_a_daemonset_written_for_ztunnel() {
    let given = Given {
        flags: &["proxy", "ztunnel"],
        ..Given::default()
    };
    assert_eq!(given.configure(), with(&[]));
}

/// The real way: variables of a process, read by clap. This test runs itself again with variables set.
#[test]
fn reads_the_variables_of_the_process_and_prefers_flags() {
    const INSIDE: &str = "TEST_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let name = std::thread::current()
            .name()
            .expect("named after the test")
            .to_owned();
        let output = Process::new(std::env::current_exe().expect("we are running"))
            .args([&name, "--exact", "--nocapture"])
            .env_clear()
            .envs([
                (INSIDE, "1"),
                ("LOCAL_XDS_PATH", "/a"),
                ("ADIT_LOCAL_CA", "/b"),
                ("NODE_NAME", "one"),
            ])
            .envs([("NETWORK", "east"), ("ISTIO_META_ISTIO_VERSION", "1.30")])
            .output()
            .expect("runs again");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let matches = Args::augment_args(Command::new("tunnel"))
        .try_get_matches_from(["tunnel", "--node-name", "two"])
        .expect("valid");
    let args = <Args as clap::FromArgMatches>::from_arg_matches(&matches).expect("valid");
    let config = Config::new(args, &Environment::of_this_process()).expect("valid");
    assert_eq!(config.node.name.as_deref(), Some("two"), "a flag wins");
    assert_eq!(config.node.network, "east");
    assert_eq!(config.node.istio_version.as_deref(), Some("1.30"));
    assert_eq!(config.mesh, MeshSource::File("/a".into()));
}
