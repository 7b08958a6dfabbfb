//! The TLS handshake, and why it failed.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adit_mesh::Outcome;
use futures_util::future::poll_fn;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Flush, Inner, Transport};
use crate::failure::Failure;

/// Which end of the handshake we are.
pub enum Role {
    /// The one that connects.
    Client(Arc<ClientConfig>),
    /// The one that accepts.
    Server(Arc<ServerConfig>),
}

/// The certificates that a peer proved itself with, the leaf first.
pub type PeerChain = Rc<[CertificateDer<'static>]>;

/// Runs the handshake on `socket`, at most for `within`.
///
/// # Errors
/// [`Outcome::TlsTimeout`], or what [`adit_pki::outcome_of`] makes of rustls' error; a socket that breaks in the
/// middle counts as [`Outcome::TlsFailed`].
pub async fn handshake(
    socket: TcpStream,
    role: Role,
    within: Duration,
) -> Result<(Transport, Flush, PeerChain), Failure> {
    let tls = match role {
        // The peer is known by its SPIFFE identity, never by a name: there is no SNI to send.
        Role::Client(config) => ClientConnection::new(config, adit_pki::tls::unnamed()).map(Connection::from),
        Role::Server(config) => ServerConnection::new(config).map(Connection::from),
    }
    .map_err(|error| Failure::new(Outcome::TlsFailed, error))?;
    let (transport, flush) = Transport::new(socket, tls);
    match timeout(within, poll_fn(|cx| poll_handshake(&flush, cx))).await {
        Err(_) => Err(Failure::new(
            Outcome::TlsTimeout,
            format!("no end of the TLS handshake within {within:?}"),
        )),
        Ok(Err(error)) => Err(failure_of(&flush, &error)),
        Ok(Ok(())) => {
            let chain = flush
                .0
                .borrow()
                .tls
                .peer_certificates()
                .unwrap_or_default()
                .into();
            Ok((transport, flush, chain))
        }
    }
}

fn poll_handshake(flush: &Flush, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut inner = flush.0.borrow_mut();
    let state = inner.poll_handshake(cx);
    inner.end_turn();
    state
}

impl Inner {
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_send(cx));
            if self.unread.is_empty() {
                ready!(self.poll_fill(cx))?;
                if self.end_of_input {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            if let Err(error) = self.feed() {
                // The alert that tells the peer why; if it cannot be sent at once, the error still counts.
                let _ = self.poll_send(cx);
                return Poll::Ready(Err(error));
            }
        }
        // The client's Finished must leave even if HTTP/2 has nothing to say yet. Early bytes of the peer that
        // came with its last flight stay in `input` and in rustls, where the first read finds them.
        self.poll_send(cx).map(Ok)
    }
}

fn failure_of(flush: &Flush, error: &io::Error) -> Failure {
    match flush.tls_error() {
        Some(tls) => Failure::tls(&tls),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Failure::new(
            Outcome::TlsFailed,
            "the peer closed the connection during the TLS handshake",
        ),
        None => Failure::new(
            Outcome::TlsFailed,
            format!("socket error during the TLS handshake: {error}"),
        ),
    }
}
