//! Settings of spans, under the names that the OpenTelemetry specification gives them ("Environment Variable
//! Specification", "OpenTelemetry Protocol Exporter"). What is about traces alone goes before what is about every
//! signal.

/// Spans of connections.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(next_help_heading = "Spans (OpenTelemetry)")]
pub struct SpanArgs {
    /// Collector that takes spans by OTLP over gRPC: http:// or https://, host and port
    /// [default: none, there are no spans]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// The same, for traces alone [default: that of every signal]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_traces_endpoint: Option<String>,
    /// Protocol of the collector; only `grpc` is spoken [default: grpc]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_PROTOCOL",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_protocol: Option<String>,
    /// The same, for traces alone [default: that of every signal]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_traces_protocol: Option<String>,
    /// Headers of every request, as name=value separated by commas, percent-encoded [default: none]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        value_name = "PAIRS",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_headers: Option<String>,
    /// The same, for traces alone [default: that of every signal]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        value_name = "PAIRS",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_traces_headers: Option<String>,
    /// Deadline of one attempt to hand over spans, the connection included, in milliseconds
    /// [default: 10000, as the specification has it]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TIMEOUT",
        value_name = "MS",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_timeout: Option<String>,
    /// The same, for traces alone [default: that of every signal]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        value_name = "MS",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_traces_timeout: Option<String>,
    /// `gzip` or `none` [default: none, because collectors are usually near]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_COMPRESSION",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_compression: Option<String>,
    /// The same, for traces alone [default: that of every signal]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_traces_compression: Option<String>,
    /// Authorities that may have signed the certificate of an https:// collector (PEM); read again for each
    /// connection. Required with https:// [default: none]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_CERTIFICATE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_certificate: Option<String>,
    /// The same, for traces alone [default: that of every signal]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_traces_certificate: Option<String>,
    /// Key of our own certificate towards the collector (PEM) [default: none]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_client_key: Option<String>,
    /// The same, for traces alone [default: that of every signal]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_traces_client_key: Option<String>,
    /// Our own certificate chain towards the collector (PEM); together with the key or not at all [default: none]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_client_certificate: Option<String>,
    /// The same, for traces alone [default: that of every signal]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_traces_client_certificate: Option<String>,
    /// Which connections have a span: always_on, always_off, traceidratio, or one of them after `parentbased_`, which
    /// follows the decision of the other end where there is one [default: parentbased_always_on, as the specification
    /// has it; where many connections are made, parentbased_traceidratio costs less]
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub otel_traces_sampler: Option<String>,
    /// Share of the traces that a ratio takes, from 0 to 1 [default: 1]
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER_ARG",
        value_name = "SHARE",
        hide_env_values = true
    )]
    pub otel_traces_sampler_arg: Option<String>,
    /// Name of the tunnel as a service in traces [default: service.name of OTEL_RESOURCE_ATTRIBUTES, else adit-tunnel]
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME", hide_env_values = true)]
    pub otel_service_name: Option<String>,
    /// What is said about the tunnel beside node, cluster and pod, as name=value separated by commas, percent-encoded;
    /// goes before what we would say [default: none]
    #[arg(
        long,
        env = "OTEL_RESOURCE_ATTRIBUTES",
        value_name = "PAIRS",
        hide_env_values = true
    )]
    pub otel_resource_attributes: Option<String>,
    /// How long a span waits for others, in milliseconds [default: 5000, as the specification has it]
    #[arg(
        long,
        env = "OTEL_BSP_SCHEDULE_DELAY",
        value_name = "MS",
        hide_env_values = true
    )]
    pub otel_bsp_schedule_delay: Option<String>,
    /// How long a batch is tried before it is dropped, in milliseconds [default: 30000, as the specification has it]
    #[arg(
        long,
        env = "OTEL_BSP_EXPORT_TIMEOUT",
        value_name = "MS",
        hide_env_values = true
    )]
    pub otel_bsp_export_timeout: Option<String>,
    /// Spans that may wait, 1 to 65536; more are dropped and counted [default: 2048, about 2 MB at most]
    #[arg(
        long,
        env = "OTEL_BSP_MAX_QUEUE_SIZE",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub otel_bsp_max_queue_size: Option<String>,
    /// Spans in one request, at most as many as may wait
    /// [default: 512, well below the 4 MiB that collectors accept]
    #[arg(
        long,
        env = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub otel_bsp_max_export_batch_size: Option<String>,
    /// `otlp`, or `none` for no spans [default: otlp]
    #[arg(
        long,
        env = "OTEL_TRACES_EXPORTER",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub otel_traces_exporter: Option<String>,
    /// Whether there are no spans in spite of an endpoint [default: false]
    #[arg(long, env = "OTEL_SDK_DISABLED", value_name = "BOOL", hide_env_values = true)]
    pub otel_sdk_disabled: Option<String>,
}
