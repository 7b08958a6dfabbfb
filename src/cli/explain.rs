//! `adit explain`: where would this connection go, may it, and why. The tunnel answers, with the values of the very
//! functions that decide about real connections.

use std::process::ExitCode;

use anyhow::{Context, bail};
use hyper::StatusCode;
use serde_json::Value;

use super::ask::{NoAnswer, Tunnel, query};
use super::connections::Direction;
use super::output::{Format, print, written};

/// What is asked.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Who connects: a pod (NAME, NAMESPACE/NAME or its address), or the address of a client outside of the mesh
    source: String,
    /// What is called: a service, a pod or an address, as NAME[:PORT]; a service's only port may be left out
    destination: String,
    /// Ask the client's end or the destination's; else the client's if it is in the mesh
    #[arg(long, value_enum)]
    direction: Option<Direction>,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    tunnel: Tunnel,
}

const PAGE: &str = "/explain";

/// Asks, and says what was answered. 0: the connection may be made, 1: it may not.
///
/// # Errors
/// There is no answer, or the tunnel alone cannot tell.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut pairs = vec![("source", &*args.source), ("destination", &*args.destination)];
    if let Some(direction) = args.direction {
        pairs.push(("direction", direction.key()));
    }
    let answer = args.tunnel.get(PAGE, &query(&pairs))?;
    let place = args.tunnel.place().to_owned();
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(NoAnswer::NoPage(place, PAGE).into()),
        // The question is wrong: the answer says what about it.
        StatusCode::BAD_REQUEST => bail!("{}", answer.words()),
        status => return Err(NoAnswer::Refused(place, status, PAGE, answer.words()).into()),
    }
    let explained: Value = serde_json::from_slice(&answer.body)
        .with_context(|| format!("{place} answers {PAGE} with something that is not JSON"))?;
    let Some(text) = explained["text"].as_str() else {
        bail!("{place} answers {PAGE} in a way that this version does not understand");
    };
    match args.output {
        Format::Short => print(text)?,
        format => print(&written(&explained, format)?)?,
    }
    match explained["allowed"].as_bool() {
        Some(true) => Ok(ExitCode::SUCCESS),
        Some(false) => Ok(ExitCode::from(1)),
        None => bail!("whether it may is decided by the waypoint, which this tunnel cannot ask"),
    }
}
