//! The node tunnel as a binary of its own, without any Kubernetes code.

use std::process::ExitCode;

use adit_tunnel::cli::Args;
use clap::Parser;

/// Carries the traffic of this node's enrolled pods over mutual TLS.
#[derive(Parser)]
#[command(name = "adit-tunnel", version)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    match adit_tunnel::run(Command::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adit-tunnel: {error:#}");
            ExitCode::FAILURE
        }
    }
}
