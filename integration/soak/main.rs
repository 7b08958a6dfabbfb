//! The soak: `soak MINUTES [--seed NUMBER]`. See the library's module of that name.

use std::process::ExitCode;

fn main() -> ExitCode {
    adit_integration::soak::main()
}
