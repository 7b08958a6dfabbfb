//! The soak: a mesh in which everything changes all the time, and nobody may notice.
//!
//! Pods come and go, policies change, certificates are renewed, the tunnel of one node is replaced again and again, and
//! peers misbehave, while requests of every kind run. What happens when is decided by a seed ([`schedule`]), so that what
//! was found can be found again. The tunnel of the other node lives through all of it: its memory is what must not grow.
//!
//! What a request may have met is decided afterwards, from what happened when ([`history`]): a failure is either due (a
//! policy forbade it; its tunnel had been told to end and the deadline had passed) or a defect, and so is an answer that
//! was forbidden. In the end all is quiet, and descriptors, tasks, sockets and pooled connections must be what they were
//! in the beginning ([`gauge`]).

use std::process::ExitCode;
use std::time::{Duration, Instant};

use adit::lab::host;
use anyhow::Context;
use clap::Parser;

use crate::harness;
use account::Account;
use load::Load;
use stage::Stage;

mod account;
mod bulk;
mod gauge;
mod history;
mod load;
mod misfits;
mod schedule;
mod slope;
mod stage;
mod tap;
mod tunnels;

/// How much of the time belongs to warming up: what is allocated once, at the first of everything, is no leak.
const WARM_UP: f64 = 0.25;

/// Runs a mesh in which everything changes, and looks for what fails and what is left.
#[derive(Parser, Debug)]
#[command(name = "soak")]
struct Args {
    /// For how many minutes
    minutes: f64,
    /// What decides what happens when [default: another one every time]
    #[arg(long)]
    seed: Option<u64>,
}

/// The program. Its exit status is 0 only if nothing was found.
pub fn main() -> ExitCode {
    if let Some(code) = harness::part() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(account) => {
            println!("{account}");
            if account.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("the soak could not be finished: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<Account> {
    let length = Duration::try_from_secs_f64(args.minutes * 60.0).context("MINUTES is no duration")?;
    // Before there are threads; it may start the program over.
    host::enter()?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("soak: {} minutes, --seed {seed}", args.minutes);
    let mut stage = Stage::set()?;
    let before = stage.measure_quiet()?;
    let begun = Instant::now();
    let load = Load::start(&stage, begun, seed)?;
    let memory = gauge::Memory::follow(stage.lasting().id(), begun);
    stage.play(&schedule::schedule(seed, length), length, begun)?;
    let ended = begun.elapsed();
    let ledger = load.stop();
    let samples = memory.stop();
    let after = stage.measure_until(&before)?;
    let (series_at_half, evidence) = (stage.series_at_half(), stage.evidence());
    let (played, history, defects) = stage.into_findings();
    Ok(Account::new(account::Found {
        seed,
        length: ended,
        warm_up: ended.mul_f64(WARM_UP),
        played,
        ledger,
        history,
        before,
        after,
        series_at_half,
        samples,
        evidence,
        defects,
    }))
}
