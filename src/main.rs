//! The entry point.

use std::process::ExitCode;

fn main() -> ExitCode {
    adit::cli::main()
}
