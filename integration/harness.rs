//! Runs scenarios, and provides for them.
//!
//! The executable of the tests plays every part: called as a tunnel, as the lab's application or as an operator's command
//! it is that, called with the name of a scenario it enters namespaces of its own and plays it, and otherwise it is a test
//! runner that calls itself for each scenario, with the command line and the output that `cargo test` users know.

use std::process::ExitCode;

use adit::cli::operator::Command;
use adit::lab::{apps, host};
use clap::{Parser, Subcommand};

pub mod agents;
pub mod bed;
pub mod collector;
pub mod credentials;
pub mod document;
pub mod marked;
pub mod operator;
pub mod pair;
pub mod plain;
pub mod prober;
pub mod rogue;
mod runner;
pub mod scripted;
pub mod tunnels;
pub mod usage;
pub mod watch;
pub mod waypoint;

/// A scenario: it fails by an error or by a panic.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called, as `module::behaviour`.
    pub name: &'static str,
    /// Plays it, in a process that has entered namespaces of its own.
    pub play: fn() -> anyhow::Result<()>,
}

/// A list of scenarios, each named as its function: `scenarios![traffic::pods_of_one_node_talk, ...]`.
#[macro_export]
macro_rules! scenarios {
    ($($play:path),* $(,)?) => {
        &[$($crate::harness::Scenario { name: stringify!($play), play: $play }),*]
    };
}

/// The first argument of an operator's command.
pub const OPERATOR: &str = "adit";

/// The parts that the executable plays for its scenarios.
#[derive(Parser)]
enum Part {
    /// A node's tunnel.
    // Boxed: it has a field for every setting.
    Tunnel(Box<adit_tunnel::cli::Args>),
    /// What runs in pods.
    #[command(name = "lab-app")]
    LabApp(apps::Args),
    /// A control plane.
    // Boxed: it has a field for every setting.
    Control(Box<adit_control::cli::Args>),
    /// An operator who asks a tunnel.
    // A command of its own, because filters of test runs are called as the operator's commands are.
    #[command(name = OPERATOR)]
    Operator {
        /// What is asked.
        #[command(subcommand)]
        command: Command,
    },
    /// A client in a pod that wants to leave uncaptured.
    #[command(name = marked::MARKED)]
    Marked(marked::Args),
    /// One scenario.
    #[command(name = runner::SCENARIO)]
    Scenario {
        /// Its name.
        name: String,
    },
}

/// Plays a tunnel or an application, if that is what the command line asks for: what a program does first that starts
/// both out of itself. Its own work, if it gets to it, needs [`host::enter`].
pub fn part() -> Option<ExitCode> {
    let part = std::env::args().nth(1)?;
    matches!(part.as_str(), "tunnel" | "control" | "lab-app").then(|| told(play(Part::parse(), &[])))
}

/// The executable's `main`: plays the part that the command line names, or runs the scenarios.
pub fn main(scenarios: &[Scenario]) -> ExitCode {
    let part = std::env::args().nth(1).unwrap_or_default();
    let outcome = match Part::has_subcommand(&part) {
        true => play(Part::parse(), scenarios),
        false => runner::run(scenarios),
    };
    told(outcome)
}

fn told(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

fn play(part: Part, scenarios: &[Scenario]) -> anyhow::Result<ExitCode> {
    match part {
        Part::Tunnel(args) => adit_tunnel::run(*args)?,
        Part::Control(args) => adit_control::run(*args)?,
        Part::LabApp(args) => apps::run(args)?,
        Part::Marked(args) => return Ok(ExitCode::from(marked::run(&args)?)),
        Part::Operator { command } => return Ok(adit::cli::operator::run(&command)),
        Part::Scenario { name } => {
            host::enter()?;
            let scenario = scenarios.iter().find(|scenario| scenario.name == name);
            let scenario = scenario.ok_or_else(|| anyhow::anyhow!("there is no scenario {name}"))?;
            return Ok(runner::play(scenario));
        }
    }
    Ok(ExitCode::SUCCESS)
}
