//! Running the `nft` program inside a namespace. It is the one interface to nftables that every distribution keeps
//! working with its kernel, and it loads a file as one transaction.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use super::RulesError;
use super::render::TABLE;
use crate::namespace::{Namespace, errno_of};

/// Loads the text as one transaction.
pub(super) fn load(namespace: &Namespace, action: &'static str, text: &str) -> Result<(), RulesError> {
    let output = run(namespace, &["-f", "-"], text)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(refused(action, &output))
    }
}

/// Our table, without counters and handles; `None` when there is none.
pub(super) fn list_table(namespace: &Namespace) -> Result<Option<String>, RulesError> {
    let mut arguments = vec!["--stateless", "list", "table"];
    arguments.extend(TABLE.split(' '));
    let output = run(namespace, &arguments, "")?;
    if output.status.success() {
        return Ok(Some(text(&output.stdout)));
    }
    // The exit status does not tell a missing table from any other failure, and the words depend on the version: the
    // list of tables does.
    if list(namespace, &["list", "tables"])?
        .lines()
        .any(|line| line.trim() == format!("table {TABLE}"))
    {
        return Err(refused("list the pod's rules", &output));
    }
    Ok(None)
}

/// Every table of the namespace.
pub(super) fn list_ruleset(namespace: &Namespace) -> Result<String, RulesError> {
    list(namespace, &["--stateless", "list", "ruleset"])
}

fn list(namespace: &Namespace, arguments: &[&str]) -> Result<String, RulesError> {
    let output = run(namespace, arguments, "")?;
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(refused("list the tables of the pod", &output))
    }
}

fn run(namespace: &Namespace, arguments: &[&str], input: &str) -> Result<Output, RulesError> {
    let mut command = Command::new("nft");
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A process is born in the namespace of the thread that starts it.
    let mut child = namespace
        .run(|| command.spawn())
        .map_err(|error| RulesError::Namespace(errno_of(&error)))?
        .map_err(|error| RulesError::Program(errno_of(&error)))?;
    let program = |error: io::Error| RulesError::Program(errno_of(&error));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading has said why on its standard error.
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                child.kill().map_err(program)?;
                child.wait().map_err(program)?;
                return Err(program(error));
            }
            _ => {}
        }
    }
    child.wait_with_output().map_err(program)
}

fn refused(action: &'static str, output: &Output) -> RulesError {
    RulesError::Refused {
        action,
        message: text(&output.stderr).trim().to_owned(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
