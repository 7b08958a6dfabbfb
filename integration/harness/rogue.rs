//! Peers that break the rules: connections whose bytes, TLS records and HTTP/2 frames are the scenario's own.
//!
//! Nothing of the tunnel's own rooms is between a rogue and the wire: rustls' blocking session, and frames written by
//! hand. It does what no well-behaved peer does, on either end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit::lab::observe;
use adit_mesh::Identity;
use adit_net::Namespace;
use adit_pki::Credentials;
use anyhow::{Context, ensure};
use rustls::{ClientConnection, ServerConnection, StreamOwned};

pub mod frames;

use frames::{PREFACE, SETTINGS};

/// How long a rogue waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);
/// Frames of a flood that are written before the answers to them are read.
const BATCH: u32 = 256;

/// How often a rogue that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Which end of a connection it is, with what it needs for TLS.
#[derive(Clone, Debug)]
pub enum Side {
    /// It calls a pod that should be this.
    Client(Identity),
    /// It is called.
    Server,
}

/// A connection in the hands of a scenario.
pub struct Rogue {
    line: Line,
    side: Side,
    credentials: Arc<Credentials>,
    /// It reads no more.
    deaf: bool,
}

/// What it speaks over. There is one descriptor of it, so that closing it is the end.
enum Line {
    Bare(Wire),
    Secured(Box<dyn Tls>),
    Gone,
}

impl Rogue {
    /// Connects from a namespace to the HBONE port of a pod; TLS is still to come.
    ///
    /// # Errors
    /// It cannot connect.
    pub fn call(
        namespace: &Namespace,
        address: SocketAddr,
        credentials: Arc<Credentials>,
        expected: &str,
    ) -> anyhow::Result<Self> {
        let connect = || TcpStream::connect_timeout(&address, PATIENCE);
        let socket = namespace
            .run(connect)
            .flatten()
            .with_context(|| format!("cannot connect to {address}"))?;
        let side = Side::Client(expected.parse()?);
        Ok(Self::new(socket, side, credentials, Arc::default())?)
    }

    fn new(
        socket: TcpStream,
        side: Side,
        credentials: Arc<Credentials>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let line = Line::Bare(Wire {
            socket,
            stop,
            waits: true,
        });
        Ok(Self {
            line,
            side,
            credentials,
            deaf: false,
        })
    }

