//! Bytes by the million: an application that takes so many of a pattern and sends as many of another as it is asked for,
//! and the client that asks.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use adit::lab::observe;
use adit::lab::world::PATIENCE;
use adit_net::Namespace;
use anyhow::Context;

use crate::harness::plain::{self, Pattern, check_pattern, send_pattern};

/// Where it listens.
pub const PORT: u16 = 9100;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// What the pattern is made of.
    pub seed: u64,
    /// Chunks of 64 KiB from the client.
    pub up: u16,
    /// Chunks of 64 KiB to the client.
    pub down: u16,
}

impl Order {
    const LENGTH: usize = 12;

    /// Sends it.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn write(self, mut stream: &TcpStream) -> io::Result<()> {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&self.seed.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.up.to_be_bytes());
        bytes[10..].copy_from_slice(&self.down.to_be_bytes());
        stream.write_all(&bytes)
    }

    fn read(mut stream: &TcpStream) -> io::Result<Self> {
        let (mut seed, mut up, mut down) = ([0; 8], [0; 2], [0; 2]);
        stream.read_exact(&mut seed)?;
        stream.read_exact(&mut up)?;
        stream.read_exact(&mut down)?;
        Ok(Self {
            seed: u64::from_be_bytes(seed),
            up: u16::from_be_bytes(up),
            down: u16::from_be_bytes(down),
        })
    }

    /// The pattern of each direction.
    fn patterns(self) -> (Pattern, Pattern) {
        (Pattern::new(self.seed), Pattern::new(!self.seed))
    }
}

/// Gives an order and compares every byte that comes.
///
/// # Errors
/// The connection breaks, or the bytes are others.
pub fn exchange(from: &Namespace, to: SocketAddr, order: Order) -> anyhow::Result<()> {
    let stream = connect(from, to)?;
    order.write(&stream)?;
    let (up, down) = order.patterns();
    send_pattern(&stream, up, order.up.into()).context("sending")?;
    check_pattern(&stream, down, order.down.into()).context("receiving")?;
    Ok(())
}

/// A connection from a namespace, which waits for nothing longer than anybody would.
///
/// # Errors
/// It cannot be made.
pub fn connect(from: &Namespace, to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = from.run(|| TcpStream::connect_timeout(&to, PATIENCE)).flatten()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The application. It takes no more orders when the value is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens in a pod.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(namespace: &Namespace) -> anyhow::Result<Self> {
        let listener = plain::listen(namespace, PORT)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that breaks off is its own affair; one that cannot be served sees that itself.
                    Ok((stream, _)) => drop(std::thread::spawn(move || serve(&stream))),
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

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of its thread shows as orders that fail.
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(stream: &TcpStream) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let order = Order::read(stream)?;
    let (up, down) = order.patterns();
    check_pattern(stream, up, order.up.into())?;
    send_pattern(stream, down, order.down.into())
}
