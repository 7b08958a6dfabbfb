//! Where answers come from: a tunnel's administration server, the tunnel of a node of the running lab, or a saved dump.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_mesh::constants::ADMIN_PORT;
use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dump::Dump;
use crate::lab::{host, visit};

/// A tunnel is on this machine or behind a port that is forwarded to it: more than this is not slow but gone.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A dump of a hundred thousand workloads takes a tunnel a few seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Which tunnel.
#[derive(clap::Args, Clone, Debug)]
pub struct Tunnel {
    /// Where the tunnel's administration server listens: HOST:PORT
    #[arg(long, value_name = "ADDRESS", default_value_t = format!("127.0.0.1:{ADMIN_PORT}"))]
    admin: String,
    /// Ask the tunnel of this node of the running lab, such as node-1
    #[arg(long, value_name = "NODE")]
    lab: Option<String>,
}

/// Which tunnel, or which dump.
#[derive(clap::Args, Clone, Debug)]
pub struct Source {
    #[command(flatten)]
    tunnel: Tunnel,
    /// Read a saved config_dump instead of asking a tunnel; - for the standard input
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["admin", "lab"])]
    file: Option<PathBuf>,
}

/// Why a tunnel gave no answer.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// Nothing to talk to.
    #[error(
        "no tunnel answers at {0} ({1}); a tunnel's administration server listens on the loopback address of its own \
         network namespace: run this there, forward the port and say --admin, or read a saved dump with --file; for the \
         lab, say --lab node-1"
    )]
    Unreachable(String, std::io::Error),
    /// It is not what was expected.
    #[error("what listens at {0} is no administration server of a tunnel: {1}")]
    NotHttp(String, hyper::Error),
    /// It takes too long.
    #[error("{0} has not answered within {1:?}")]
    Late(String, Duration),
    /// It does not have what is asked for.
    #[error("{0} has no page {1}: it is no tunnel of Adit, or one of another version")]
    NoPage(String, &'static str),
    /// It refuses.
    #[error("{0} answers {1} to {2}: {3}")]
    Refused(String, StatusCode, &'static str, String),
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What it says.
    pub body: Bytes,
}

impl Answer {
    /// The first line that is not empty, for an error message.
    pub fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.lines().find(|line| !line.trim().is_empty());
        line.unwrap_or("(nothing)").trim().chars().take(500).collect()
    }
}

impl Source {
    /// The dump.
    ///
    /// # Errors
    /// It cannot be had, or it is none.
    pub fn dump(&self) -> anyhow::Result<Dump> {
        const PAGE: &str = "/config_dump";
        let (bytes, place) = match &self.file {
            Some(file) => (read(file)?.into(), file.display().to_string()),
            None => {
                let answer = self.tunnel.get(PAGE, "")?;
                let place = self.tunnel.admin.clone();
                if answer.status == StatusCode::NOT_FOUND {
                    return Err(NoAnswer::NoPage(place, PAGE).into());
                }
                if answer.status != StatusCode::OK {
                    return Err(NoAnswer::Refused(place, answer.status, PAGE, answer.words()).into());
                }
                (answer.body, format!("{place}{PAGE}"))
            }
        };
        Dump::parse(&bytes).with_context(|| format!("{place} is no dump of a tunnel"))
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().read_to_end(&mut bytes).map(drop),
        false => std::fs::read(file).map(|read| bytes = read),
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    Ok(bytes)
}

impl Tunnel {
    /// What listens at an address; with a place of the running lab, there.
    pub fn at(address: String, lab: Option<String>) -> Self {
        Self { admin: address, lab }
    }

    /// Where it is, for messages.
    pub fn place(&self) -> &str {
        &self.admin
    }

    /// Asks for a page and its query, and prefers JSON. Must be called while the process has one thread: with `--lab` it
    /// moves into the network of that node's tunnel.
    ///
    /// # Errors
    /// There is no such lab or node, or no answer of any kind.
    pub fn get(&self, page: &'static str, query: &str) -> anyhow::Result<Answer> {
        self.enter()?;
        self.ask(page, query)
    }

    /// Asks for several pages, as [`get`](Self::get) does.
    ///
    /// # Errors
    /// There is no such lab or node, or no answer of any kind to one of them.
    pub fn get_all<const N: usize>(&self, pages: [&'static str; N]) -> anyhow::Result<Vec<Answer>> {
        self.enter()?;
        pages.into_iter().map(|page| self.ask(page, "")).collect()
    }

    /// Once there, the lab's door is not in sight any more: this can be done once.
    fn enter(&self) -> anyhow::Result<()> {
        if let Some(node) = &self.lab {
            host::be_single_threaded()?;
            visit::enter_network(node)?;
        }
        Ok(())
    }

    fn ask(&self, page: &'static str, query: &str) -> anyhow::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let ask = async { timeout(ANSWER_WITHIN, get(&self.admin, page, query)).await };
        let answered = runtime.block_on(ask);
        match answered {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(NoAnswer::Late(self.admin.clone(), ANSWER_WITHIN).into()),
        }
    }
}

async fn get(address: &str, page: &str, query: &str) -> Result<Answer, NoAnswer> {
    let unreachable = |error| NoAnswer::Unreachable(address.to_owned(), error);
    let not_http = |error| NoAnswer::NotHttp(address.to_owned(), error);
    let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address))
        .await
        .map_err(|_| NoAnswer::Late(address.to_owned(), CONNECT_WITHIN))?
        .map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(not_http)?;
    // Its error is also that of the request.
    tokio::spawn(connection);
    let request = Request::get(format!("{page}{query}"))
        .header(HOST, address)
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| unreachable(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
    let response = sender.send_request(request).await.map_err(not_http)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(not_http)?.to_bytes();
    Ok(Answer { status, body })
}

/// A query of these pairs, percent-encoded.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        text.bytes()
            .map(|byte| match plain(byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    format!("?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_arrives_as_it_was_meant() {
        let query = query(&[("source", "bank/web & co"), ("destination", "[fd00::1]:80")]);
        assert_eq!(
            query,
            "?source=bank%2Fweb%20%26%20co&destination=%5Bfd00%3A%3A1%5D%3A80"
        );
    }
}
