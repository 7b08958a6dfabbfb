//! A client in a pod that gives its connection the tunnel's own mark, so that the pod's rules take it for the tunnel's and
//! let it leave uncaptured.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use adit::lab::world::PATIENCE;
use adit_net::Namespace;
use adit_net::constants::TUNNEL_MARK;
use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use socket2::{Domain, Protocol, Socket, Type};

/// What the client is called as a part of the executable.
pub const MARKED: &str = "marked-client";

/// The part's arguments.
#[derive(Parser, Debug)]
pub struct Args {
    /// Whom to call.
    address: SocketAddr,
}

/// What the client may do beside what everybody may.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// Nothing.
    None,
    /// What Kubernetes gives to every container unless it is told not to.
    NetRaw,
}

/// What became of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was answered.
    Answered,
    /// It was connected and got no answer.
    Refused,
    /// The kernel does not let it set the mark.
    Unmarked,
}

impl Fate {
    const ALL: [(Self, u8); 3] = [(Self::Answered, 10), (Self::Refused, 11), (Self::Unmarked, 12)];
}

/// Calls an address from a network namespace as a process with no capability but this one.
///
/// # Errors
/// It cannot be started, or fails in another way than those it is made to find out about.
pub fn call(from: &Namespace, to: SocketAddr, capability: Capability) -> anyhow::Result<Fate> {
    let bounds = match capability {
        Capability::None => "-all",
        Capability::NetRaw => "-all,+net_raw",
    };
    let mut command = std::process::Command::new("setpriv");
    command
        .args([
            "--bounding-set",
            bounds,
            "--inh-caps=-all",
            "--ambient-caps=-all",
            "--",
        ])
        .arg(std::env::current_exe()?)
        .args([MARKED, &to.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = adit_net::process::spawn(Some(from), command)
        .context("setpriv (of util-linux) cannot be run")?
        .wait_with_output()?;
    let code = output.status.code();
    let known = Fate::ALL.into_iter().find(|(_, of)| code == Some(i32::from(*of)));
    let (fate, _) = known.with_context(|| format!("the marked client: {output:?}"))?;
    Ok(fate)
}

/// Is the client; its exit status says what became of it.
///
/// # Errors
/// Whatever is not a [`Fate`].
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let fate = attempt(args.address)?;
    let code = Fate::ALL.into_iter().find(|(one, _)| *one == fate);
    code.map(|(_, code)| code).context("a fate without a number")
}

fn attempt(address: SocketAddr) -> anyhow::Result<Fate> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    match socket.set_mark(TUNNEL_MARK) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Fate::Unmarked),
        outcome => outcome?,
    }
    match ask(socket, address) {
        Ok(answer) if answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200") => {
            Ok(Fate::Answered)
        }
        Ok(answer) if answer.is_empty() => Ok(Fate::Refused),
        Ok(answer) => bail!("{:?} came back", String::from_utf8_lossy(&answer)),
        // It may come as early as the connect returns.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            Ok(Fate::Refused)
        }
        Err(error) => Err(error.into()),
    }
}

fn ask(socket: Socket, address: SocketAddr) -> std::io::Result<Vec<u8>> {
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
