//! What a tunnel pair costs, side by side with others, in one run on one machine: the program behind `scripts/bench`.
//!
//! Machines differ and are noisy, so no figure here means anything alone: every system is measured in every round, in
//! turn, under the same load in namespaces of the same make, and what is read are ratios within one run.

use std::path::PathBuf;
use std::process::ExitCode;

use adit::lab::host;
use anyhow::Context;
use clap::{Parser, ValueEnum};

mod cost;
mod ground;
mod loads;
mod report;
mod systems;
mod tools;

use report::Results;

/// Compare what a pair of tunnels costs with nginx, and with no proxy at all.
#[derive(Parser, Clone, Debug)]
#[command(name = "scripts/bench", max_term_width = 110)]
struct Args {
    /// Two short rounds: under three minutes
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every load of every system once [default: 5, with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds that a load lasts [default: 4, with --quick 1.5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,
    /// Congestion control of every namespace
    #[arg(long, value_name = "NAME", default_value = "reno")]
    cc: String,
    /// Where the server is, seen from the client
    #[arg(long, value_enum, default_value_t = Path::TwoNodes)]
    path: Path,
    /// Only these systems, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    systems: Vec<systems::Kind>,
    /// Only these loads, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    loads: Vec<loads::Load>,
    /// Also writes the medians as one JSON object: {system: {load: {metric: value}}}
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The tunnel's program
    #[arg(long, value_name = "FILE", default_value = "target/release/adit-tunnel")]
    tunnel: PathBuf,
    /// A setting of the tunnel that differs from its default, as NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A second build of the tunnel, measured in the same run under the name `other`
    #[arg(long, value_name = "FILE")]
    other: Option<PathBuf>,
    /// While each load of the tunnels runs, this shell command does too, with the tunnels' process ids in $PIDS and what
    /// runs in $NAME: for profilers
    #[arg(long, value_name = "COMMAND")]
    probe: Option<String>,
}

/// Where the server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Path {
    /// On the other node.
    TwoNodes,
    /// On the client's node.
    OneNode,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("{error}"))?;
    (0.5..=600.0)
        .contains(&value)
        .then_some(value)
        .ok_or_else(|| "0.5 to 600 seconds".to_owned())
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scripts/bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path)
            .ok()
            .filter(|path| path.is_file())
            .with_context(|| format!("there is no program {}", path.display()))
    };
    let mut args = args.clone();
    args.tunnel = absolute(&args.tunnel)?;
    args.other = args.other.as_ref().map(absolute).transpose()?;
    args.json = args.json.as_ref().map(std::path::absolute).transpose()?;
    let ztunnel = std::env::var_os("ZTUNNEL_DIR").map(PathBuf::from);
    host::enter()?;
    adit_net::rlimit::raise_open_files().context("cannot raise the limit of open files")?;
    let results = measure(&args, ztunnel)?;
    print!("{}", report::markdown(&results));
    if let Some(path) = &args.json {
        std::fs::write(path, report::json(&results))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(args: &Args, ztunnel: Option<PathBuf>) -> anyhow::Result<Results> {
    let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
    let seconds = args.seconds.unwrap_or(if args.quick { 1.5 } else { 4.0 });
    let mut ground = ground::Ground::new(args, ztunnel)?;
    let systems = systems::start_all(&mut ground)?;
    let wanted = |load: &loads::Load| args.loads.is_empty() || args.loads.contains(load);
    let mut results = Results::default();
    for round in 0..rounds {
        for load in loads::Load::value_variants().iter().filter(|load| wanted(load)) {
            // What is held open costs a quarter of a minute, and memory hardly varies.
            if load.is_memory() && round > 0 && (args.quick || round > 2) {
                continue;
            }
            // Nor is a hundred pods for a quick look.
            if *load == loads::Load::Pods && (round > 0 || (args.quick && args.loads.is_empty())) {
                continue;
            }
            for system in systems.iter().filter(|system| load.applies_to(system)) {
                eprint!("\r\x1b[Kround {} of {rounds}: {load} {}", round + 1, system.name);
                let probe = tools::Probe::start(args.probe.as_deref(), *load, system)?;
                let sample = load.run(&mut ground, system, seconds).with_context(|| {
                    format!("{load} of {}\n{}", system.name, ground.last_words(system.name))
                })?;
                probe.end()?;
                results.add(system.name, *load, sample);
            }
        }
    }
    eprint!("\r\x1b[K");
    results.describe(format!(
        "{rounds} rounds of {seconds} s a load, congestion control {}, client and server on {}",
        args.cc,
        match args.path {
            Path::TwoNodes => "two nodes",
            Path::OneNode => "one node",
        }
    ));
    Ok(results)
}
