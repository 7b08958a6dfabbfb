//! The runner: which scenarios, how many at a time, for how long, and what is told of those that fail.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use adit::lab::host;
use anyhow::Context;
use clap::Parser;

use super::Scenario;

/// The command that plays one scenario.
pub const SCENARIO: &str = "scenario";

/// How long a scenario may take. They take seconds; one that hangs is killed, and its logs are shown.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many scenarios run at a time, unless the command line says otherwise: each runs two tunnels, and its waits are
/// for observed facts, which a crowded machine delays.
const AT_A_TIME: usize = 2;

/// How often a scenario's process is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// How many of the last lines of each log are shown.
const LAST_LINES: usize = 60;

/// The command line of a test executable, as far as it makes sense here.
#[derive(Parser, Debug)]
struct Selection {
    /// Run the scenarios whose names contain one of these
    filters: Vec<String>,
    /// Compare whole names
    #[arg(long)]
    exact: bool,
    /// Leave out the scenarios whose names contain one of these
    #[arg(long)]
    skip: Vec<String>,
    /// Print the names
    #[arg(long)]
    list: bool,
    /// Show what scenarios print, as it comes
    #[arg(long, visible_alias = "no-capture")]
    nocapture: bool,
    /// How many run at a time
    #[arg(long, env = "RUST_TEST_THREADS")]
    test_threads: Option<NonZero<usize>>,
    /// Only those that are ignored, and there are none
    #[arg(long)]
    ignored: bool,
    /// Also those that are ignored
    #[arg(long)]
    include_ignored: bool,
    /// Say less
    #[arg(short, long)]
    quiet: bool,
    /// Accepted, and without effect
    #[arg(long)]
    show_output: bool,
}

impl Selection {
    fn takes(&self, scenario: &Scenario) -> bool {
        let matches = |wanted: &String| match self.exact {
            true => scenario.name == wanted,
            false => scenario.name.contains(wanted),
        };
        let named = self.filters.is_empty() || self.filters.iter().any(matches);
        named && !self.skip.iter().any(matches) && !self.ignored
    }
}

/// What became of a scenario: why it failed, if it did.
struct Played {
    name: &'static str,
    failure: Option<String>,
    took: Duration,
}

/// Runs what the command line selects.
///
/// # Errors
/// No scenario could be started.
pub fn run(scenarios: &[Scenario]) -> anyhow::Result<ExitCode> {
    let selection = Selection::parse();
    let selected: Vec<_> = scenarios
        .iter()
        .filter(|scenario| selection.takes(scenario))
        .collect();
    if selection.list {
        selected
            .iter()
            .for_each(|scenario| println!("{}: test", scenario.name));
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nrunning {} tests", selected.len());
    let started = Instant::now();
    let played = play_all(&selected, &selection);
    let failed: Vec<_> = played.iter().filter(|played| played.failure.is_some()).collect();
    for Played { name, failure, .. } in &failed {
        println!("\n---- {name} ----\n{}", failure.as_deref().unwrap_or_default());
    }
    if !failed.is_empty() {
        println!("\nfailures:");
        failed.iter().for_each(|played| println!("    {}", played.name));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        played.len() - failed.len(),
        failed.len(),
        scenarios.len() - selected.len(),
        started.elapsed().as_secs_f64(),
    );
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn play_all(selected: &[&Scenario], selection: &Selection) -> Vec<Played> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let work = || {
        while let Some(scenario) = selected.get(next.fetch_add(1, Ordering::Relaxed)) {
            let started = Instant::now();
            let failure = play_apart(scenario, selection.nocapture).err();
            let played = Played {
                name: scenario.name,
                failure: failure.map(|error| format!("{error:#}")),
                took: started.elapsed(),
            };
            tell(&played, selection.quiet);
            all.lock().unwrap_or_else(PoisonError::into_inner).push(played);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..selection.test_threads.map_or(AT_A_TIME, NonZero::get) {
            scope.spawn(work);
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn tell(played: &Played, quiet: bool) {
    let seconds = played.took.as_secs_f64();
    match played.failure {
        // The verdict stands last: tools that read the output of `cargo test` look for it there.
        Some(_) => println!("test {} ({seconds:.1} s) ... FAILED", played.name),
        None if quiet => {}
        None => println!("test {} ({seconds:.1} s) ... ok", played.name),
    }
}

/// Plays a scenario in a process of its own, for as long as it may take.
fn play_apart(scenario: &Scenario, nocapture: bool) -> anyhow::Result<()> {
    let mut output = tempfile::tempfile().context("cannot keep the scenario's output")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([SCENARIO, scenario.name]).stdin(Stdio::null());
    if !nocapture {
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
    }
    adit_net::process::die_with_parent(&mut command);
    let mut child = command.spawn().context("cannot start the scenario")?;
    let ended = wait(&mut child)?;
    if ended.is_some_and(|status| status.success()) {
        return Ok(());
    }
    let verdict = match ended {
        Some(status) => format!("it ended with {status}"),
        None => {
            // Its files are in a file system of its own, which goes with it.
            let folder = PathBuf::from(format!("/proc/{}/root{}", child.id(), host::DIRECTORY));
            let logs = logs(&folder);
            child.kill().context("cannot end a scenario that hangs")?;
            child.wait()?;
            format!("it has not ended after {DEADLINE:?}\n{logs}")
        }
    };
    anyhow::bail!("{}\n{verdict}", text(&mut output))
}

fn wait(child: &mut Child) -> anyhow::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() > deadline => return Ok(None),
            None => std::thread::sleep(INTERVAL),
        }
    }
}

fn text(output: &mut File) -> String {
    let mut text = Vec::new();
    match output.rewind().and_then(|()| output.read_to_end(&mut text)) {
        Ok(_) => String::from_utf8_lossy(&text).trim_end().to_owned(),
        Err(error) => format!("its output cannot be read: {error}"),
    }
}

/// Plays a scenario here, and says what went wrong and what the logs hold.
pub fn play(scenario: &Scenario) -> ExitCode {
    let failed = match catch_unwind(AssertUnwindSafe(scenario.play)) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "it panicked".to_owned(),
    };
    eprintln!("{failed}\n{}", logs(Path::new(host::DIRECTORY)));
    ExitCode::FAILURE
}

/// The end of every log in a folder.
fn logs(folder: &Path) -> String {
    let files = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|is| is == "log"))
        .collect();
    files.sort();
    let mut all = String::new();
    for file in files {
        let text = fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_else(|error| error.to_string());
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        all += &format!("--- {}\n{}\n", file.display(), last.join("\n"));
    }
    all
}
