//! The command line of the tunnel. Every setting is a flag and an environment variable, and `--help` is the reference:
//! it states the default, the unit and the reason.
//!
//! A setting that ztunnel has is read from ztunnel's variable, so that an existing DaemonSet works by changing the
//! image; one that OpenTelemetry specifies has its name there (`OTEL_`); one of ours has the prefix `ADIT_`. The flag is always the variable in lower case with hyphens, without the
//! prefixes `ADIT_` and `ZTUNNEL_`. Values are text here and become types in [`Config::new`](crate::config::Config::new),
//! where an error can name the variable as well as the flag, and an empty value counts as not set, as in Kubernetes.

mod spans;

pub use spans::SpanArgs;

/// Every setting of the tunnel as it was given. A flag wins over its variable.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(after_long_help = crate::config::unsupported::help())]
pub struct Args {
    /// Where the tunnel runs.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Where configuration and certificates come from.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// Sockets.
    #[command(flatten)]
    pub sockets: SocketArgs,
    /// HBONE connections.
    #[command(flatten)]
    pub hbone: HboneArgs,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How connections are treated.
    #[command(flatten)]
    pub traffic: TrafficArgs,
    /// The process itself.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Spans of connections.
    #[command(flatten)]
    pub spans: SpanArgs,
    /// What a DaemonSet written for ztunnel has as arguments (`proxy ztunnel`). It says nothing that we would not do
    /// anyway.
    #[arg(hide = true, num_args = 0..=2, value_parser = ["proxy", "ztunnel"])]
    pub ztunnel_arguments: Vec<String>,
}

/// Where the tunnel runs.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(next_help_heading = "Node")]
pub struct NodeArgs {
    /// Name of this node. Its pods are what this tunnel prepares certificates for and prefers as "local"
    /// [default: none, no node is local]
    #[arg(long, env = "NODE_NAME", value_name = "NAME", hide_env_values = true)]
    pub node_name: Option<String>,
    /// Network of this node, as in the label `topology.istio.io/network` [default: the unnamed network]
    #[arg(long, env = "NETWORK", value_name = "NAME", hide_env_values = true)]
    pub network: Option<String>,
    /// Cluster of this node [env: ISTIO_META_CLUSTER_ID, else CLUSTER_ID] [default: Kubernetes]
    #[arg(long, value_name = "NAME")]
    pub cluster_id: Option<String>,
    /// Trust domain of the tunnel's own identity; workloads bring theirs [default: cluster.local]
    #[arg(long, env = "TRUST_DOMAIN", value_name = "NAME", hide_env_values = true)]
    pub trust_domain: Option<String>,
    /// Trust domains, separated by commas, whose workloads may connect beside those of the same trust domain; for a
    /// mesh that changes its name or trusts another [default: none]
    #[arg(
        long,
        env = "ADIT_TRUST_DOMAIN_ALIASES",
        value_name = "NAMES",
        hide_env_values = true
    )]
    pub trust_domain_aliases: Option<String>,
    /// The tunnel's own pod, given together with POD_NAMESPACE and SERVICE_ACCOUNT or not at all [default: none]
    #[arg(long, env = "POD_NAME", value_name = "NAME", hide_env_values = true)]
    pub pod_name: Option<String>,
    /// Namespace of the tunnel's own pod [default: none]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", hide_env_values = true)]
    pub pod_namespace: Option<String>,
    /// Service account of the tunnel's own pod [default: none]
    #[arg(long, env = "SERVICE_ACCOUNT", value_name = "NAME", hide_env_values = true)]
    pub service_account: Option<String>,
    /// Address of the tunnel's own pod [default: none]
    #[arg(long, env = "INSTANCE_IP", value_name = "ADDRESS", hide_env_values = true)]
    pub instance_ip: Option<String>,
}

