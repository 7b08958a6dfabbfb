//! Settings of spans: OpenTelemetry's names and values, in this house's strict way.

use std::time::Duration;

use adit_telemetry::spans::{Batches, Ratio, Root, Sampler, Settings, Tls};

use super::{one, problem, with};
use crate::config::ConfigError;

const ENDPOINT: (&str, &str) = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "http://collector.observability:4317",
);
const SECURE: (&str, &str) = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "https://collector.observability:4317",
);

/// What is made of these variables beside an endpoint.
fn spans(variables: &[(&str, &str)]) -> Settings {
    let all: Vec<_> = [ENDPOINT].iter().chain(variables).copied().collect();
    let config = with(&all).unwrap_or_else(|error| panic!("{error}"));
    config.spans.expect("there is an endpoint")
}

/// What stands in the error about these variables.
fn wrong(variables: &[(&str, &str)]) -> String {
    with(variables).expect_err("refused").to_string()
}

#[test]
fn without_an_endpoint_there_are_no_spans() {
    assert_eq!(with(&[]).expect("valid").spans, None);
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(with(&[ENDPOINT, off]).expect("valid").spans, None, "{off:?}");
    }
}

#[test]
fn an_endpoint_is_enough_and_the_rest_is_as_the_specification_has_it() {
    let spans = spans(&[]);
    assert_eq!(spans.collector.endpoint, "http://collector.observability:4317/");
    assert!(spans.collector.headers.is_empty() && !spans.collector.gzip && spans.collector.tls.is_none());
    assert_eq!(spans.collector.timeout, Duration::from_secs(10));
    assert_eq!(
        spans.sampler,
        Sampler {
            root: Root::Always,
            parent_based: true
        }
    );
    assert_eq!(
        spans.batches,
        Batches {
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            queue: 2048,
            size: 512
        }
    );
}

#[test]
fn a_setting_of_traces_goes_before_that_of_every_signal() {
    let spans = spans(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1]:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=s%2Ccret,x-tenant=bank"),
    ]);
    let collector = spans.collector;
    assert_eq!(collector.endpoint, "http://[::1]:4318/");
    assert_eq!(collector.timeout, Duration::from_millis(2500));
    assert!(collector.gzip);
    assert_eq!(collector.headers["api-key"], "s,cret");
    assert_eq!(collector.headers["x-tenant"], "bank");
    let printed = format!("{collector:?}");
    assert!(
        !printed.contains("cret") && !printed.contains("bank"),
        "{printed}"
    );
}

#[test]
fn samplers_have_the_names_of_the_specification() {
    let tenth = Root::Ratio(Ratio::new(0.1).expect("a share"));
    for (name, argument, root, parent_based) in [
        ("always_on", "", Root::Always, false),
        ("always_off", "", Root::Never, false),
        ("traceidratio", "0.1", tenth, false),
        ("parentbased_always_on", "", Root::Always, true),
        ("parentbased_always_off", "", Root::Never, true),
        ("parentbased_traceidratio", "0.1", tenth, true),
    ] {
        let given = spans(&[
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ]);
        assert_eq!(given.sampler, Sampler { root, parent_based }, "{name}");
    }
}

#[test]
fn batches_are_as_described() {
    let batches = spans(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "2000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
    ])
    .batches;
    assert_eq!(
        (batches.queue, batches.size),
        (100, 100),
        "a batch fits the queue"
    );
    assert_eq!(batches.delay, Duration::from_millis(100));
    assert_eq!(batches.timeout, Duration::from_secs(2));
}

