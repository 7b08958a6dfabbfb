//! The commands of an operator: what does this tunnel know, what goes on in it, and what would it decide? Names and columns
//! are those of `istioctl ztunnel-config`, and a stock ztunnel is shown as well as a tunnel of Adit.

use std::process::ExitCode;

use clap::Subcommand;
use time::OffsetDateTime;

use super::ask::Source;
use super::dump::Dump;
use super::output::{Format, View, print};
use super::{certificates, connections, explain, policies, services, status, workloads};

/// What an operator wants to know.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Say where a connection would go, whether it may, and why
    ///
    /// The exit status is 0 if the connection may be made, 1 if it may not, and 2 if there is no answer.
    Explain(explain::Args),
    /// Say who is connected to the control plane and how far each has come, and which objects do not do what they say
    ///
    /// The exit status is 0 if all is well, 1 if not, and 2 if there is no answer.
    Status(status::Args),
    /// A list
    #[command(flatten)]
    List(List),
}

/// A list of what is in a tunnel's dump.
#[derive(Subcommand, Clone, Debug)]
pub enum List {
    /// List the live connections of a node's pods
    #[command(visible_alias = "cons", alias = "connection")]
    Connections(Args<connections::Filter>),
    /// List the certificates that a tunnel holds for its node's pods
    #[command(visible_aliases = ["certs", "cert"], alias = "certificate")]
    Certificates(Args<certificates::Filter>),
    /// List the workloads that a tunnel knows
    #[command(alias = "workload")]
    Workloads(Args<workloads::Filter>),
    /// List the services that a tunnel knows
    #[command(visible_alias = "svc", alias = "service")]
    Services(Args<services::Filter>),
    /// List the authorization policies that a tunnel knows
    #[command(visible_alias = "pol", alias = "policy")]
    Policies(Args<policies::Filter>),
}

/// What every list takes beside its filter.
#[derive(clap::Args, Clone, Debug)]
pub struct Args<F: clap::Args> {
    #[command(flatten)]
    filter: F,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    source: Source,
}

/// Does what is asked. Must be called while the process has one thread.
pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::Explain(args) => explain::run(args).unwrap_or_else(|error| {
            eprintln!("adit: {error:#}");
            // 1 is the answer "no".
            ExitCode::from(2)
        }),
        Command::Status(args) => status::run(args).unwrap_or_else(|error| {
            eprintln!("adit: {error:#}");
            // 1 is the answer "no".
            ExitCode::from(2)
        }),
        Command::List(list) => match list.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("adit: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

impl List {
    fn print(&self) -> anyhow::Result<()> {
        let dump = self.source().dump()?;
        print(&self.answer(&dump, OffsetDateTime::now_utc())?)
    }

    fn source(&self) -> &Source {
        match self {
            Self::Connections(args) => &args.source,
            Self::Certificates(args) => &args.source,
            Self::Workloads(args) => &args.source,
            Self::Services(args) => &args.source,
            Self::Policies(args) => &args.source,
        }
    }

    /// What is written about a dump at this time.
    ///
    /// # Errors
    /// The dump does not tell of it, or nothing is as it was asked for.
    pub fn answer(&self, dump: &Dump, now: OffsetDateTime) -> anyhow::Result<String> {
        match self {
            Self::Connections(args) => args.answer(connections::view(dump, &args.filter)?),
            Self::Certificates(args) => args.answer(certificates::view(dump, &args.filter, now)?),
            Self::Workloads(args) => args.answer(workloads::view(dump, &args.filter)?),
            Self::Services(args) => args.answer(services::view(dump, &args.filter)?),
            Self::Policies(args) => args.answer(policies::view(dump, &args.filter)?),
        }
    }
}

impl<F: clap::Args> Args<F> {
    fn answer(&self, view: View) -> anyhow::Result<String> {
        view.written(self.output)
    }
}