/// Where configuration and certificates come from.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(next_help_heading = "Configuration and certificates")]
pub struct SourceArgs {
    /// Control plane that sends the mesh (delta xDS over TLS) [default: discoveryAddress of the ProxyConfig; in
    /// Kubernetes else https://istiod.istio-system.svc:15012, where Istio's is]
    #[arg(long, env = "XDS_ADDRESS", value_name = "URL", hide_env_values = true)]
    pub xds_address: Option<String>,
    /// Control plane that signs certificates (Istio's CA over TLS) [default: in Kubernetes
    /// https://istiod.istio-system.svc:15012, where Istio's is]
    #[arg(long, env = "CA_ADDRESS", value_name = "URL", hide_env_values = true)]
    pub ca_address: Option<String>,
    /// Roots of the certificate of XDS_ADDRESS: a file (PEM), read for every connection; the PEM text itself; or SYSTEM
    /// for those of the operating system [default: ./var/run/secrets/istio/root-cert.pem]
    #[arg(long, env = "XDS_ROOT_CA", value_name = "FILE", hide_env_values = true)]
    pub xds_root_ca: Option<String>,
    /// Roots of the certificate of CA_ADDRESS, given as those of XDS_ADDRESS
    /// [default: ./var/run/secrets/istio/root-cert.pem]
    #[arg(long, env = "CA_ROOT_CA", value_name = "FILE", hide_env_values = true)]
    pub ca_root_ca: Option<String>,
    /// A second name that the certificate of XDS_ADDRESS may have [default: none]
    #[arg(long, env = "ALT_XDS_HOSTNAME", value_name = "NAME", hide_env_values = true)]
    pub alt_xds_hostname: Option<String>,
    /// A second name that the certificate of CA_ADDRESS may have [default: none]
    #[arg(long, env = "ALT_CA_HOSTNAME", value_name = "NAME", hide_env_values = true)]
    pub alt_ca_hostname: Option<String>,
    /// Token of the tunnel's service account: a file, read for every request, or the token itself
    /// [default: ./var/run/secrets/tokens/istio-token, where there is one]
    #[arg(long, env = "AUTH_TOKEN", value_name = "FILE", hide_env_values = true)]
    pub auth_token: Option<String>,
    /// YAML file with workloads, services and policies, in ztunnel's format, in place of a control plane; read again
    /// after each change [default: none]
    #[arg(long, env = "LOCAL_XDS_PATH", value_name = "FILE", hide_env_values = true)]
    pub local_xds_path: Option<String>,
    /// Directory with a CA (root and key) in place of a control plane's, created on first use and shared by the tunnels
    /// of a mesh on one machine [default: none]
    #[arg(long, env = "ADIT_LOCAL_CA", value_name = "DIR", hide_env_values = true)]
    pub local_ca: Option<String>,
    /// Directory in memory (below /run) in which the tunnel keeps the mesh and its certificates for a successor, which then
    /// serves at once while the control plane is away; mode 0700 [default: none, nothing is kept]
    #[arg(long, env = "ADIT_STATE_DIR", value_name = "DIR", hide_env_values = true)]
    pub state_dir: Option<String>,
    /// How old a mesh may be that a predecessor kept [default: 24h, as long as certificates are valid]
    #[arg(
        long,
        env = "ADIT_STATE_MAX_AGE",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub state_max_age: Option<String>,
    /// Whether private keys are kept in the state directory too [default: true]
    #[arg(long, env = "ADIT_STATE_KEYS", value_name = "BOOL", hide_env_values = true)]
    pub state_keys: Option<String>,
    /// How long certificates are valid; they are renewed at half of it [default: 24h]
    #[arg(long, env = "SECRET_TTL", value_name = "DURATION", hide_env_values = true)]
    pub secret_ttl: Option<String>,
    /// Files with trusted roots (PEM), separated by commas, read again after each change; they alone decide then
    /// [default: the roots of the CA]
    #[arg(long, env = "ADIT_TRUST_BUNDLE", value_name = "FILES", hide_env_values = true)]
    pub trust_bundle: Option<String>,
    /// File with revocation lists (PEM or DER), read again after each change; at start it has to be readable
    /// [default: none, nothing is revoked]
    #[arg(long, env = "CRL_PATH", value_name = "FILE", hide_env_values = true)]
    pub crl_path: Option<String>,
    /// `pqc` leaves only the post-quantum key exchange X25519MLKEM768; other policies stop the start
    /// [default: it is offered first, with X25519 and P-256 after it]
    #[arg(
        long,
        env = "COMPLIANCE_POLICY",
        value_name = "POLICY",
        hide_env_values = true
    )]
    pub compliance_policy: Option<String>,
    /// Socket of the node agent that hands over the pods
    /// [default: /var/run/ztunnel/ztunnel.sock, where istio-cni listens]
    #[arg(long, env = "INPOD_UDS", value_name = "PATH", hide_env_values = true)]
    pub inpod_uds: Option<String>,
    /// Settings as a YAML or JSON ProxyConfig (discoveryAddress, proxyAdminPort, statsPort, concurrency, proxyMetadata);
    /// goes before `defaultConfig` of the file ./etc/istio/config/mesh [default: none]
    #[arg(long, env = "PROXY_CONFIG", value_name = "YAML", hide_env_values = true)]
    pub proxy_config: Option<String>,
}

