//! The mesh as a whole: real tunnels in real network namespaces, scenario by scenario.

use std::process::ExitCode;

use adit_integration::harness::{self, Scenario};
use adit_integration::scenarios;

mod traffic;

const TRAFFIC: &[Scenario] = scenarios![traffic::pods_of_one_node_talk];

fn main() -> ExitCode {
    let suites = [TRAFFIC];
    harness::main(&suites.concat())
}
