//! Spans: where they go, which connections have one, and what is said about this tunnel beside them. Names, values and
//! defaults are those of the OpenTelemetry specification, but a wrong value is an error here as everywhere, and
//! without an endpoint there are no spans instead of a guess.

mod collector;
mod pairs;

use std::time::Duration;

use adit_telemetry::spans::{Batches, Ratio, Root, Sampler, Settings};

use super::error::ConfigError;
use super::node::Node;
use super::read;
use crate::cli::SpanArgs;

/// What the tunnel is called in traces: its own spans, not those of the applications.
const DEFAULT_SERVICE: &str = "adit-tunnel";
/// The specification's: few requests, and a trace is complete seconds after its end.
const DEFAULT_DELAY: Duration = Duration::from_secs(5);
/// The specification's: what fails for longer has filled the queue meanwhile.
const DEFAULT_EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// The specification's: about 2 MB when full.
const DEFAULT_QUEUE: u32 = 2048;
/// A queue of so many spans takes some 60 MB, beyond what is sensible in a node's process.
const LARGEST_QUEUE: u32 = 65_536;
/// The specification's: about 1 MB, and collectors accept 4 MiB.
const DEFAULT_BATCH: u32 = 512;
/// A day: more is a mistake in the unit.
const LONGEST_MILLISECONDS: u32 = 86_400_000;

/// Checks everything that was given, also where it has no effect because there is no endpoint.
pub(super) fn settings(args: &SpanArgs, node: &Node) -> Result<Option<Settings>, ConfigError> {
    let collector = collector::collector(args)?;
    let sampler = sampler(args)?;
    let batches = batches(args)?;
    let resource = resource(args, node)?;
    let disabled = read::boolean("OTEL_SDK_DISABLED", &args.otel_sdk_disabled)?.unwrap_or(false);
    let exported = match read::given(args.otel_traces_exporter.as_deref()) {
        None | Some("otlp") => !disabled,
        Some("none") => false,
        Some(value) => {
            return Err(ConfigError::invalid(
                "OTEL_TRACES_EXPORTER",
                value,
                "otlp or none",
            ));
        }
    };
    Ok(collector.filter(|_| exported).map(|collector| Settings {
        collector,
        sampler,
        batches,
        resource,
    }))
}

fn sampler(args: &SpanArgs) -> Result<Sampler, ConfigError> {
    const NAMES: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or \
        parentbased_traceidratio";
    let name = read::given(args.otel_traces_sampler.as_deref()).unwrap_or("parentbased_always_on");
    let (root, parent_based) = match name.strip_prefix("parentbased_") {
        Some(root) => (root, true),
        None => (name, false),
    };
    let root = match root {
        "always_on" => Root::Always,
        "always_off" => Root::Never,
        "traceidratio" => Root::Ratio(ratio(&args.otel_traces_sampler_arg)?),
        _ => return Err(ConfigError::invalid("OTEL_TRACES_SAMPLER", name, NAMES)),
    };
    if let (Root::Always | Root::Never, Some(argument)) =
        (root, read::given(args.otel_traces_sampler_arg.as_deref()))
    {
        let allowed =
            format!("nothing, because the sampler {name} takes no argument, or choose one that does");
        return Err(ConfigError::invalid("OTEL_TRACES_SAMPLER_ARG", argument, allowed));
    }
    Ok(Sampler { root, parent_based })
}

fn ratio(argument: &Option<String>) -> Result<Ratio, ConfigError> {
    let text = read::given(argument.as_deref()).unwrap_or("1");
    let share = text.parse().ok().and_then(Ratio::new);
    share.ok_or_else(|| {
        ConfigError::invalid(
            "OTEL_TRACES_SAMPLER_ARG",
            text,
            "a number from 0 to 1, such as 0.01",
        )
    })
}

fn batches(args: &SpanArgs) -> Result<Batches, ConfigError> {
    let queue = read::number(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        &args.otel_bsp_max_queue_size,
        1,
        LARGEST_QUEUE,
    )?
    .unwrap_or(DEFAULT_QUEUE);
    let size = read::number(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        &args.otel_bsp_max_export_batch_size,
        1,
        queue,
    )?
    .unwrap_or(DEFAULT_BATCH.min(queue));
    Ok(Batches {
        delay: milliseconds("OTEL_BSP_SCHEDULE_DELAY", &args.otel_bsp_schedule_delay)?
            .unwrap_or(DEFAULT_DELAY),
        timeout: milliseconds("OTEL_BSP_EXPORT_TIMEOUT", &args.otel_bsp_export_timeout)?
            .unwrap_or(DEFAULT_EXPORT_TIMEOUT),
        queue: queue as usize,
        size: size as usize,
    })
}

fn milliseconds(variable: &'static str, value: &Option<String>) -> Result<Option<Duration>, ConfigError> {
    let number = read::number(variable, value, 1, LONGEST_MILLISECONDS)?;
    Ok(number.map(|number| Duration::from_millis(u64::from(number))))
}

/// Who the tunnel is; what was given goes before what we know, and the name of the service before all.
fn resource(args: &SpanArgs, node: &Node) -> Result<Vec<(String, String)>, ConfigError> {
    let mut resource = vec![
        ("service.name".to_owned(), DEFAULT_SERVICE.to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("k8s.cluster.name".to_owned(), node.cluster.to_string()),
    ];
    let mut set = |name: &str, value: String| match resource.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => resource.push((name.to_owned(), value)),
    };
    if let Some(name) = &node.name {
        set("k8s.node.name", name.to_string());
    }
    if let Some(pod) = &node.pod {
        set("k8s.pod.name", pod.name.to_string());
        set("k8s.namespace.name", pod.identity.namespace().to_string());
    }
    let given = read::given(args.otel_resource_attributes.as_deref()).unwrap_or_default();
    let pairs = pairs::read(given).map_err(|problem| {
        let allowed = format!("name=value pairs separated by commas, percent-encoded ({problem})");
        ConfigError::invalid("OTEL_RESOURCE_ATTRIBUTES", given, allowed)
    })?;
    for (name, value) in pairs {
        set(&name, value);
    }
    if let Some(name) = read::given(args.otel_service_name.as_deref()) {
        set("service.name", name.to_owned());
    }
    Ok(resource)
}
