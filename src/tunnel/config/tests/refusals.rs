//! What is refused, and in which words.

use super::{one, problem, with};
use crate::config::ConfigError;

/// Variable, a wrong value, and a part of what is said to be allowed.
const WRONG: [(&str, &str, &str); 51] = [
    ("TRUST_DOMAIN", "Bank.Example", "lower-case letters"),
    ("ADIT_TRUST_DOMAIN_ALIASES", "old.example,Bad", "\"Bad\""),
    ("INSTANCE_IP", "10.0.0", "an IPv4 or IPv6 address"),
    ("SECRET_TTL", "0", "above zero"),
    ("SECRET_TTL", "1 month", "at most 366d"),
    ("COMPLIANCE_POLICY", "fips-140-2", "pqc, or nothing"),
    ("PACKET_MARK", "1338", "1337 (0x539)"),
    ("PACKET_MARK", "many", "a whole number"),
    ("ENABLE_ORIG_SRC", "yes", "true or false"),
    ("KEEPALIVE_ENABLED", "1", "true or false"),
    ("KEEPALIVE_TIME", "500ms", "whole seconds from 1s to 32767s"),
    ("KEEPALIVE_TIME", "10h", "whole seconds from 1s to 32767s"),
    ("KEEPALIVE_INTERVAL", "0", "whole seconds from 1s to 32767s"),
    ("KEEPALIVE_RETRIES", "128", "from 1 to 127"),
    ("KEEPALIVE_RETRIES", "0", "from 1 to 127"),
    ("USER_TIMEOUT_ENABLED", "on", "true or false"),
    ("POOL_MAX_STREAMS_PER_CONNECTION", "0", "from 1 to 65535"),
    ("ADIT_POOL_MAX_CONNECTIONS_PER_PEER", "0", "from 1 to 65535"),
    ("POOL_UNUSED_RELEASE_TIMEOUT", "never", "5m or 1h30m"),
    ("HTTP2_STREAM_WINDOW_SIZE", "4MiB", "from 65535 to 2147483647"),
    (
        "HTTP2_STREAM_WINDOW_SIZE",
        "2147483648",
        "from 65535 to 2147483647",
    ),
    ("HTTP2_CONNECTION_WINDOW_SIZE", "1", "from 65535 to 2147483647"),
    (
        "ADIT_HTTP2_WINDOW_LIMIT",
        "16777215",
        "from 16777216 to 2147483647",
    ),
    ("HTTP2_FRAME_SIZE", "16383", "from 16384 to 16777215"),
    ("HTTP2_FRAME_SIZE", "16777216", "from 16384 to 16777215"),
    ("ADIT_PING_INTERVAL", "0s", "above zero"),
    ("ADIT_PING_TIMEOUT", "-1s", "5m or 1h30m"),
    ("ADIT_CONNECT_TIMEOUT", "10 parsecs", "5m or 1h30m"),
    ("ADIT_TLS_TIMEOUT", "0", "above zero"),
    ("ADIT_HTTP2_TIMEOUT", "s", "5m or 1h30m"),
    ("ADIT_CONNECT_ANSWER_TIMEOUT", "1e9", "5m or 1h30m"),
    ("ADIT_READY_TIMEOUT", "367d", "at most 366d"),
    ("ADIT_CONNECTIONS_PER_POD", "0", "from 1 to 16777216"),
    ("ADIT_TUNNELS_PER_PEER", "unlimited", "from 1 to 16777216"),
    ("ADIT_HANDSHAKES_PER_POD", "1025", "from 1 to 1024"),
    ("ADIT_HANDSHAKES_PER_NODE", "0", "from 1 to 16777216"),
    (
        "ADIT_BUFFERED_BYTES_PER_POD",
        "1000000",
        "from 1048576 to 536870912",
    ),
    (
        "ADIT_BUFFERED_BYTES_PER_POD",
        "536870913",
        "from 1048576 to 536870912",
    ),
    (
        "ADIT_BUFFERED_BYTES_PER_NODE",
        "1GiB",
        "from 1048576 to 4294967295",
    ),
    ("IPV6_ENABLED", "no", "true or false"),
    ("LOCALHOST_APP_TUNNEL", "True", "true or false"),
    ("ENABLE_RESPONSE_BAGGAGE", "0", "true or false"),
    ("CONNECTION_TERMINATION_DEADLINE", "soon", "5m or 1h30m"),
    ("TERMINATION_GRACE_PERIOD_SECONDS", "30s", "without a unit"),
    ("TERMINATION_GRACE_PERIOD_SECONDS", "-1", "without a unit"),
    ("ADIT_PORT_ADMIN", "0", "from 1 to 65535"),
    ("ADIT_PORT_STATS", "65536", "from 1 to 65535"),
    ("ADIT_PORT_READINESS", "http", "from 1 to 65535"),
    ("RUST_LOG", "loud", "\"loud\" is no level"),
    (
        "RUST_LOG",
        "access=debug,tunnel=loud",
        "\"tunnel=loud\" is no level",
    ),
    ("LOG_FORMAT", "xml", "plain or json"),
];

