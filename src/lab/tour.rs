//! The tour: what a mesh does for a bank, step by step, each step with its proof.
//!
//! A step says what it does, does it, and shows what was seen: packets, log lines of the tunnels, what applications
//! and clients noticed, metrics. It has failed unless what it promised was observed; that nothing went wrong is
//! never enough.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use self::bank::Bank;
use super::manifests;
use super::screen::Screen;
use super::visit::{CONTROL, Door};
use super::world::World;

mod bank;
mod change;
mod policy;
mod telemetry;
mod wire;

/// A step: what it is called, and what it does. It returns what it has proved.
struct Step {
    title: &'static str,
    run: fn(&mut Bank, &Screen) -> anyhow::Result<String>,
}

const STEPS: [Step; 12] = [
    Step {
        title: "A bank without a mesh",
        run: wire::without_mesh,
    },
    Step {
        title: "The bank joins the mesh",
        run: wire::join,
    },
    Step {
        title: "The call works, and the applications noticed nothing",
        run: wire::call,
    },
    Step {
        title: "Nothing readable passes between the nodes",
        run: wire::between_nodes,
    },
    Step {
        title: "Nor between two pods of one node",
        run: wire::same_node,
    },
    Step {
        title: "Each side has proved to the other who it is",
        run: policy::identities,
    },
    Step {
        title: "payments may call ledger, and never customer-analytics",
        run: policy::authorization,
    },
    Step {
        title: "A policy is edited, and a living connection is cut",
        run: policy::edit,
    },
    Step {
        title: "An outsider's plaintext is refused",
        run: policy::outsider,
    },
    Step {
        title: "A replica stops listening, and no request fails",
        run: change::replica,
    },
    Step {
        title: "Certificates are rotated, and no request fails",
        run: change::certificates,
    },
    Step {
        title: "A tunnel is replaced by a new process, and no request fails",
        run: change::tunnel,
    },
];

/// The last one, which looks back on the others.
const LAST: Step = Step {
    title: "What Prometheus would scrape",
    run: telemetry::metrics,
};

/// Takes the tour. With `once` it ends there; otherwise it leaves the bank running, open for visitors.
///
/// # Errors
/// The bank could not even be built.
pub fn run(once: bool, door: Door) -> anyhow::Result<ExitCode> {
    let screen = Screen::new();
    let started = Instant::now();
    screen.heading("Adit: a bank in a mesh, on this machine");
    screen.says("Two nodes and six pods are being made of network namespaces ...");
    let executable = std::env::current_exe().context("cannot find this program")?;
    let mut bank = Bank::build(World::new(executable, 2)?)?;
    bank.introduce(&screen)?;
    let directory = door.open(&visitors(&bank)?)?;

    let steps: Vec<_> = STEPS.iter().chain([&LAST]).collect();
    let mut failed = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if !take(number + 1, step, &mut bank, &screen) {
            failed.push(step.title);
        }
        // Steps start and replace processes.
        directory.update(&visitors(&bank)?)?;
    }
    screen.line("");
    let took = started.elapsed().as_secs_f64();
    if failed.is_empty() {
        screen.heading(format_args!(
            "All {} steps were proved, in {took:.0} s.",
            steps.len()
        ));
    } else {
        screen.heading(format_args!(
            "{} of {} steps were not proved:",
            failed.len(),
            steps.len()
        ));
        for title in &failed {
            screen.line(format_args!("    {title}"));
        }
    }
    if !once {
        stay(&bank, &screen)?;
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn take(number: usize, step: &Step, bank: &mut Bank, screen: &Screen) -> bool {
    screen.step(number, step.title);
    let started = Instant::now();
    match (step.run)(bank, screen) {
        Ok(proof) => {
            screen.proved(proof, started.elapsed());
            true
        }
        Err(error) => {
            screen.failed(&error);
            false
        }
    }
}

/// The process that stands for each pod, and, once they run, for the tunnel of each node and the control plane.
fn visitors(bank: &Bank) -> anyhow::Result<BTreeMap<String, u32>> {
    let process = |pod: &super::world::Pod| anyhow::Ok((pod.spec.name.clone(), pod.app()?.id()));
    let mut places: BTreeMap<_, _> = bank.world.pods().map(process).collect::<anyhow::Result<_>>()?;
    for node in bank.world.nodes() {
        if let Some(tunnel) = node.tunnels().last() {
            places.insert(node.name.clone(), tunnel.process().id());
        }
    }
    if let Some(control) = bank.world.control_process() {
        places.insert(CONTROL.to_owned(), control.id());
    }
    Ok(places)
}

/// Leaves everything as it is until Ctrl-C, which needs no handler: the kernel takes everything away with this process.
fn stay(bank: &Bank, screen: &Screen) -> anyhow::Result<()> {
    // Seen from outside, the lab's files are below the root of its process.
    let root = format!("/proc/{}/root", std::process::id());
    let node = bank.world.node(0)?;
    screen.line("");
    screen.heading("The bank stays open until Ctrl-C; then everything is gone. In another terminal:");
    screen.shows(
        "visit a pod",
        "adit lab exec web -- curl -s http://payments:8080/",
    );
    screen.shows(
        "be refused",
        "adit lab exec customer-analytics -- curl -s http://ledger:8080/",
    );
    screen.shows("look at a wire", "adit lab exec web -- ip -br address");
    screen.shows(
        "ask why",
        "adit explain customer-analytics ledger:8080 --lab node-1",
    );
    screen.shows(
        "see inside",
        format_args!(
            "adit workloads --lab {}   (also services, policies, certificates, connections)",
            node.name
        ),
    );
    screen.shows("see who has what", "adit status --lab");
    screen.shows(
        "read a log",
        format_args!("tail -f {root}{}", node.tunnel()?.process().log().display()),
    );
    screen.shows(
        "edit policies",
        format_args!("$EDITOR {root}{}", manifests::file(bank::POLICIES).display()),
    );
    loop {
        nix::unistd::pause();
    }
}
