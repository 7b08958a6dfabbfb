//! What each setting does to the configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use adit_pki::Compliance;

use super::{Given, one, with};
use crate::config::{Config, KeepSource, Limits, LogFormat};

fn valid(variable: &str, value: &str) -> Config {
    one(variable, value).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_node_is_as_described() {
    let node = with(&[
        ("NODE_NAME", "node-1"),
        ("NETWORK", " east "),
        ("TRUST_DOMAIN", "bank.example"),
        ("POD_NAME", "adit-x7"),
        ("POD_NAMESPACE", "adit-system"),
        ("SERVICE_ACCOUNT", "tunnel"),
        ("INSTANCE_IP", "fd00::7"),
        ("ISTIO_META_ISTIO_VERSION", "1.30.0"),
    ])
    .expect("valid")
    .node;
    assert_eq!(node.name.as_deref(), Some("node-1"));
    assert_eq!(node.network, "east");
    assert_eq!(node.address, Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 7])));
    assert_eq!(node.istio_version.as_deref(), Some("1.30.0"));
    let pod = node.pod.expect("complete");
    assert_eq!(pod.name, "adit-x7");
    assert_eq!(
        pod.identity.to_string(),
        "spiffe://bank.example/ns/adit-system/sa/tunnel"
    );
}

#[test]
fn the_cluster_is_named_by_flag_then_metadata_then_variable() {
    let both = [("CLUSTER_ID", "plain"), ("ISTIO_META_CLUSTER_ID", "meta")];
    let cluster = |flags, variables| {
        Given {
            flags,
            variables,
            ..Given::default()
        }
        .configure()
        .expect("valid")
        .node
        .cluster
    };
    assert_eq!(cluster(&["--cluster-id", "flag"], &both), "flag");
    assert_eq!(cluster(&[], &both), "meta");
    assert_eq!(cluster(&[], &both[..1]), "plain");
    // Also when the flag repeats what the variable says.
    assert_eq!(cluster(&["--cluster-id", "plain"], &both), "plain");
}

#[test]
fn certificates_and_trust_are_as_described() {
    let certificates = with(&[
        ("SECRET_TTL", "1h"),
        ("ADIT_TRUST_BUNDLE", "/a.pem, /b.pem,"),
        ("CRL_PATH", "/crl.pem"),
        ("COMPLIANCE_POLICY", "pqc"),
        (
            "ADIT_TRUST_DOMAIN_ALIASES",
            "old.example, older.example,old.example",
        ),
    ])
    .expect("valid")
    .certificates;
    assert_eq!(certificates.ttl, Duration::from_secs(3600));
    assert_eq!(certificates.compliance, Compliance::Pqc);
    let trust = certificates.trust_options();
    assert_eq!(trust.bundle, [PathBuf::from("/a.pem"), PathBuf::from("/b.pem")]);
    assert_eq!(trust.crl, [PathBuf::from("/crl.pem")]);
    let aliases: Vec<&str> = trust.aliases.iter().map(|alias| alias.as_str()).collect();
    assert_eq!(aliases, ["old.example", "older.example"]);
}

#[test]
fn the_agents_socket_can_be_elsewhere() {
    assert_eq!(
        valid("INPOD_UDS", "/run/agent.sock").agent_socket,
        PathBuf::from("/run/agent.sock")
    );
}

#[test]
fn the_mark_may_have_bits_that_are_not_ours() {
    for (value, mark) in [
        ("1337", 0x539),
        ("0x539", 0x539),
        ("0x1539", 0x1539),
        ("0xfffff539", 0xffff_f539),
    ] {
        assert_eq!(
            valid("PACKET_MARK", value).sockets.local.mark,
            Some(mark),
            "{value}"
        );
    }
}

#[test]
fn the_source_is_kept_as_far_as_asked() {
    assert_eq!(
        valid("ENABLE_ORIG_SRC", "true").sockets.keep_source,
        KeepSource::Require
    );
    assert_eq!(
        valid("ENABLE_ORIG_SRC", "false").sockets.keep_source,
        KeepSource::Never
    );
}

