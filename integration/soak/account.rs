//! The account at the end: what ran, what was found, and whether that is nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::gauge::Reading;
use super::history::{Attempt, History, Judged, Kind};
use super::load::Ledger;
use super::slope::{Slope, slope};
use super::stage::cast;

/// Growth that fails a long soak, in MB an hour: 32 bytes for each of the hundred connections a second that the lasting
/// tunnel carries at least.
const LEAK: f64 = 12.0;
/// From how long on growth is told from what settles.
const LONG: Duration = Duration::from_secs(600);
/// By how much the number of series may grow in the second half of a long soak: an outcome that is seldom.
const SERIES_GROWTH: f64 = 1.1;
/// How many defects are shown, and how many lines of evidence for each.
const SHOWN: usize = 40;
/// What tunnels say about a request is looked for so long before it and after it.
const ABOUT: Duration = Duration::from_secs(1);

/// Everything that was observed.
pub struct Found {
    /// What decided what happened when.
    pub seed: u64,
    /// How long it ran.
    pub length: Duration,
    /// How much of that is not looked at for growth.
    pub warm_up: Duration,
    /// What happened how often.
    pub played: BTreeMap<String, u64>,
    /// The requests.
    pub ledger: Ledger,
    /// What excuses or demands failures.
    pub history: History,
    /// What the tunnels held in the beginning: the one that is replaced, the one that lasts.
    pub before: [Reading; 2],
    /// What they hold in the end.
    pub after: [Reading; 2],
    /// Series of the lasting tunnel after half of the time.
    pub series_at_half: Option<usize>,
    /// The memory of the lasting tunnel.
    pub samples: Vec<(Duration, f64)>,
    /// What tunnels said about connections that failed, with when.
    pub evidence: Vec<(Duration, String)>,
    /// What was found on the way.
    pub defects: Vec<String>,
}

/// What became of the requests of a kind.
#[derive(Default)]
struct Row {
    made: u64,
    refused: u64,
    excused: BTreeMap<&'static str, u64>,
    defects: u64,
}

/// The account.
pub struct Account {
    found: Found,
    rows: BTreeMap<Kind, Row>,
    /// The memory of the lasting tunnel once it had warmed up.
    settled: Vec<(Duration, f64)>,
    slope: Option<Slope>,
    defects: Vec<String>,
}

impl Account {
    /// Draws it up.
    pub fn new(mut found: Found) -> Self {
        let warm = found.samples.partition_point(|(at, _)| *at < found.warm_up);
        let settled = found.samples.split_off(warm);
        let slope = slope(&settled);
        let mut defects = std::mem::take(&mut found.defects);
        let rows = rows(&found, &mut defects);
        for (name, before, after) in [
            ("the tunnel that is replaced", &found.before[0], &found.after[0]),
            ("the tunnel that lasts", &found.before[1], &found.after[1]),
        ] {
            defects.extend(left(before, after).map(|left| format!("{name}: {left}")));
        }
        if found.length >= LONG {
            defects.extend(growth(&found, slope));
        }
        Self {
            found,
            rows,
            settled,
            slope,
            defects,
        }
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.defects.is_empty()
    }
}

/// Counts the requests, and tells of the defects: what is the same in all but its time is told once.
fn rows(found: &Found, defects: &mut Vec<String>) -> BTreeMap<Kind, Row> {
    let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
    for (kind, made) in &found.ledger.made {
        rows.entry(*kind).or_default().made = *made;
    }
    let mut alike: BTreeMap<String, Vec<&Attempt>> = BTreeMap::new();
    for attempt in &found.ledger.attempts {
        let row = rows.entry(attempt.kind).or_default();
        match found.history.judge(attempt) {
            Judged::Answered => {}
            Judged::Refused => row.refused += 1,
            Judged::Excused(why) => *row.excused.entry(why).or_default() += 1,
            Judged::Defect(due) => {
                row.defects += 1;
                let Attempt { kind, route, .. } = attempt;
                let seen = attempt.failure.as_deref().unwrap_or("an answer");
                let what = format!("{kind:?}, {route}: due was {due:?}, and the client saw: {seen}");
                alike.entry(what).or_default().push(attempt);
            }
        }
    }
    for (what, attempts) in alike {
        let times = attempts.len();
        let first = attempts.into_iter().min_by_key(|attempt| attempt.began);
        let when = first.map(|first| format!("first from {:.3?} to {:.3?}", first.began, first.ended));
        let told = first.map(|first| evidence(found, first)).unwrap_or_default();
        defects.push(format!(
            "{what} ({times} times, {}){told}",
            when.unwrap_or_default()
        ));
    }
    rows
}

/// What the tunnels said of failures about the time of a request.
fn evidence(found: &Found, attempt: &Attempt) -> String {
    let about = (attempt.began.saturating_sub(ABOUT))..(attempt.ended + ABOUT);
    let lines = found.evidence.iter().filter(|(at, _)| about.contains(at));
    let told = lines
        .take(SHOWN)
        .map(|(at, line)| format!("\n    {at:.3?} {line}"));
    let drains = found
        .history
        .drains
        .iter()
        .rfind(|drain| drain.told <= attempt.ended);
    let drain = drains.map(|drain| format!("\n    the last tunnel was told to end after {:.3?}", drain.told));
    told.chain(drain).collect()
}

