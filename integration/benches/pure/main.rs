//! What Adit's decisions cost, without a network: time by criterion, instructions by callgrind. `scripts/bench-pure`
//! runs it and compares instruction counts between commits; the findings are in `integration/bench/REGISTRY.md`.
//!
//! `names` lists the cases, `count NAME` runs one of them a fixed number of times inside of a function that callgrind looks
//! for, `write-mesh FILE` writes the large mesh as a file, `load FILE` reads such a file as the tunnel does and says what
//! that cost. Anything else goes to criterion.

mod case;
mod certificates;
mod decisions;
mod headers;
mod load;
mod mesh;

use std::path::Path;

// The tunnel's allocator, which its library brings along.
use adit_tunnel as _;
use anyhow::Context as _;
use case::Case;
use criterion::Criterion;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("names"), _) => names(),
        (Some("count"), Some(name)) => count(&name)?,
        (Some("write-mesh"), Some(path)) => load::write(Path::new(&path))?,
        (Some("load"), Some(path)) => load::load(Path::new(&path))?,
        _ => time(),
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    [headers::cases(), certificates::cases(), decisions::cases()]
        .into_iter()
        .flatten()
        .collect()
}

fn names() {
    println!("rounds {}", case::ROUNDS);
    for case in cases() {
        println!("case {}", case.name);
    }
}

fn count(name: &str) -> anyhow::Result<()> {
    let case = cases().into_iter().find(|case| case.name == name);
    case.with_context(|| format!("no case is called {name:?}; \"names\" lists them"))?
        .count();
    Ok(())
}

fn time() {
    let mut criterion = Criterion::default().configure_from_args();
    for case in cases() {
        // Prepared when it is its turn, and only if it was asked for.
        let mut run = None;
        criterion.bench_function(case.name, |bencher| {
            bencher.iter(run.get_or_insert_with(|| case.make()))
        });
    }
    criterion.final_summary();
}