#[test]
fn keepalive_and_user_timeout_follow_their_settings() {
    assert_eq!(valid("KEEPALIVE_ENABLED", "false").sockets.remote.keepalive, None);
    let sockets = with(&[
        ("KEEPALIVE_TIME", "1m"),
        ("KEEPALIVE_INTERVAL", "5"),
        ("KEEPALIVE_RETRIES", "3"),
        ("USER_TIMEOUT_ENABLED", "true"),
    ])
    .expect("valid")
    .sockets;
    for options in [sockets.local, sockets.remote] {
        let keepalive = options.keepalive.expect("on");
        assert_eq!(
            (keepalive.time, keepalive.interval),
            (Duration::from_secs(60), Duration::from_secs(5))
        );
        assert_eq!(keepalive.retries, 3);
        assert_eq!(options.user_timeout, Some(Duration::from_secs(75)));
    }
}

#[test]
fn congestion_control_is_chosen_for_each_side() {
    // Every kernel has reno, and everybody may use it.
    let name = |congestion: Option<adit_net::Congestion>| congestion.map(|c| c.name().to_owned());
    assert_eq!(
        name(valid("ADIT_LOCAL_CONGESTION", "host").sockets.local.congestion),
        None
    );
    assert_eq!(
        name(valid("ADIT_LOCAL_CONGESTION", "reno").sockets.local.congestion).as_deref(),
        Some("reno")
    );
    let remote = valid("ADIT_REMOTE_CONGESTION", "reno").sockets;
    assert_eq!(name(remote.remote.congestion).as_deref(), Some("reno"));
    assert_eq!(remote.local, with(&[]).expect("valid").sockets.local);
}

#[test]
fn hbone_windows_limits_and_deadlines_follow_their_settings() {
    let seconds = Duration::from_secs;
    let hbone = with(&[
        ("HTTP2_STREAM_WINDOW_SIZE", "65535"),
        ("HTTP2_CONNECTION_WINDOW_SIZE", "1000000"),
        ("HTTP2_FRAME_SIZE", "1048576"),
        ("POOL_MAX_STREAMS_PER_CONNECTION", "1"),
        ("ADIT_POOL_MAX_CONNECTIONS_PER_PEER", "2"),
        ("POOL_UNUSED_RELEASE_TIMEOUT", "30s"),
        ("ADIT_PING_INTERVAL", "3s"),
        ("ADIT_PING_TIMEOUT", "4s"),
        ("ADIT_CONNECT_TIMEOUT", "5s"),
        ("ADIT_TLS_TIMEOUT", "6s"),
        ("ADIT_HTTP2_TIMEOUT", "7s"),
        ("ADIT_CONNECT_ANSWER_TIMEOUT", "8s"),
    ])
    .expect("valid")
    .hbone;
    assert_eq!(
        (hbone.stream_window, hbone.connection_window),
        (65_535, 1_000_000)
    );
    assert_eq!(
        (hbone.window_limit, hbone.small_frame_budget),
        (4_000_000, 4_000_000)
    );
    assert_eq!(hbone.max_frame, 1 << 20);
    assert_eq!((hbone.streams_per_connection, hbone.connections_per_peer), (1, 2));
    assert_eq!(hbone.idle_timeout, seconds(30));
    assert_eq!(
        (hbone.ping_interval, hbone.ping_timeout),
        (seconds(3), seconds(4))
    );
    let deadlines = hbone.deadlines;
    assert_eq!((deadlines.connect, deadlines.tls), (seconds(5), seconds(6)));
    assert_eq!((deadlines.http2, deadlines.answer), (seconds(7), seconds(8)));
}

#[test]
fn the_window_limit_never_leaves_what_http_can_express() {
    let hbone = valid("HTTP2_CONNECTION_WINDOW_SIZE", "2147483647").hbone;
    assert_eq!(hbone.window_limit, 2_147_483_647);
    assert_eq!(
        valid("ADIT_HTTP2_WINDOW_LIMIT", "16777216").hbone.window_limit,
        16 << 20
    );
}

