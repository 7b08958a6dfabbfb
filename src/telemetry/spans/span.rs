//! A connection as a span tells it, before it has the shape of the protocol: what was known anyway, owned.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_mesh::authorize::Verdict;
use adit_mesh::{Identity, Outcome, Service, Workload};

use crate::Direction;

/// Longest text that a span carries, in bytes: a policy and a rule have names of at most some hundred.
const LONGEST: usize = 1024;

/// As much of a text as a span carries.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// Moments of a connection. A connection that tries several endpoints passes some of them more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It is decided where the connection goes.
    Routed,
    /// The policies of the destination let it in.
    Authorized,
    /// A TCP connection stands: to the tunnel of the peer, or to the application.
    TcpConnected,
    /// The TLS handshake with the peer is over.
    TlsEstablished,
    /// The CONNECT is answered: received at the source, sent at the destination.
    ConnectAnswered,
    /// The first byte of the called has arrived.
    FirstByte,
}

/// The place of a span in its trace (W3C Trace Context).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The span itself.
    pub span: u64,
    /// The span of the other end's tunnel, where it came with the connection.
    pub parent: Option<u64>,
}

/// What a sampled connection notes while it lives.
#[derive(Clone, Debug)]
pub struct Recording {
    context: Context,
    started: SystemTime,
    phases: Vec<(Phase, Duration)>,
    tunnel_reused: Option<bool>,
}

impl Recording {
    /// Of a connection that begins now.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            started: SystemTime::now(),
            phases: Vec::new(),
            tunnel_reused: None,
        }
    }

    /// The connection passed a phase so long after its start.
    pub fn passed(&mut self, phase: Phase, after: Duration) {
        self.phases.push((phase, after));
    }

    /// Whether the tunnel that carries the connection was there before.
    pub fn tunnel_reused(&mut self, reused: bool) {
        self.tunnel_reused = Some(reused);
    }

    /// The span of a connection that has ended like this.
    pub fn end(self, direction: Direction, outcome: Outcome, duration: Duration) -> Span {
        Span {
            context: self.context,
            started: self.started,
            phases: self.phases,
            tunnel_reused: self.tunnel_reused,
            direction,
            outcome,
            duration,
            source: Party::default(),
            destination: Party::default(),
            tunnel: None,
            service: None,
            request_bytes: 0,
            response_bytes: 0,
            error: None,
            policy: None,
        }
    }
}

/// Everything that a span says. What is `None` is left out.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its place in its trace.
    pub context: Context,
    /// When the connection was accepted.
    pub started: SystemTime,
    /// From then to the end.
    pub duration: Duration,
    /// What it passed, and how long after the start.
    pub phases: Vec<(Phase, Duration)>,
    /// Which end we are.
    pub direction: Direction,
    /// How the connection ended.
    pub outcome: Outcome,
    /// What went wrong, in more detail than the outcome's own words.
    pub error: Option<Box<str>>,
    /// Who called.
    pub source: Party,
    /// Who was called.
    pub destination: Party,
    /// Where the tunnel ends that carried the connection.
    pub tunnel: Option<SocketAddr>,
    /// Whether that tunnel was there before.
    pub tunnel_reused: Option<bool>,
    /// The service that was addressed.
    pub service: Option<Arc<Service>>,
    /// Bytes from the caller to the called.
    pub request_bytes: u64,
    /// Bytes from the called to the caller.
    pub response_bytes: u64,
    /// What the policies said.
    pub policy: Option<Verdict>,
}

/// One end of a connection, as far as it is known.
#[derive(Clone, Default, Debug)]
pub struct Party {
    /// Its address.
    pub address: Option<SocketAddr>,
    /// The workload.
    pub workload: Option<Arc<Workload>>,
    /// The identity that it proved.
    pub identity: Option<Identity>,
}
