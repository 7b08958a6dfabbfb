//! The results: medians and spreads, as a table for people and an object for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::loads::{Load, Sample};

/// The systems in the order of the columns.
const SYSTEMS: [&str; 5] = ["direct", "nginx", "adit", "other", "ztunnel"];

/// Everything that was measured.
#[derive(Default, Debug)]
pub struct Results {
    samples: BTreeMap<(&'static str, Load), BTreeMap<&'static str, Vec<f64>>>,
    description: String,
}

/// The middle of several figures, and between what they lie.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Figure {
    median: f64,
    least: f64,
    most: f64,
}

impl Results {
    /// Adds a run of a load.
    pub fn add(&mut self, system: &'static str, load: Load, sample: Sample) {
        let metrics = self.samples.entry((system, load)).or_default();
        for (metric, value) in sample {
            metrics.entry(metric).or_default().push(value);
        }
    }

    /// Says how it was measured.
    pub fn describe(&mut self, text: String) {
        self.description = text;
    }

    fn figure(&self, system: &'static str, load: Load, metric: &str) -> Option<Figure> {
        let mut values = self.samples.get(&(system, load))?.get(metric)?.clone();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[half - 1] + values[half]) / 2.0,
            _ => values[half],
        };
        Some(Figure { median, least, most })
    }

    fn present(&self) -> Vec<&'static str> {
        let any = |system: &&str| self.samples.keys().any(|(name, _)| name == system);
        SYSTEMS.into_iter().filter(any).collect()
    }

    /// Loads and metrics that any system has, in their order.
    fn rows(&self) -> Vec<(Load, &'static str)> {
        let all = self.samples.iter();
        let mut rows: Vec<_> = all
            .flat_map(|((_, load), metrics)| metrics.keys().map(|metric| (*load, *metric)))
            .collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }
}

/// A table in Markdown: medians with their spread, and our ratios to the others.
pub fn markdown(results: &Results) -> String {
    let systems = results.present();
    let ours = ["adit", "other"]
        .into_iter()
        .filter(|name| systems.contains(name));
    let theirs = ["direct", "nginx", "ztunnel"]
        .into_iter()
        .filter(|name| systems.contains(name));
    let mut ratios: Vec<_> = ours
        .flat_map(|one| theirs.clone().map(move |other| (one, other)))
        .collect();
    if systems.contains(&"adit") && systems.contains(&"other") {
        ratios.push(("adit", "other"));
    }
    let mut text = format!("{}. Median (least to most).\n\n", results.description);
    let mut head = vec!["load".to_owned(), "metric".to_owned()];
    head.extend(systems.iter().map(|name| (*name).to_owned()));
    head.extend(ratios.iter().map(|(one, other)| format!("{one} / {other}")));
    line(&mut text, &head);
    line(&mut text, &vec!["---".to_owned(); head.len()]);
    for (load, metric) in results.rows() {
        let mut cells = vec![load.to_string(), metric.to_owned()];
        let median = |system| results.figure(system, load, metric);
        cells.extend(
            systems
                .iter()
                .map(|system| median(system).map_or(String::new(), cell)),
        );
        cells.extend(
            ratios
                .iter()
                .map(|(one, other)| match (median(one), median(other)) {
                    (Some(one), Some(other)) if other.median > 0.0 => {
                        format!("{:.2}", one.median / other.median)
                    }
                    _ => String::new(),
                }),
        );
        line(&mut text, &cells);
        if (load, metric) == (Load::Rps1, "p50_us") {
            line(&mut text, &added_latency(results, &systems, &ratios));
        }
    }
    text
}

/// What a system adds to the median latency of no proxy.
fn added_latency(
    results: &Results,
    systems: &[&'static str],
    ratios: &[(&'static str, &'static str)],
) -> Vec<String> {
    let p50 = |system| {
        results
            .figure(system, Load::Rps1, "p50_us")
            .map(|figure| figure.median)
    };
    let added = |system| Some(p50(system)? - p50("direct")?);
    let mut cells = vec![Load::Rps1.to_string(), "added p50_us".to_owned()];
    cells.extend(
        systems
            .iter()
            .map(|system| added(system).map_or(String::new(), number)),
    );
    cells.extend(
        ratios
            .iter()
            .map(|(one, other)| match (added(one), added(other)) {
                (Some(one), Some(other)) if other > 0.0 => format!("{:.2}", one / other),
                _ => String::new(),
            }),
    );
    cells
}

fn line(text: &mut String, cells: &[String]) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn cell(figure: Figure) -> String {
    let Figure { median, least, most } = figure;
    if least == most {
        return number(median);
    }
    format!("{} ({} to {})", number(median), number(least), number(most))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

/// The medians, as one object.
pub fn json(results: &Results) -> String {
    let mut systems = Map::new();
    for (system, load) in results.samples.keys() {
        let metrics: Map<_, _> = results.samples[&(*system, *load)]
            .keys()
            .filter_map(|metric| {
                Some((
                    (*metric).to_owned(),
                    json!(results.figure(system, *load, metric)?.median),
                ))
            })
            .collect();
        let loads = systems.entry(*system).or_insert_with(|| json!({}));
        loads[load.name()] = Value::Object(metrics);
    }
    format!("{:#}\n", Value::Object(systems))
}