/// Sockets.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(next_help_heading = "Sockets")]
pub struct SocketArgs {
    /// Mark of the tunnel's packets, which the redirect rules of pods let pass; its lowest 12 bits have to be 0x539
    /// [default: 1337, which is 0x539]
    #[arg(long, env = "PACKET_MARK", value_name = "NUMBER", hide_env_values = true)]
    pub packet_mark: Option<String>,
    /// Whether applications see their client's address: true refuses a connection where that is impossible, false
    /// never tries [default: try, else log it and connect from the pod's own address]
    #[arg(long, env = "ENABLE_ORIG_SRC", value_name = "BOOL", hide_env_values = true)]
    pub enable_orig_src: Option<String>,
    /// Whether idle connections are probed, so that a peer that vanished is noticed [default: true]
    #[arg(long, env = "KEEPALIVE_ENABLED", value_name = "BOOL", hide_env_values = true)]
    pub keepalive_enabled: Option<String>,
    /// How long a connection is idle before the first probe, in whole seconds
    /// [default: 180s, below the idle limits of common firewalls]
    #[arg(long, env = "KEEPALIVE_TIME", value_name = "DURATION", hide_env_values = true)]
    pub keepalive_time: Option<String>,
    /// Time between probes, in whole seconds [default: 180s]
    #[arg(
        long,
        env = "KEEPALIVE_INTERVAL",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub keepalive_interval: Option<String>,
    /// How many unanswered probes end a connection, 1 to 127 [default: 9, as Linux has it]
    #[arg(
        long,
        env = "KEEPALIVE_RETRIES",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub keepalive_retries: Option<String>,
    /// Whether data that stays unacknowledged for KEEPALIVE_TIME + KEEPALIVE_RETRIES * KEEPALIVE_INTERVAL ends the
    /// connection [default: false, the kernel's retransmissions decide]
    #[arg(
        long,
        env = "USER_TIMEOUT_ENABLED",
        value_name = "BOOL",
        hide_env_values = true
    )]
    pub user_timeout_enabled: Option<String>,
    /// Congestion control of connections that stay on this node: `auto` (cubic, else reno), `host` (the host's
    /// default), or a name [default: auto, because the pacing of bbr triples the cost of a local hop]
    #[arg(
        long,
        env = "ADIT_LOCAL_CONGESTION",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub local_congestion: Option<String>,
    /// Congestion control towards other nodes: `host` or a name [default: host, which knows its network]
    #[arg(
        long,
        env = "ADIT_REMOTE_CONGESTION",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub remote_congestion: Option<String>,
}

