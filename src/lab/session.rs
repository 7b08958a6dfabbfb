//! A connection that lives: lines go out, the same lines come back.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use adit_net::Namespace;
use anyhow::{Context, bail};

use super::world::PATIENCE;

/// An open connection from a pod to an echo server.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Connects from a namespace.
    ///
    /// # Errors
    /// It cannot connect.
    pub fn open(namespace: &Namespace, address: SocketAddr) -> anyhow::Result<Self> {
        let stream = namespace
            .run(|| TcpStream::connect_timeout(&address, PATIENCE))
            .flatten()
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The client's own end.
    ///
    /// # Errors
    /// The kernel does not know it any more.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// Sends a line and reads the answer.
    ///
    /// # Errors
    /// The connection is broken or closed, or the answer is another.
    pub fn echo(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.stream.get_mut(), "{line}")?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer)? == 0 {
            bail!("closed");
        }
        if answer.trim_end() != line {
            bail!("{line:?} came back as {answer:?}");
        }
        Ok(())
    }

    /// Waits until the other side ends the connection, and returns how long that took.
    ///
    /// # Errors
    /// It stays open.
    pub fn wait_cut(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Ok(started.elapsed()),
            Ok(_) => bail!("{line:?} came unasked"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(started.elapsed()),
            Err(error) => Err(error).context("the connection is not cut"),
        }
    }
}
