//! The command `adit`: which commands there are, and how a failure is told.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::lab::{apps, host, tour, visit};

pub mod ask;
pub mod certificates;
pub mod connections;
pub mod dump;
pub mod explain;
pub mod operator;
pub mod output;
pub mod policies;
pub mod select;
pub mod services;
pub mod status;
pub mod table;
pub mod workloads;

/// An ambient-mode service mesh for Kubernetes: every byte between pods encrypted, every peer verified, no sidecars.
#[derive(Parser, Debug)]
#[command(name = "adit", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show a bank running in a mesh on this machine: two nodes, six pods, no cluster
    Lab(Lab),
    /// Carry the traffic of this node's enrolled pods over mutual TLS
    // Boxed: it has a field for every setting.
    Tunnel(Box<adit_tunnel::cli::Args>),
    /// Turn manifests into configuration and certificates for the tunnels of a mesh
    Control(Box<adit_control::cli::Args>),
    #[command(flatten)]
    Operator(operator::Command),
    /// What runs in the lab's pods
    #[command(name = "lab-app", hide = true)]
    LabApp(apps::Args),
}

#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
struct Lab {
    /// End after the tour, with exit status 0 only if everything shown really happened
    #[arg(long)]
    once: bool,
    #[command(subcommand)]
    command: Option<LabCommand>,
}

#[derive(Subcommand, Debug)]
enum LabCommand {
    /// Run a command in a pod of the running lab, or where the tunnel of a node is
    Exec {
        /// The pod, such as web, or the node, such as node-1
        pod: String,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("adit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Lab(Lab {
            command: Some(LabCommand::Exec { pod, command }),
            ..
        }) => {
            host::be_single_threaded()?;
            match visit::exec(&pod, &command)? {}
        }
        Command::Lab(Lab { once, command: None }) => {
            // Before the door is made, which would not survive it.
            host::be_single_threaded()?;
            let door = visit::Door::new()?;
            host::enter()?;
            tour::run(once, door)
        }
        Command::Tunnel(args) => adit_tunnel::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Control(args) => adit_control::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Operator(command) => Ok(operator::run(&command)),
        Command::LabApp(args) => apps::run(args).map(|()| ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    mod views;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_for_a_pod_is_taken_as_it_is() {
        let cli = Cli::try_parse_from(["adit", "lab", "exec", "web", "--", "curl", "-v", "--once"]);
        let Command::Lab(Lab {
            command: Some(LabCommand::Exec { pod, command }),
            ..
        }) = cli.expect("well formed").command
        else {
            panic!("another command");
        };
        assert_eq!((pod.as_str(), command.len()), ("web", 3));
        Cli::try_parse_from(["adit", "lab", "exec", "web"]).expect_err("no command to run");
        Cli::try_parse_from(["adit", "lab", "--once", "exec", "web", "--", "true"]).expect_err("either or");
    }
}