/// HBONE connections.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(next_help_heading = "HBONE")]
pub struct HboneArgs {
    /// Streams on one connection to a peer after which another is opened
    /// [default: 100, half of what a peer accepts]
    #[arg(
        long,
        env = "POOL_MAX_STREAMS_PER_CONNECTION",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub pool_max_streams_per_connection: Option<String>,
    /// Connections to one peer at most; beyond, streams share them. Bandwidth alone opens no more than 8
    /// [default: 256, room for 25600 streams between two pods]
    #[arg(
        long,
        env = "ADIT_POOL_MAX_CONNECTIONS_PER_PEER",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub pool_max_connections_per_peer: Option<String>,
    /// How long a connection without streams is kept for the next one [default: 5m]
    #[arg(
        long,
        env = "POOL_UNUSED_RELEASE_TIMEOUT",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub pool_unused_release_timeout: Option<String>,
    /// Bytes that may be under way on one stream [default: 4194304; 65536 costs 75 % more CPU, more gains nothing]
    #[arg(
        long,
        env = "HTTP2_STREAM_WINDOW_SIZE",
        value_name = "BYTES",
        hide_env_values = true
    )]
    pub http2_stream_window_size: Option<String>,
    /// Bytes that may be under way on all streams of a connection [default: 16777216, four streams' worth]
    #[arg(
        long,
        env = "HTTP2_CONNECTION_WINDOW_SIZE",
        value_name = "BYTES",
        hide_env_values = true
    )]
    pub http2_connection_window_size: Option<String>,
    /// How far the connection's window grows for streams whose applications have stopped reading: the most that one
    /// connection can make the tunnel buffer, in bytes [default: four times the connection's window]
    #[arg(
        long,
        env = "ADIT_HTTP2_WINDOW_LIMIT",
        value_name = "BYTES",
        hide_env_values = true
    )]
    pub http2_window_limit: Option<String>,
    /// Largest DATA frame that is accepted, in bytes [default: 65536; larger ones only delay the first byte]
    #[arg(long, env = "HTTP2_FRAME_SIZE", value_name = "BYTES", hide_env_values = true)]
    pub http2_frame_size: Option<String>,
    /// How long nothing has arrived before a PING asks whether the peer is there [default: 10s]
    #[arg(
        long,
        env = "ADIT_PING_INTERVAL",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub ping_interval: Option<String>,
    /// How long the answer to a PING, or any other byte, may take [default: 20s]
    #[arg(
        long,
        env = "ADIT_PING_TIMEOUT",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub ping_timeout: Option<String>,
    /// Deadline of a TCP connect [default: 10s, which two lost packets survive]
    #[arg(
        long,
        env = "ADIT_CONNECT_TIMEOUT",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub connect_timeout: Option<String>,
    /// Deadline of a TLS handshake [default: 10s, for a peer that is busy]
    #[arg(
        long,
        env = "ADIT_TLS_TIMEOUT",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub tls_timeout: Option<String>,
    /// Deadline of the HTTP/2 preface [default: 10s]
    #[arg(
        long,
        env = "ADIT_HTTP2_TIMEOUT",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub http2_timeout: Option<String>,
    /// Deadline of the answer to a CONNECT
    /// [default: 15s, longer than a connect, because the peer connects to its application first]
    #[arg(
        long,
        env = "ADIT_CONNECT_ANSWER_TIMEOUT",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub connect_answer_timeout: Option<String>,
}

/// Limits.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Connections that a pod may have at a time, out of it and into it; beyond, new ones are refused. It never gets
    /// more than half of what the limit of open files allows, at one file for each socket
    /// [default: 16384, half of the ports that a pod has]
    #[arg(
        long,
        env = "ADIT_CONNECTIONS_PER_POD",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub connections_per_pod: Option<String>,
    /// HBONE connections that one address may have to a pod, in each worker that serves the pod
    /// [default: 256, a client of ours on 32 cores]
    #[arg(
        long,
        env = "ADIT_TUNNELS_PER_PEER",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub tunnels_per_peer: Option<String>,
    /// TLS handshakes that a pod may have in flight in each direction; others wait their turn, at most for
    /// ADIT_TLS_TIMEOUT [default: 128, about 60 ms of CPU for which neighbours wait]
    #[arg(
        long,
        env = "ADIT_HANDSHAKES_PER_POD",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub handshakes_per_pod: Option<String>,
    /// TLS handshakes that all pods together may have in flight in each direction
    /// [default: 1024, some 30 MB of state]
    #[arg(
        long,
        env = "ADIT_HANDSHAKES_PER_NODE",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub handshakes_per_node: Option<String>,
    /// Bytes that are buffered for a pod because an application or a peer does not take them; beyond, the stream that
    /// holds most is reset, and senders wait
    /// [default: 134217728, two connections at the limit of their windows]
    #[arg(
        long,
        env = "ADIT_BUFFERED_BYTES_PER_POD",
        value_name = "BYTES",
        hide_env_values = true
    )]
    pub buffered_bytes_per_pod: Option<String>,
    /// The same of all pods together; a pod never gets more than what it leaves to others
    /// [default: 536870912, what Istio requests for a node's tunnel]
    #[arg(
        long,
        env = "ADIT_BUFFERED_BYTES_PER_NODE",
        value_name = "BYTES",
        hide_env_values = true
    )]
    pub buffered_bytes_per_node: Option<String>,
}