#[test]
fn a_wrong_value_is_an_error_that_names_variable_value_and_what_is_allowed() {
    for (variable, value, allowed) in WRONG {
        let error = one(variable, value).expect_err(variable);
        let text = error.to_string();
        assert!(matches!(error, ConfigError::Invalid { .. }), "{text}");
        assert!(text.starts_with(&format!("{variable} (flag --")), "{text}");
        assert!(text.contains(&format!("{value:?}: give ")), "{text}");
        assert!(text.contains(allowed), "{allowed}: {text}");
    }
}

#[test]
fn an_error_reads_like_this() {
    assert_eq!(
        problem("KEEPALIVE_RETRIES", "often"),
        "KEEPALIVE_RETRIES (flag --keepalive-retries) is \"often\": give a whole number from 1 to 127"
    );
    assert_eq!(
        problem("ZTUNNEL_WORKER_THREADS", "two"),
        "ZTUNNEL_WORKER_THREADS=\"two\": give a number of threads (0 is all), or a percentage from 1% to 100%"
    );
    assert_eq!(
        problem("TLS12_ENABLED", "true"),
        "TLS12_ENABLED is \"true\", which is not supported and not safe to ignore: the mesh speaks TLS 1.3 only; \
         remove it"
    );
}

#[test]
fn an_unknown_congestion_control_is_named_with_what_the_kernel_offers() {
    for variable in ["ADIT_LOCAL_CONGESTION", "ADIT_REMOTE_CONGESTION"] {
        let text = problem(variable, "nonesuch");
        assert!(
            text.starts_with(variable) && text.contains("\"nonesuch\" cannot be used"),
            "{text}"
        );
        assert!(text.contains("this kernel offers: "), "{text}");
    }
}

#[test]
fn amounts_of_cpu_are_checked_even_where_they_do_not_decide() {
    for variable in [
        "ZTUNNEL_CPU_LIMIT",
        "ZTUNNEL_RESOURCE_CPU_LIMIT",
        "ZTUNNEL_RESOURCE_CPU_REQUEST",
    ] {
        let text = with(&[(variable, "lots"), ("ZTUNNEL_WORKER_THREADS", "2")])
            .expect_err(variable)
            .to_string();
        assert!(text.contains(variable) && text.contains("\"lots\""), "{text}");
    }
}

#[test]
fn the_tunnels_own_pod_is_described_completely_or_not_at_all() {
    let partly = with(&[("POD_NAME", "adit-x7"), ("SERVICE_ACCOUNT", "tunnel")]);
    assert_eq!(
        partly,
        Err(ConfigError::IncompletePod {
            missing: "POD_NAMESPACE"
        })
    );
    let wrong = [
        ("POD_NAME", "adit-x7"),
        ("POD_NAMESPACE", "adit"),
        ("SERVICE_ACCOUNT", "a/b"),
    ];
    let text = with(&wrong).expect_err("no SPIFFE path").to_string();
    assert!(
        text.starts_with("SERVICE_ACCOUNT (flag --service-account) is \"a/b\""),
        "{text}"
    );
    let wrong = [
        ("POD_NAME", "adit-x7"),
        ("POD_NAMESPACE", "a/b"),
        ("SERVICE_ACCOUNT", "tunnel"),
    ];
    let text = with(&wrong).expect_err("no SPIFFE path").to_string();
    assert!(
        text.starts_with("POD_NAMESPACE (flag --pod-namespace) is \"a/b\""),
        "{text}"
    );
}

#[test]
fn a_socket_path_that_the_kernel_cannot_take_is_refused() {
    let path = format!("/{}", "x".repeat(107));
    assert!(problem("INPOD_UDS", &path).contains("at most 107 bytes"));
    assert!(one("INPOD_UDS", &path[..107]).is_ok());
}

#[test]
fn a_user_timeout_beyond_the_kernels_limit_is_refused() {
    let settings = [
        ("KEEPALIVE_INTERVAL", "32767s"),
        ("KEEPALIVE_RETRIES", "127"),
        ("USER_TIMEOUT_ENABLED", "true"),
    ];
    assert!(with(&settings[..2]).is_ok());
    let text = with(&settings).expect_err("too long").to_string();
    assert!(
        text.starts_with("USER_TIMEOUT_ENABLED") && text.contains("24 days"),
        "{text}"
    );
}

