//! Settings of ztunnel's and of OpenTelemetry's that have no effect here, and what to make of one that was given.
//!
//! One that changes how safe the mesh is stops the start: its operator believes something that would not be true.
//! Any other is reported.

use std::collections::BTreeMap;
use std::fmt;

use clap::{Args as _, Command};

use super::environment::Environment;
use super::error::ConfigError;
use super::proxy_config::{METADATA_PREFIX, ProxyConfig};
use super::read;
use crate::cli::Args;

/// What our own variables begin with.
const OWN_PREFIX: &str = "ADIT_";

/// What OpenTelemetry's variables begin with. Many concern signals that we do not send, so an unknown one is reported.
const OTEL_PREFIX: &str = "OTEL_";

/// A value may be a whole document; so many characters are enough to know it by.
const MOST_SHOWN: usize = 40;

/// A setting that was given and has no effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsupported {
    /// The variable.
    pub setting: String,
    /// What it would do.
    pub effect: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no effect: {}", self.setting, self.effect)
    }
}

/// When a setting asks for something that we do not do.
#[derive(Clone, Copy)]
enum Matters {
    /// Whatever it is.
    Set,
    /// Unless it is this, which is what we do.
    Unless(&'static str),
}

impl Matters {
    fn at(self, value: &str) -> bool {
        match self {
            Self::Set => true,
            Self::Unless(ours) => value != ours,
        }
    }
}

/// What becomes of a setting that matters.
#[derive(Clone, Copy)]
enum Then {
    Report,
    Refuse,
}

/// Variable, when it matters, what then, and why.
const TABLE: [(&str, Matters, Then, &str); 17] = {
    use Matters::{Set, Unless};
    use Then::{Refuse, Report};
    [
        // What would change how safe the mesh is.
        (
            "TLS12_ENABLED",
            Unless("false"),
            Refuse,
            "the mesh speaks TLS 1.3 only; remove it",
        ),
        (
            "FAKE_CA",
            Unless("false"),
            Refuse,
            "certificates are never made up; give ADIT_LOCAL_CA",
        ),
        (
            "LOCAL_XDS",
            Set,
            Refuse,
            "its policies would not be obeyed; write it to a file and give that as LOCAL_XDS_PATH",
        ),
        (
            "PROXY_MODE",
            Unless("shared"),
            Refuse,
            "this is a tunnel of a whole node, it would not protect a single workload; remove it",
        ),
        (
            "ENABLE_PROXY",
            Unless("true"),
            Refuse,
            "without the proxy nothing is protected; remove it",
        ),
        // A control plane.
        (
            "XDS_ON_DEMAND",
            Unless("false"),
            Report,
            "the whole mesh is always known",
        ),
        // DNS and SOCKS.
        ("ISTIO_META_DNS_CAPTURE", Unless("false"), Report, NO_DNS),
        ("ISTIO_META_DNS_PROXY_ADDR", Set, Report, NO_DNS),
        ("PREFERED_SERVICE_NAMESPACE", Set, Report, NO_DNS),
        ("CLUSTER_DOMAIN", Unless("cluster.local"), Report, NO_DNS),
        (
            "UNSTABLE_ENABLE_SOCKS5",
            Unless("false"),
            Report,
            "there is no SOCKS proxy",
        ),
        // The rest.
        (
            "PROXY_WORKLOAD_INFO",
            Set,
            Report,
            "the node agent names the workloads",
        ),
        (
            "INPOD_ENABLED",
            Unless("true"),
            Report,
            "connections are always taken inside the pods",
        ),
        (
            "INPOD_PORT_REUSE",
            Unless("true"),
            Report,
            "ports are always shared, or an upgrade would lose connections",
        ),
        (
            "AUTHZ_POLICY_INFO_LOGGING",
            Unless("false"),
            Report,
            "the access log names the policy that decided in any case",
        ),
        (
            "OTEL_EXPORTER_OTLP_INSECURE",
            Set,
            Report,
            "http:// or https:// of the endpoint says whether TLS is used",
        ),
        (
            "ISTIO_METAJSON_*",
            Set,
            Report,
            "a control plane is told no metadata but text",
        ),
    ]
};

const NO_DNS: &str = "there is no DNS proxy yet";

/// The settings that were given and have no effect.
///
/// # Errors
/// The first one that must not be ignored.
pub(super) fn find(environment: &Environment, proxy: &ProxyConfig) -> Result<Vec<Unsupported>, ConfigError> {
    let given = given(environment, proxy);
    let mut found = Vec::new();
    for (pattern, matters, then, effect) in TABLE {
        for (setting, value) in given.iter().filter(|(name, _)| is_named(pattern, name)) {
            if !matters.at(value) {
                continue;
            }
            let setting = setting.clone();
            match then {
                Then::Report => found.push(Unsupported { setting, effect }),
                Then::Refuse => {
                    let value = value.chars().take(MOST_SHOWN).collect();
                    return Err(ConfigError::Refused {
                        setting,
                        value,
                        reason: effect,
                    });
                }
            }
        }
    }
    let other = |name: &&String| {
        name.starts_with(OTEL_PREFIX) && !TABLE.iter().any(|row| is_named(row.0, name)) && !is_setting(name)
    };
    found.extend(
        given
            .iter()
            .filter(|(name, value)| other(name) && !describes_service(name, value))
            .map(|(name, _)| Unsupported {
                setting: name.clone(),
                effect: "of OpenTelemetry's settings only those in `--help` have one",
            }),
    );
    Ok(found)
}

/// Every variable with its value, metadata included wherever it comes from.
fn given<'a>(environment: &'a Environment, proxy: &'a ProxyConfig) -> BTreeMap<String, &'a str> {
    let variables = environment
        .variables()
        .filter_map(|(name, value)| Some((name.to_owned(), read::given(Some(value))?)));
    let metadata = proxy
        .metadata
        .iter()
        .map(|(name, value)| (format!("{METADATA_PREFIX}{name}"), value.as_str()));
    variables.chain(metadata).collect()
}

/// What `--help` says about them.
pub(crate) fn help() -> String {
    let names = |refused: bool| {
        let names = TABLE
            .iter()
            .filter(|row| matches!(row.2, Then::Refuse) == refused);
        names.map(|row| row.0).collect::<Vec<_>>().join(", ")
    };
    format!(
        "Settings are also read from the variables ISTIO_META_* (metadata; CLUSTER_ID and ISTIO_VERSION have a \
         meaning), XDS_HEADER_* and CA_HEADER_* (headers of requests to the control plane), and from \
         ./etc/istio/config/mesh (defaultConfig). A variable ADIT_* that is not listed above stops \
         the start, and one OTEL_* is reported.\n\n\
         Known settings that have no effect and are reported: {}.\n\n\
         Settings of ztunnel that stop the start, because ignoring them would be unsafe: {}.",
        names(false),
        names(true),
    )
}

fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// Refuses variables with our prefix that are no settings. Those are left alone that Kubernetes gives to every pod
/// for each service of its namespace, and with names such as `adit-control` they have our prefix.
pub(super) fn check_names(environment: &Environment) -> Result<(), ConfigError> {
    let unknown = environment.variables().find(|(name, value)| {
        name.starts_with(OWN_PREFIX) && !is_setting(name) && !describes_service(name, value)
    });
    match unknown {
        Some((name, _)) => Err(ConfigError::Unknown {
            variable: name.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Whether a flag has this variable.
fn is_setting(name: &str) -> bool {
    Args::augment_args(Command::new("tunnel"))
        .get_arguments()
        .filter_map(|argument| argument.get_env())
        .any(|variable| variable == name)
}

/// Whether the variable is one of those that tell a pod about a service (Kubernetes, "Discovering services").
fn describes_service(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let of_port = name.split_once("_PORT_").is_some_and(|(_, port)| {
        let mut parts = port.split('_');
        parts.next().is_some_and(|number| number.parse::<u16>().is_ok())
            && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || of_port
}
