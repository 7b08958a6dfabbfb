//! The text of a scrape in the two formats that Prometheus asks for.
//!
//! `prometheus-client` writes OpenMetrics 1.0. The older text format (version 0.0.4) differs where it matters to a
//! parser: there the name in `# TYPE` and `# HELP` is that of the samples, so a counter's ends in `_total`, and there
//! is no unit and no end mark. A scraper that reads one as the other loses the types of all counters.

use prometheus_client::registry::Registry;

/// A text format of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format, version 0.0.4.
    Text,
}

impl Exposition {
    /// The format that the header `Accept` of a scrape asks for: OpenMetrics only if it is named.
    pub fn accepted(accept: Option<&str>) -> Self {
        let names = |range: &str| {
            let media_type = range.split(';').next().unwrap_or_default();
            media_type
                .trim()
                .eq_ignore_ascii_case("application/openmetrics-text")
        };
        if accept.unwrap_or_default().split(',').any(names) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

pub(super) fn encode(registry: &Registry, exposition: Exposition) -> String {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        // Writing into a string does not fail, so a metric's own encoding did: half a scrape would pass for a whole.
        tracing::error!("the metrics could not be encoded");
        return String::new();
    }
    match exposition {
        Exposition::OpenMetrics => text,
        Exposition::Text => plain(&text),
    }
}

/// Turns OpenMetrics into the older text format.
fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + open_metrics.len() / 16);
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, words)) = help.take() {
                push(&mut text, &["# HELP ", name, suffix, " ", words]);
            }
            push(&mut text, &["# TYPE ", name, suffix, " ", kind]);
        } else if !line.starts_with("# ") {
            push(&mut text, &[line]);
        }
    }
    text
}

fn push(text: &mut String, parts: &[&str]) {
    text.extend(parts.iter().copied());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_only_for_those_who_ask_for_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Exposition::accepted(Some(prometheus)), Exposition::OpenMetrics);
        assert_eq!(Exposition::accepted(Some("text/plain, */*")), Exposition::Text);
        assert_eq!(Exposition::accepted(None), Exposition::Text);
    }

    #[test]
    fn the_older_format_names_counters_by_their_samples() {
        let open_metrics = "# HELP a Words.\n# TYPE a counter\n# UNIT a x\na_total{b=\"c\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n# TYPE u unknown\nu 3\n# EOF\n";
        let text = "# HELP a_total Words.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n# TYPE u untyped\nu 3\n";
        assert_eq!(plain(open_metrics), text);
    }
}
