//! Runs scenarios, and provides for them.
//!
//! The executable of the tests plays every part: called as a tunnel or as the lab's application it is one, called
//! with the name of a scenario it enters namespaces of its own and plays it, and otherwise it is a test runner that
//! calls itself for each scenario, with the command line and the output that `cargo test` users know.

use std::process::ExitCode;

use adit::lab::{apps, host};
use clap::Parser;

pub mod agents;
pub mod bed;
pub mod credentials;
pub mod document;
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

/// The parts that the executable plays for its scenarios.
#[derive(Parser)]
enum Part {
    /// A node's tunnel.
    // Boxed: it has a field for every setting.
    Tunnel(Box<adit_tunnel::cli::Args>),
    /// What runs in pods.
    #[command(name = "lab-app")]
    LabApp(apps::Args),
    /// One scenario.
    #[command(name = runner::SCENARIO)]
    Scenario {
        /// Its name.
        name: String,
    },
}

/// The executable's `main`: plays the part that the command line names, or runs the scenarios.
pub fn main(scenarios: &[Scenario]) -> ExitCode {
    let part = std::env::args().nth(1).unwrap_or_default();
    let outcome = match part.as_str() {
        "tunnel" | "lab-app" | runner::SCENARIO => play(Part::parse(), scenarios),
        _ => runner::run(scenarios),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(part: Part, scenarios: &[Scenario]) -> anyhow::Result<ExitCode> {
    match part {
        Part::Tunnel(args) => adit_tunnel::run(*args)?,
        Part::LabApp(args) => apps::run(args)?,
        Part::Scenario { name } => {
            host::enter()?;
            let scenario = scenarios.iter().find(|scenario| scenario.name == name);
            let scenario = scenario.ok_or_else(|| anyhow::anyhow!("there is no scenario {name}"))?;
            return Ok(runner::play(scenario));
        }
    }
    Ok(ExitCode::SUCCESS)
}
