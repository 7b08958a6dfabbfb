//! Where spans go. Each setting exists for every signal and for traces alone; the latter goes before.

use std::time::Duration;

use adit_telemetry::spans::{Collector, Tls};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::super::error::ConfigError;
use super::super::read;
use super::{milliseconds, pairs};
use crate::cli::SpanArgs;

/// The specification's: a collector that is slower than that is away.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// What stands in an error in place of values that may be secret.
const HIDDEN: &str = "(not shown)";

/// A variable, and what was given for it.
type Given<'a> = (&'static str, &'a Option<String>);

/// That of traces, if it is given, else that of every signal.
fn chosen<'a>(traces: Given<'a>, every: Given<'a>) -> Given<'a> {
    match read::given(traces.1.as_deref()) {
        Some(_) => traces,
        None => every,
    }
}

pub(super) fn collector(args: &SpanArgs) -> Result<Option<Collector>, ConfigError> {
    let (variable, value) = chosen(
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            &args.otel_exporter_otlp_traces_endpoint,
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &args.otel_exporter_otlp_endpoint),
    );
    protocol(args)?;
    let (headers, timeout, gzip) = (headers(args)?, timeout(args)?, gzip(args)?);
    let Some(text) = read::given(value.as_deref()) else {
        return Ok(None);
    };
    let endpoint = endpoint(variable, text)?;
    let tls = tls(args, &endpoint, variable)?;
    Ok(Some(Collector {
        endpoint,
        headers,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        gzip,
        tls,
    }))
}

fn endpoint(variable: &'static str, text: &str) -> Result<Uri, ConfigError> {
    const ALLOWED: &str = "http:// or https:// with a host and a port and nothing behind it, such as \
        http://collector.observability:4317";
    let invalid = || ConfigError::invalid(variable, text, ALLOWED);
    let uri: Uri = text.parse().map_err(|_| invalid())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let place = uri
        .authority()
        .is_some_and(|place| place.port_u16().is_some_and(|port| port != 0) && !place.as_str().contains('@'));
    if known && bare && place {
        Ok(uri)
    } else {
        Err(invalid())
    }
}

fn protocol(args: &SpanArgs) -> Result<(), ConfigError> {
    let (variable, value) = chosen(
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            &args.otel_exporter_otlp_traces_protocol,
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", &args.otel_exporter_otlp_protocol),
    );
    match read::given(value.as_deref()) {
        None | Some("grpc") => Ok(()),
        Some(value) => Err(ConfigError::invalid(
            variable,
            value,
            "grpc, the only protocol that is spoken, and the collector's port for it (usually 4317)",
        )),
    }
}

fn headers(args: &SpanArgs) -> Result<HeaderMap, ConfigError> {
    let (variable, value) = chosen(
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            &args.otel_exporter_otlp_traces_headers,
        ),
        ("OTEL_EXPORTER_OTLP_HEADERS", &args.otel_exporter_otlp_headers),
    );
    let invalid = |problem: String| {
        let allowed = format!("name=value pairs separated by commas, percent-encoded ({problem})");
        ConfigError::invalid(variable, HIDDEN, allowed)
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs::read(read::given(value.as_deref()).unwrap_or_default()).map_err(invalid)? {
        let header: HeaderName = name
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| invalid(format!("{name:?} is no name of a header")))?;
        // gRPC's own headers, and those of the connection, are not to be set from outside.
        let reserved = header.as_str().starts_with("grpc-") || header.as_str().ends_with("-bin");
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| invalid(format!("the value of {name:?} cannot stand in a header")))?;
        if reserved {
            return Err(invalid(format!("{name:?} is reserved to gRPC")));
        }
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn timeout(args: &SpanArgs) -> Result<Option<Duration>, ConfigError> {
    let (variable, value) = chosen(
        (
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            &args.otel_exporter_otlp_traces_timeout,
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", &args.otel_exporter_otlp_timeout),
    );
    milliseconds(variable, value)
}

fn gzip(args: &SpanArgs) -> Result<bool, ConfigError> {
    let (variable, value) = chosen(
        (
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            &args.otel_exporter_otlp_traces_compression,
        ),
        (
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            &args.otel_exporter_otlp_compression,
        ),
    );
    match read::given(value.as_deref()) {
        None | Some("none") => Ok(false),
        Some("gzip") => Ok(true),
        Some(value) => Err(ConfigError::invalid(variable, value, "gzip or none")),
    }
}

/// TLS if the endpoint says so. Files for it beside a plaintext endpoint are a contradiction that somebody believes to
/// be resolved in favour of TLS.
fn tls(args: &SpanArgs, endpoint: &Uri, variable: &'static str) -> Result<Option<Tls>, ConfigError> {
    let roots = chosen(
        (
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            &args.otel_exporter_otlp_traces_certificate,
        ),
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            &args.otel_exporter_otlp_certificate,
        ),
    );
    let chain = chosen(
        (
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            &args.otel_exporter_otlp_traces_client_certificate,
        ),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            &args.otel_exporter_otlp_client_certificate,
        ),
    );
    let key = chosen(
        (
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
            &args.otel_exporter_otlp_traces_client_key,
        ),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            &args.otel_exporter_otlp_client_key,
        ),
    );
    if endpoint.scheme() != Some(&Scheme::HTTPS) {
        let needless = [roots, chain, key]
            .into_iter()
            .find(|given| read::path(given.1).is_some());
        return match needless {
            None => Ok(None),
            Some((file, _)) => {
                let allowed = format!("an https:// endpoint, because {file} is given, or remove that");
                Err(ConfigError::invalid(variable, &endpoint.to_string(), allowed))
            }
        };
    }
    let missing = |variable, needed| ConfigError::Missing { variable, needed };
    let client = match (read::path(chain.1), read::path(key.1)) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        (Some(_), None) => return Err(missing(key.0, "the key of the client certificate that is given")),
        (None, Some(_)) => {
            return Err(missing(
                chain.0,
                "the client certificate of the key that is given",
            ));
        }
    };
    let roots = read::path(roots.1).ok_or_else(|| {
        missing(
            roots.0,
            "a file with the authority that signed the collector's certificate (PEM), because the endpoint is \
             https://; for a public one /etc/ssl/certs/ca-certificates.crt",
        )
    })?;
    Ok(Some(Tls { roots, client }))
}