/// How connections are treated.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(next_help_heading = "Traffic")]
pub struct TrafficArgs {
    /// How long a connection waits for the first complete configuration, for its pod to be known, and for a
    /// certificate, before it is refused [default: 10s: a peer waits 15s for its CONNECT and then learns the reason]
    #[arg(
        long,
        env = "ADIT_READY_TIMEOUT",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub ready_timeout: Option<String>,
    /// Whether IPv6 is used where the kernel and the pod have it [default: true]
    #[arg(long, env = "IPV6_ENABLED", value_name = "BOOL", hide_env_values = true)]
    pub ipv6_enabled: Option<String>,
    /// Whether an application tunnel is reached at the loopback address, not the pod's [default: true]
    #[arg(
        long,
        env = "LOCALHOST_APP_TUNNEL",
        value_name = "BOOL",
        hide_env_values = true
    )]
    pub localhost_app_tunnel: Option<String>,
    /// Whether answers tell peers which workload served them, and theirs are believed in metrics [default: true]
    #[arg(
        long,
        env = "ENABLE_RESPONSE_BAGGAGE",
        value_name = "BOOL",
        hide_env_values = true
    )]
    pub enable_response_baggage: Option<String>,
}

/// The process itself.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
#[command(next_help_heading = "Process")]
pub struct ProcessArgs {
    /// Worker threads: a number, 0 for all, or a percentage such as 50%
    /// [default: concurrency of PROXY_CONFIG, else the CPU limit, else the cores]
    #[arg(
        long,
        env = "ZTUNNEL_WORKER_THREADS",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    pub worker_threads: Option<String>,
    /// CPU limit of the container, as Kubernetes writes it: 2, 1.5, 500m [default: none]
    #[arg(
        long,
        env = "ZTUNNEL_RESOURCE_CPU_LIMIT",
        value_name = "QUANTITY",
        hide_env_values = true
    )]
    pub resource_cpu_limit: Option<String>,
    /// The same as older manifests pass it [default: none]
    #[arg(
        long,
        env = "ZTUNNEL_CPU_LIMIT",
        value_name = "QUANTITY",
        hide_env_values = true
    )]
    pub cpu_limit: Option<String>,
    /// CPU request of the container; counts where it is above the limit [default: none]
    #[arg(
        long,
        env = "ZTUNNEL_RESOURCE_CPU_REQUEST",
        value_name = "QUANTITY",
        hide_env_values = true
    )]
    pub resource_cpu_request: Option<String>,
    /// How long open connections may go on after SIGTERM; 0 cuts them at once
    /// [default: TERMINATION_GRACE_PERIOD_SECONDS less a margin, else 5s]
    #[arg(
        long,
        env = "CONNECTION_TERMINATION_DEADLINE",
        value_name = "DURATION",
        hide_env_values = true
    )]
    pub connection_termination_deadline: Option<String>,
    /// What Kubernetes grants the pod before it kills it, in seconds. Of more than 10 s, 5 s are left to shut down;
    /// of less, 1 s [default: none]
    #[arg(
        long,
        env = "TERMINATION_GRACE_PERIOD_SECONDS",
        value_name = "SECONDS",
        hide_env_values = true
    )]
    pub termination_grace_period_seconds: Option<String>,
    /// Port of the administration server, on the loopback interface
    /// [default: proxyAdminPort of PROXY_CONFIG, else 15000]
    #[arg(long, env = "ADIT_PORT_ADMIN", value_name = "PORT", hide_env_values = true)]
    pub port_admin: Option<String>,
    /// Port of the metrics [default: statsPort of PROXY_CONFIG, else 15020]
    #[arg(long, env = "ADIT_PORT_STATS", value_name = "PORT", hide_env_values = true)]
    pub port_stats: Option<String>,
    /// Port of the readiness probe [default: 15021]
    #[arg(
        long,
        env = "ADIT_PORT_READINESS",
        value_name = "PORT",
        hide_env_values = true
    )]
    pub port_readiness: Option<String>,
    /// What is logged: a level (off, error, warn, info, debug, trace), or `target=level` separated by commas
    /// [default: info]
    #[arg(long, env = "RUST_LOG", value_name = "LEVELS", hide_env_values = true)]
    pub rust_log: Option<String>,
    /// Form of log lines: plain or json [default: plain]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", hide_env_values = true)]
    pub log_format: Option<String>,
}