#[test]
fn limits_are_as_described_and_a_pods_follow_the_nodes() {
    let limits = with(&[
        ("ADIT_CONNECTIONS_PER_POD", "10"),
        ("ADIT_TUNNELS_PER_PEER", "20"),
        ("ADIT_HANDSHAKES_PER_POD", "30"),
        ("ADIT_HANDSHAKES_PER_NODE", "40"),
        ("ADIT_BUFFERED_BYTES_PER_POD", "2097152"),
        ("ADIT_BUFFERED_BYTES_PER_NODE", "4194304"),
    ])
    .expect("valid")
    .limits;
    let expected = Limits {
        connections_per_pod: 10,
        tunnels_per_peer: 20,
        handshakes_per_pod: 30,
        handshakes_per_node: 40,
        buffered_bytes_per_pod: 2 << 20,
        buffered_bytes_per_node: 4 << 20,
    };
    assert_eq!(limits, expected);
    let node = [
        ("ADIT_HANDSHAKES_PER_NODE", "5"),
        ("ADIT_BUFFERED_BYTES_PER_NODE", "1048576"),
    ];
    let limits = with(&node).expect("valid").limits;
    assert_eq!(
        (limits.handshakes_per_pod, limits.buffered_bytes_per_pod),
        (5, 1 << 20)
    );
}

#[test]
fn traffic_is_treated_as_described() {
    assert_eq!(
        valid("ADIT_READY_TIMEOUT", "250ms").traffic.ready_timeout,
        Duration::from_millis(250)
    );
    assert!(!valid("IPV6_ENABLED", "false").traffic.ipv6);
    assert!(
        !valid("LOCALHOST_APP_TUNNEL", "false")
            .traffic
            .localhost_app_tunnel
    );
    assert!(!valid("ENABLE_RESPONSE_BAGGAGE", "false").traffic.response_baggage);
}

#[test]
fn the_drain_deadline_leaves_a_margin_in_the_grace_period() {
    let grace = "TERMINATION_GRACE_PERIOD_SECONDS";
    let drain = |variables: &[(&str, &str)]| with(variables).expect("valid").process.drain_deadline.as_secs();
    for (given, expected) in [("30", 25), ("11", 6), ("10", 9), ("2", 1), ("1", 1), ("0", 1)] {
        assert_eq!(drain(&[(grace, given)]), expected, "{given}");
    }
    assert_eq!(
        drain(&[(grace, "30"), ("CONNECTION_TERMINATION_DEADLINE", "1m")]),
        60
    );
    assert_eq!(
        drain(&[(grace, "30"), ("CONNECTION_TERMINATION_DEADLINE", "0")]),
        0,
        "cut at once"
    );
}

#[test]
fn workers_follow_the_limit_of_the_container() {
    let workers = |variable, value| {
        let decided = valid(variable, value).process.workers;
        (decided.count.get(), decided.reason.to_string())
    };
    assert_eq!(
        workers("ZTUNNEL_WORKER_THREADS", "3"),
        (3, "ZTUNNEL_WORKER_THREADS=3".into())
    );
    assert_eq!(
        workers("ZTUNNEL_CPU_LIMIT", "2"),
        (2, "CPU limit ZTUNNEL_CPU_LIMIT=2".into())
    );
    let limit = workers("ZTUNNEL_RESOURCE_CPU_LIMIT", "1500m");
    assert_eq!(limit, (2, "CPU limit ZTUNNEL_RESOURCE_CPU_LIMIT=1500m".into()));
    let request = [
        ("ZTUNNEL_RESOURCE_CPU_LIMIT", "1"),
        ("ZTUNNEL_RESOURCE_CPU_REQUEST", "4"),
    ];
    assert_eq!(with(&request).expect("valid").process.workers.count.get(), 4);
}

#[test]
fn ports_and_logging_are_as_described() {
    let process = with(&[
        ("ADIT_PORT_ADMIN", "25000"),
        ("ADIT_PORT_STATS", "25020"),
        ("ADIT_PORT_READINESS", "25021"),
        ("RUST_LOG", "info,access=debug"),
        ("LOG_FORMAT", "json"),
    ])
    .expect("valid")
    .process;
    assert_eq!(
        (process.ports.admin, process.ports.stats, process.ports.readiness),
        (25000, 25020, 25021)
    );
    assert_eq!(process.logging.levels, "info,access=debug");
    assert_eq!(process.logging.format, LogFormat::Json);
}
