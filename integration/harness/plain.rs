//! Applications in the hands of a scenario: sockets in a pod, with nothing of ours between them and the kernel.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use adit::lab::observe;
use adit::lab::world::PATIENCE;
use adit_net::Namespace;
use anyhow::{Context, ensure};

/// Bytes that differ at every place of a long stream, so that a loss, a repetition or an exchange is noticed.
#[derive(Clone, Debug)]
pub struct Pattern(u64);

impl Pattern {
    /// One of many.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Fills a buffer with the next bytes; its length is a multiple of 8.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_exact_mut(8) {
            // Xorshift, which visits every state but 0.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes());
        }
    }
}

/// How much [`send_pattern`] and [`check_pattern`] move at a time.
const CHUNK: usize = 64 * 1024;

/// Sends so many chunks of a pattern.
///
/// # Errors
/// The connection breaks.
pub fn send_pattern(mut stream: &TcpStream, mut pattern: Pattern, chunks: usize) -> anyhow::Result<()> {
    let mut buffer = vec![0; CHUNK];
    for _ in 0..chunks {
        pattern.fill(&mut buffer);
        stream.write_all(&buffer)?;
    }
    Ok(())
}

/// Receives so many chunks, and checks every byte of them.
///
/// # Errors
/// The connection breaks, or the bytes are others.
pub fn check_pattern(mut stream: &TcpStream, mut pattern: Pattern, chunks: usize) -> anyhow::Result<()> {
    let (mut expected, mut received) = (vec![0; CHUNK], vec![0; CHUNK]);
    for number in 0..chunks {
        pattern.fill(&mut expected);
        stream
            .read_exact(&mut received)
            .with_context(|| format!("chunk {number}"))?;
        ensure!(received == expected, "chunk {number} is not what was sent");
    }
    Ok(())
}

/// Reads until the other side has finished.
///
/// # Errors
/// It breaks the connection instead.
pub fn read_to_end(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(all)
}

/// Waits until the other side resets the connection.
///
/// # Errors
/// It ends otherwise, or not at all.
pub fn wait_reset(mut stream: &TcpStream) -> anyhow::Result<()> {
    match stream.read(&mut [0; 64]) {
        Ok(length) => anyhow::bail!("{length} bytes instead of a reset"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error).context("no reset"),
    }
}

/// Listens on a port of a namespace, for both families where it has both.
///
/// # Errors
/// The port is taken.
pub fn listen(namespace: &Namespace, port: u16) -> anyhow::Result<TcpListener> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let bind = || TcpListener::bind(both).or_else(|_| TcpListener::bind(v4));
    let listener = namespace.run(bind).flatten()?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Waits for a client.
///
/// # Errors
/// None comes in time.
pub fn accept(listener: &TcpListener) -> anyhow::Result<(TcpStream, SocketAddr)> {
    let (stream, client) = observe::eventually("a connection", || match listener.accept() {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok((stream, SocketAddr::new(client.ip().to_canonical(), client.port())))
}

/// An application that answers every connection with the same page. It ends when the value is dropped.
#[derive(Debug)]
pub struct Pages {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pages {
    /// Serves on a port of a namespace, as the lab's application of that name would.
    ///
    /// # Errors
    /// The port is taken.
    pub fn serve(namespace: &Namespace, port: u16, name: &str) -> anyhow::Result<Self> {
        let listener = listen(namespace, port)?;
        let page =
            format!("HTTP/1.0 200 OK\r\n\r\n{{\"app\":\"{name}\",\"peer\":\"0.0.0.0:0\",\"target\":\"/\"}}");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that breaks off is its own affair.
                    Ok((stream, _)) => drop(answer(&stream, &page)),
                    Err(_) => std::thread::sleep(observe::INTERVAL),
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of its thread shows in the scenario as a page that is missing.
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: &TcpStream, page: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // The request is read, so that closing does not become a reset.
    let _request = stream.read(&mut [0; 4096])?;
    stream.write_all(page.as_bytes())
}