    /// Sends bytes: within TLS once there is a session, and bare before.
    ///
    /// # Errors
    /// The peer does not take them.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.line {
            Line::Secured(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            Line::Bare(wire) => wire.write_all(bytes),
            Line::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Sends the first half of its first flight of TLS and no more; a server hears the client out before.
    ///
    /// # Errors
    /// The peer does not speak TLS.
    pub fn half_a_handshake(&mut self) -> anyhow::Result<()> {
        let mut flight = Vec::new();
        let Line::Bare(wire) = &mut self.line else {
            anyhow::bail!("the handshake is over");
        };
        match &self.side {
            Side::Client(expected) => client(&self.credentials, expected)?.write_tls(&mut flight)?,
            Side::Server => {
                let mut session = ServerConnection::new(self.credentials.server_config())?;
                while !session.wants_write() {
                    session.read_tls(wire)?;
                    session.process_new_packets()?;
                }
                session.write_tls(&mut flight)?
            }
        };
        flight.truncate(flight.len() / 2);
        Ok(wire.write_all(&flight)?)
    }

    /// Does TLS as it should be done.
    ///
    /// # Errors
    /// The peer does not.
    pub fn shake_hands(&mut self) -> anyhow::Result<()> {
        let Line::Bare(mut wire) = std::mem::replace(&mut self.line, Line::Gone) else {
            anyhow::bail!("the handshake is over");
        };
        self.line = Line::Secured(match &self.side {
            Side::Client(expected) => {
                let mut session = client(&self.credentials, expected)?;
                while session.is_handshaking() {
                    session.complete_io(&mut wire)?;
                }
                Box::new(StreamOwned::new(session, wire))
            }
            Side::Server => {
                let mut session = ServerConnection::new(self.credentials.server_config())?;
                while session.is_handshaking() {
                    session.complete_io(&mut wire)?;
                }
                Box::new(StreamOwned::new(session, wire))
            }
        });
        Ok(())
    }

    /// Does TLS as a client should, but for a pause in the middle of its first flight, which lasts until `meanwhile` is over.
    ///
    /// # Errors
    /// The peer does not, or `meanwhile` fails.
    pub fn shake_hands_around(
        &mut self,
        meanwhile: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (Line::Bare(mut wire), Side::Client(expected)) =
            (std::mem::replace(&mut self.line, Line::Gone), &self.side)
        else {
            anyhow::bail!("no client before its handshake");
        };
        let mut session = client(&self.credentials, expected)?;
        let mut flight = Vec::new();
        session.write_tls(&mut flight)?;
        let (first, rest) = flight.split_at(flight.len() / 2);
        wire.write_all(first)?;
        meanwhile()?;
        wire.write_all(rest)?;
        while session.is_handshaking() {
            session.complete_io(&mut wire)?;
        }
        self.line = Line::Secured(Box::new(StreamOwned::new(session, wire)));
        Ok(())
    }

    /// TLS, and the beginning of HTTP/2 as it should be: a client's preface, which a server hears out, and SETTINGS
    /// of these (identifier, value) pairs.
    ///
    /// # Errors
    /// The peer does not.
    pub fn greet(&mut self, settings: &[(u16, u32)]) -> anyhow::Result<()> {
        self.shake_hands()?;
        match self.side {
            Side::Client(_) => self.raw(PREFACE)?,
            Side::Server => {
                let mut preface = [0; PREFACE.len()];
                self.session()?.read_exact(&mut preface)?;
            }
        }
        let pair = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
        let payload: Vec<u8> = settings.iter().flat_map(pair).collect();
        Ok(self.send(SETTINGS, 0, 0, &payload)?)
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// The peer does not take it.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.raw(&frames::frame(kind, flags, stream, payload))
    }

    /// Sends the frames that `make` makes of 0, 1, 2 and so on, and reads whatever comes back meanwhile, so that it is
    /// not its own back-pressure that ends it.
    ///
    /// # Errors
    /// The peer has ended the connection, which is what a flood is for.
    pub fn flood(&mut self, count: u32, make: impl Fn(u32) -> Vec<u8>) -> io::Result<()> {
        for first in (0..count).step_by(BATCH as usize) {
            let frames: Vec<u8> = (first..count.min(first + BATCH)).flat_map(&make).collect();
            self.raw(&frames)?;
            self.drain()?;
        }
        Ok(())
    }

    /// Takes what has come, and does not wait.
    fn drain(&mut self) -> io::Result<()> {
        let session = self.session()?;
        session.wire().wait(false)?;
        let ended = loop {
            match session.read(&mut [0; 16 * 1024]) {
                Ok(0) => break Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        session.wire().wait(true)?;
        ended
    }

    /// Waits for the next frame of this kind that is not an acknowledgement; what comes before it is passed over.
    ///
    /// # Errors
    /// The connection is over.
    pub fn expect(&mut self, kind: u8) -> io::Result<frames::Head> {
        loop {
            let mut head = [0; frames::HEAD];
            let session = self.session()?;
            session.read_exact(&mut head)?;
            let head = frames::Head::parse(&head);
            session.read_exact(&mut vec![0; head.length])?;
            if head.kind == kind && (kind != SETTINGS || head.flags & frames::ACK == 0) {
                return Ok(head);
            }
        }
    }

    fn session(&mut self) -> io::Result<&mut Box<dyn Tls>> {
        match &mut self.line {
            Line::Secured(tls) => Ok(tls),
            Line::Bare(_) | Line::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Breaks the connection off by a reset.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn reset(&mut self) -> io::Result<()> {
        match &mut self.line {
            Line::Secured(tls) => adit_net::socket::reset(&tls.wire().socket)?,
            Line::Bare(wire) => adit_net::socket::reset(&wire.socket)?,
            Line::Gone => {}
        }
        self.line = Line::Gone;
        Ok(())
    }

    /// Reads no more from now on, so that it cannot see the end either: [`Rogue::wait_end`] does not wait.
    pub const fn stop_reading(&mut self) {
        self.deaf = true;
    }

    /// Keeps the connection, reads nothing of it, and returns when it is told to stop.
    pub fn hold(&mut self) {
        let stop = match &mut self.line {
            Line::Secured(tls) => tls.wire().stop.clone(),
            Line::Bare(wire) => wire.stop.clone(),
            Line::Gone => return,
        };
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(observe::INTERVAL);
        }
    }

    /// Reads until the peer has ended the connection, however.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_end(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 16 * 1024];
        while Instant::now() < deadline && !self.deaf {
            let read = match &mut self.line {
                Line::Secured(tls) => tls.read(&mut buffer),
                Line::Bare(wire) => wire.read(&mut buffer),
                Line::Gone => return Ok(()),
            };
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(_) => return Ok(()),
            }
        }
        ensure!(
            self.deaf,
            "the tunnel has not ended the connection within {PATIENCE:?}"
        );
        Ok(())
    }
}

fn client(credentials: &Credentials, expected: &Identity) -> anyhow::Result<ClientConnection> {
    let config = credentials.client_config(&[expected.clone()].into());
    Ok(ClientConnection::new(config, adit_pki::tls::unnamed())?)
}

/// A socket whose reader can be stopped.
struct Wire {
    socket: TcpStream,
    stop: Arc<AtomicBool>,
    /// Whether reading waits.
    waits: bool,
}

impl Wire {
    fn wait(&mut self, waits: bool) -> io::Result<()> {
        self.waits = waits;
        self.socket.set_nonblocking(!waits)
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.socket.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.waits => {
                    if self.stop.load(Ordering::Relaxed) {
                        return Err(ErrorKind::ConnectionAborted.into());
                    }
                    if Instant::now() > deadline {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                read => return read,
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Either side of TLS.
trait Tls: Read + Write + Send {
    fn wire(&mut self) -> &mut Wire;
}

impl Tls for StreamOwned<ClientConnection, Wire> {
    fn wire(&mut self) -> &mut Wire {
        &mut self.sock
    }
}

impl Tls for StreamOwned<ServerConnection, Wire> {
    fn wire(&mut self) -> &mut Wire {
        &mut self.sock
    }
}

/// What a rogue server does with each that connects.
pub type Script = fn(&mut Rogue) -> anyhow::Result<()>;

/// A rogue on the HBONE port of a pod. Its connections end with the value.
#[derive(Debug)]
pub struct Lair {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lair {
    /// Listens, and plays the script with each connection, on a thread of its own; then holds the connection.
    ///
    /// # Errors
    /// The port is taken.
    pub fn open(
        namespace: &Namespace,
        port: u16,
        credentials: Arc<Credentials>,
        script: Script,
    ) -> anyhow::Result<Self> {
        let listener = super::plain::listen(namespace, port)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Ok((socket, _)) = listener.accept() else {
                    std::thread::sleep(observe::INTERVAL);
                    continue;
                };
                if let Ok(rogue) = Rogue::new(socket, Side::Server, credentials.clone(), stopped.clone()) {
                    threads.push(std::thread::spawn(move || serve(rogue, script)));
                }
            }
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

fn serve(mut rogue: Rogue, script: Script) {
    // Scripts fail when the tunnel has had enough, and the scenario asks the tunnel about that.
    let _played = script(&mut rogue);
    let _ended = rogue.wait_end();
}

impl Drop for Lair {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of its threads shows in the scenario as a fault that does not come.
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}