#[test]
fn every_server_has_a_port_of_its_own() {
    let error = one("ADIT_PORT_STATS", "15021");
    let expected = ConfigError::SamePort {
        first: "ADIT_PORT_STATS",
        second: "ADIT_PORT_READINESS",
        port: 15021,
    };
    assert_eq!(error, Err(expected));
}

#[test]
fn a_misspelt_setting_of_ours_stops_the_start() {
    let expected = ConfigError::Unknown {
        variable: "ADIT_TRUST_DOMAIN_ALIAS".to_owned(),
    };
    assert_eq!(
        one("ADIT_TRUST_DOMAIN_ALIAS", "old.example"),
        Err(expected.clone())
    );
    assert_eq!(
        expected.to_string(),
        "\"ADIT_TRUST_DOMAIN_ALIAS\" is not a setting (`--help` lists them): correct its name or remove it"
    );
    assert!(
        one("ADIT_FOO_PORT", "15000").is_err(),
        "not what Kubernetes writes"
    );
}

#[test]
fn what_kubernetes_says_about_services_of_ours_is_no_setting() {
    let service = [
        ("ADIT_CONTROL_SERVICE_HOST", "10.0.0.1"),
        ("ADIT_CONTROL_SERVICE_PORT", "15012"),
        ("ADIT_CONTROL_SERVICE_PORT_GRPC_XDS", "15012"),
        ("ADIT_CONTROL_PORT", "tcp://10.0.0.1:15012"),
        ("ADIT_CONTROL_PORT_15012_TCP", "tcp://10.0.0.1:15012"),
        ("ADIT_CONTROL_PORT_15012_TCP_PROTO", "tcp"),
        ("ADIT_CONTROL_PORT_15012_TCP_PORT", "15012"),
        ("ADIT_CONTROL_PORT_15012_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(with(&service), with(&[]));
}

#[test]
fn settings_that_are_unsafe_to_ignore_stop_the_start() {
    for (variable, value) in [
        ("TLS12_ENABLED", "true"),
        ("TLS12_ENABLED", "yes"),
        ("FAKE_CA", "true"),
        ("LOCAL_XDS", "policies: []"),
        ("PROXY_MODE", "dedicated"),
        ("ENABLE_PROXY", "false"),
    ] {
        match one(variable, value) {
            Err(ConfigError::Refused { setting, .. }) => assert_eq!(setting, variable),
            other => panic!("{variable}={value}: {other:?}"),
        }
    }
}

#[test]
fn a_refused_document_is_not_printed_whole() {
    let text = problem("LOCAL_XDS", &"policies: ".repeat(1000));
    assert!(text.len() < 300, "{text}");
}

#[test]
fn settings_without_effect_are_reported_when_they_ask_for_something() {
    for (variable, value) in [
        ("XDS_ADDRESS", "https://istiod.istio-system.svc:15012"),
        ("CA_ADDRESS", "https://istiod.istio-system.svc:15012"),
        ("XDS_ON_DEMAND", "true"),
        ("ISTIO_META_DNS_CAPTURE", "true"),
        ("ISTIO_META_DNS_PROXY_ADDR", "localhost:15053"),
        ("PREFERED_SERVICE_NAMESPACE", "shared"),
        ("CLUSTER_DOMAIN", "bank.local"),
        ("UNSTABLE_ENABLE_SOCKS5", "true"),
        ("PROXY_WORKLOAD_INFO", "a/b/c"),
        ("INPOD_ENABLED", "false"),
        ("INPOD_PORT_REUSE", "false"),
        ("AUTHZ_POLICY_INFO_LOGGING", "true"),
        ("ISTIO_METAJSON_LABELS", "{}"),
    ] {
        let config = one(variable, value).unwrap_or_else(|error| panic!("{error}"));
        let reports: Vec<String> = config.unsupported.iter().map(ToString::to_string).collect();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(
            reports[0].starts_with(&format!("{variable} has no effect: ")),
            "{reports:?}"
        );
    }
}

#[test]
fn settings_that_ask_for_what_we_do_anyway_are_not_reported() {
    let settings = [
        ("XDS_ADDRESS", ""),
        ("CA_ADDRESS", ""),
        ("TLS12_ENABLED", "false"),
        ("FAKE_CA", "false"),
        ("PROXY_MODE", "shared"),
        ("ENABLE_PROXY", "true"),
        ("INPOD_ENABLED", "true"),
        ("INPOD_PORT_REUSE", "true"),
        ("XDS_ON_DEMAND", "false"),
        ("ISTIO_META_DNS_CAPTURE", "false"),
        ("CLUSTER_DOMAIN", "cluster.local"),
        ("RUST_BACKTRACE", "1"),
    ];
    assert_eq!(with(&settings).expect("valid").unsupported, []);
}
