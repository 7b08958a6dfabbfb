//! Every setting: what it takes, what it refuses and in which words.

mod control_plane;
mod defaults;
mod documents;
mod refusals;
mod spans;
mod values;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use clap::{Args as _, Command, FromArgMatches as _};

use super::{Config, ConfigError, Environment};
use crate::cli::Args;

/// Without these nothing starts.
const REQUIRED: [(&str, &str); 2] = [("LOCAL_XDS_PATH", "/mesh.yaml"), ("ADIT_LOCAL_CA", "/ca")];

/// What is made of these variables, beside the required ones.
pub(crate) fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Given {
        variables,
        ..Given::default()
    }
    .configure()
}

/// What is made of one variable.
fn one(variable: &str, value: &str) -> Result<Config, ConfigError> {
    with(&[(variable, value)])
}

/// What stands in an error about one variable.
fn problem(variable: &str, value: &str) -> String {
    one(variable, value).expect_err("refused").to_string()
}

/// All that a configuration is made of.
#[derive(Default)]
struct Given<'a> {
    flags: &'a [&'a str],
    variables: &'a [(&'a str, &'a str)],
    mesh_file: Option<&'a str>,
}

impl Given<'_> {
    fn configure(&self) -> Result<Config, ConfigError> {
        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in REQUIRED.iter().chain(self.variables) {
            variables.insert((*name).to_owned(), (*value).to_owned());
        }
        let args = arguments(self.flags, &variables);
        let mesh_file = self.mesh_file.map(str::to_owned);
        let cores = NonZeroUsize::new(8).expect("not 0");
        let environment = Environment::new(variables, cores, move |path| match &mesh_file {
            Some(text) if path == Path::new("./etc/istio/config/mesh") => Ok(text.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        });
        Config::new(args, &environment)
    }
}

/// What clap would read with these variables in the environment. Those of the process that runs the test have no say:
/// each variable becomes its flag, and goes before the flags that were given, which win.
fn arguments(flags: &[&str], variables: &BTreeMap<String, String>) -> Args {
    let command = Args::augment_args(Command::new("tunnel"));
    let mut line = vec!["tunnel".to_owned()];
    for argument in command.get_arguments() {
        let variable = argument.get_env().and_then(|name| name.to_str());
        if let (Some(flag), Some(value)) =
            (argument.get_long(), variable.and_then(|name| variables.get(name)))
        {
            line.push(format!("--{flag}={value}"));
        }
    }
    line.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let matches = command
        .args_override_self(true)
        .mut_args(|argument| argument.env(None::<&str>))
        .try_get_matches_from(line)
        .expect("every value is text");
    Args::from_arg_matches(&matches).expect("every value is text")
}