/// What a tunnel holds that it did not.
fn left(before: &Reading, after: &Reading) -> impl Iterator<Item = String> {
    let held =
        (before.held != after.held).then(|| format!("it held {:?}, and holds {:?}", before.held, after.held));
    let panics = (after.panics > 0).then(|| format!("{} tasks panicked", after.panics));
    let cast = cast();
    let strangers: Vec<_> = after.named.iter().filter(|name| !cast.contains(name)).collect();
    let strangers = (!strangers.is_empty()).then(|| format!("series name {strangers:?}"));
    [held, panics, strangers].into_iter().flatten()
}

/// What grows that must not.
fn growth(found: &Found, slope: Option<Slope>) -> Vec<String> {
    let mut grows = Vec::new();
    match slope {
        Some(slope) if slope.at_least() > LEAK => {
            grows.push(format!(
                "memory grows by {:.1} MB/h or more, of {LEAK} that are allowed",
                slope.at_least()
            ));
        }
        Some(_) => {}
        None => grows.push("memory was not followed".to_owned()),
    }
    let series = found.after[1].series as f64;
    if let Some(half) = found.series_at_half
        && series > half as f64 * SERIES_GROWTH
    {
        grows.push(format!(
            "{half} series after half of the time, {series} in the end"
        ));
    }
    grows
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { seed, length, .. } = &self.found;
        writeln!(
            f,
            "\n## Soak of {:.1} minutes, --seed {seed}\n",
            length.as_secs_f64() / 60.0
        )?;
        self.requests(f)?;
        writeln!(f, "\n| what happened | times |\n|---|---|")?;
        for (what, times) in &self.found.played {
            writeln!(f, "| {what} | {times} |")?;
        }
        self.holdings(f)?;
        self.memory(f)?;
        for defect in self.defects.iter().take(SHOWN) {
            writeln!(f, "DEFECT: {defect}")?;
        }
        if self.is_clean() {
            write!(
                f,
                "PASSED: nothing failed that was not meant to, and nothing is left"
            )
        } else {
            write!(
                f,
                "FAILED: {} defects; run it again with --seed {seed}",
                self.defects.len()
            )
        }
    }
}

impl Account {
    fn requests(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| requests | made | refused as due | might fail and did | defects |\n|---|---|---|---|---|"
        )?;
        for (kind, row) in &self.rows {
            let excused: u64 = row.excused.values().sum();
            let why: Vec<_> = row
                .excused
                .iter()
                .map(|(why, times)| format!("{times} {why}"))
                .collect();
            let why = if why.is_empty() {
                String::new()
            } else {
                format!(" ({})", why.join(", "))
            };
            writeln!(
                f,
                "| {kind:?} | {} | {} | {excused}{why} | {} |",
                row.made, row.refused, row.defects
            )?;
        }
        Ok(())
    }

    fn holdings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.found.before;
        let [first_after, second_after] = &self.found.after;
        writeln!(
            f,
            "\n| before, after | the replaced tunnel | the lasting tunnel |\n|---|---|---|"
        )?;
        let of = |what: fn(&Reading) -> usize, f: &mut fmt::Formatter<'_>, name: &str| {
            writeln!(
                f,
                "| {name} | {}, {} | {}, {} |",
                what(first),
                what(first_after),
                what(second),
                what(second_after)
            )
        };
        of(|reading| reading.held.descriptors, f, "descriptors")?;
        of(|reading| reading.held.tasks, f, "tasks of workers")?;
        of(
            |reading| reading.held.control_tasks,
            f,
            "tasks of the control runtime",
        )?;
        of(|reading| reading.held.sockets, f, "sockets of applications")?;
        of(|reading| reading.held.pooled, f, "pooled connections")?;
        of(|reading| reading.held.streams, f, "streams in them")?;
        of(|reading| reading.held.pods, f, "pods")?;
        of(|reading| reading.held.certificates, f, "certificates")?;
        of(|reading| reading.series, f, "series")?;
        let memory = [first, first_after, second, second_after].map(|reading| reading.memory);
        let [a, b, c, d] = memory;
        writeln!(f, "| resident memory, MB | {a:.1}, {b:.1} | {c:.1}, {d:.1} |\n")
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Slope { per_hour, spread }) = self.slope else {
            return writeln!(f, "Memory: too few samples for a slope.\n");
        };
        let quarter = self.settled.len().div_ceil(4).max(1);
        let means = self.settled.chunks(quarter).map(|samples| {
            let sum: f64 = samples.iter().map(|(_, memory)| memory).sum();
            format!("{:.2}", sum / samples.len() as f64)
        });
        writeln!(
            f,
            "Memory of the lasting tunnel after {:.0} s of warming up: {per_hour:+.2} MB/h ± {spread:.2} (95 %); in the \
             mean of each quarter {} MB. More than {LEAK} MB/h for certain fails a soak of {} minutes or more.\n",
            self.found.warm_up.as_secs_f64(),
            means.collect::<Vec<_>>().join(", "),
            LONG.as_secs() / 60
        )
    }
}
