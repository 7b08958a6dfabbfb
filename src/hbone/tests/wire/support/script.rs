//! A peer whose HTTP/2 frames are written by hand, over TLS that shares nothing with this room: rustls' own blocking
//! stream on a thread. It does what no well-behaved peer does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
/// The flag of HEADERS that carry what PRIORITY does.
pub const WITH_PRIORITY: u8 = 32;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Either side of TLS.
pub trait Tls: Read + Write + Send {}

impl<T: Read + Write + Send> Tls for T {}

/// A connection that says what the script says.
pub struct Script(Box<dyn Tls>);

/// Listens, and runs `script` on the first connection, after TLS.
pub fn serve(
    config: Arc<ServerConfig>,
    script: impl FnOnce(Script) + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        limit(&socket);
        let tls = ServerConnection::new(config).expect("a session");
        script(Script(Box::new(StreamOwned::new(tls, socket))));
    });
    (address, thread)
}

/// Connects, and runs `script` after TLS; its preface and SETTINGS are sent already.
pub fn call(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    script: impl FnOnce(Script) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut peer = Script::connect_to(address, config);
        peer.raw(PREFACE);
        peer.send(SETTINGS, 0, 0, &[]);
        script(peer);
    })
}

/// A script that waits for what never comes fails instead of hanging.
fn limit(socket: &TcpStream) {
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    socket.set_nodelay(true).expect("an option");
}

impl Script {
    /// Connects, with TLS and nothing in it.
    pub fn connect_to(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).expect("a server");
        limit(&socket);
        let tls = ClientConnection::new(config, adit_pki::tls::unnamed()).expect("a session");
        Self(Box::new(StreamOwned::new(tls, socket)))
    }

    /// Bytes that are no frame.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the peer reads");
        self.0.flush().expect("the peer reads");
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let frame = frame(kind, flags, stream, payload);
        self.raw(&frame);
    }

    /// Reads the client's preface and says nothing.
    pub fn preface(&mut self) {
        let mut preface = [0; PREFACE.len()];
        self.0.read_exact(&mut preface).expect("a preface");
        assert_eq!(preface, PREFACE);
    }

    /// Reads the client's preface, answers with SETTINGS of these (identifier, value) pairs.
    pub fn greet(&mut self, settings: &[(u16, u32)]) {
        self.preface();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        self.send(SETTINGS, 0, 0, &payload);
    }

    /// The next frame; `None` when the connection is over.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// The next frame of this kind that is not an acknowledgement; SETTINGS on the way are acknowledged.
    pub fn expect(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self
                .next()
                .unwrap_or_else(|| panic!("no frame of kind {kind} before the end"));
            let acknowledgement = frame.flags & ACK != 0 && matches!(frame.kind, SETTINGS | PING);
            if frame.kind == SETTINGS && !acknowledgement {
                self.send(SETTINGS, ACK, 0, &[]);
            }
            if frame.kind == kind && !acknowledgement {
                return frame;
            }
        }
    }

    /// The next frame about this stream.
    pub fn next_about(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self
                .next()
                .unwrap_or_else(|| panic!("nothing about stream {stream} before the end"));
            if frame.stream == stream {
                return frame;
            }
        }
    }

    /// The next answer to a PING.
    pub fn pong(&mut self) -> Frame {
        loop {
            let frame = self.next().expect("no answer to a PING before the end");
            if frame.kind == PING {
                return frame;
            }
        }
    }

    /// Reads until the connection is over; what came.
    pub fn drain(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// A CONNECT to 10.0.0.2:8080.
    pub fn connect(&mut self, stream: u32) {
        let block = [literal(2, "CONNECT"), literal(1, "10.0.0.2:8080")].concat();
        self.send(HEADERS, END_HEADERS, stream, &block);
    }

    /// An answer of status 200.
    pub fn answer(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS, stream, &[0x88]);
    }
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short payload")
        .to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header field with a name of the static table (RFC 7541, appendix A) and a literal value.
pub fn literal(name: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("a short value");
    assert!(name < 15 && length < 127);
    [&[name, length], value.as_bytes()].concat()
}

/// Waits for a script, and fails if it did.
pub async fn joined(thread: JoinHandle<()>) {
    let end = tokio::task::spawn_blocking(move || thread.join()).await;
    assert!(end.expect("a join").is_ok(), "the script failed");
}