#[test]
fn the_tunnel_says_who_it_is_and_an_operator_may_say_more() {
    let resource = |variables: &[(&str, &str)]| -> Vec<String> {
        let resource = spans(variables).resource.into_iter();
        resource.map(|(name, value)| format!("{name}={value}")).collect()
    };
    let version = concat!("service.version=", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        resource(&[]),
        ["service.name=adit-tunnel", version, "k8s.cluster.name=Kubernetes"]
    );
    let known = resource(&[
        ("NODE_NAME", "node-1"),
        ("CLUSTER_ID", "east"),
        ("POD_NAME", "adit-x7"),
        ("POD_NAMESPACE", "adit-system"),
        ("SERVICE_ACCOUNT", "tunnel"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=prod,service.name=mesh,k8s.cluster.name=e%20ast",
        ),
    ]);
    let expected = [
        "service.name=mesh",
        version,
        "k8s.cluster.name=e ast",
        "k8s.node.name=node-1",
        "k8s.pod.name=adit-x7",
        "k8s.namespace.name=adit-system",
        "deployment.environment.name=prod",
    ];
    assert_eq!(known, expected);
    let named = resource(&[
        ("OTEL_SERVICE_NAME", "tunnel"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=mesh"),
    ]);
    assert_eq!(named[0], "service.name=tunnel");
}

#[test]
fn wrong_values_are_errors_with_or_without_an_endpoint() {
    for (variable, value, allowed) in [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4317",
            "http:// or https://",
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector", "a port"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://a:4318/v1/traces",
            "nothing behind it",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://me@a:4317",
            "http:// or https://",
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "from 1 to 86400000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a", "pair 1 has no ="),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a b=c",
            "\"a b\" is no name of a header",
        ),
        ("OTEL_EXPORTER_OTLP_HEADERS", "grpc-timeout=1S", "reserved"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5", "takes no argument"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "pair 2 has no ="),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "from 1 to 86400000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "5s", "from 1 to 86400000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "65537", "from 1 to 65536"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2049", "from 1 to 2048"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
        ("OTEL_SDK_DISABLED", "yes", "true or false"),
    ] {
        let text = problem(variable, value);
        assert!(text.starts_with(variable) && text.contains(allowed), "{text}");
    }
    let text = wrong(&[
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
    ]);
    assert!(text.contains("a number from 0 to 1"), "{text}");
}

#[test]
fn a_header_that_is_wrong_is_not_printed() {
    let text = problem("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret%0A");
    assert!(
        text.contains("authorization") && !text.contains("s3cret"),
        "{text}"
    );
}

#[test]
fn https_needs_an_authority_and_http_takes_none() {
    let tls = with(&[
        SECURE,
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/own.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/own.key"),
    ])
    .expect("valid")
    .spans
    .and_then(|spans| spans.collector.tls);
    let expected = Tls {
        roots: "/ca.pem".into(),
        client: Some(("/own.pem".into(), "/own.key".into())),
    };
    assert_eq!(tls, Some(expected));
    let missing = wrong(&[SECURE]);
    assert!(missing.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{missing}");
    let alone = wrong(&[
        SECURE,
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/own.key"),
    ]);
    assert!(
        alone.starts_with("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        "{alone}"
    );
    let needless = wrong(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem")]);
    assert!(
        needless.contains("an https:// endpoint, because OTEL_EXPORTER_OTLP_CERTIFICATE is given"),
        "{needless}"
    );
}

#[test]
fn what_opentelemetry_knows_and_we_do_not_is_reported() {
    for variable in [
        "OTEL_EXPORTER_OTLP_INSECURE",
        "OTEL_METRICS_EXPORTER",
        "OTEL_EXPORTER_OTLP_ENDPIONT",
    ] {
        let reported = one(variable, "true")
            .unwrap_or_else(|error: ConfigError| panic!("{error}"))
            .unsupported;
        assert_eq!(reported.len(), 1, "{reported:?}");
        assert_eq!(reported[0].setting, variable);
    }
    let service = [
        ("OTEL_COLLECTOR_SERVICE_HOST", "10.0.0.1"),
        ("OTEL_COLLECTOR_PORT", "tcp://10.0.0.1:4317"),
        ("OTEL_COLLECTOR_PORT_4317_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(with(&service), with(&[]));
}
