//! The sockets of a control plane: plain, or TLS with a certificate that may change while it runs.
//!
//! A handshake runs beside the others, has a deadline, and is one of a bounded number: whoever connects and says nothing
//! keeps nobody else out for longer than that.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::auth::Connection;

/// A handshake takes two round trips and a millisecond of work.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Two thousand nodes that come back at once are through in seconds; what waits is in the backlog.
const HANDSHAKES: usize = 256;
/// After a failure to accept (no descriptors): long enough that a loop does not burn a core.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that was accepted, and is encrypted if it has to be.
#[derive(Debug)]
pub struct Accepted {
    line: Line,
    connection: Connection,
}

#[derive(Debug)]
enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Accepts connections for as long as the result is read. With `tls`, each is encrypted as it says when the connection
/// comes.
pub fn accept(
    listener: TcpListener,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
) -> ReceiverStream<io::Result<Accepted>> {
    let (accepted, stream) = mpsc::channel(16);
    tokio::spawn(run(listener, tls, accepted));
    ReceiverStream::new(stream)
}

async fn run(
    listener: TcpListener,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    accepted: mpsc::Sender<io::Result<Accepted>>,
) {
    let turns = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
            return;
        };
        let (tcp, address) = tokio::select! {
            incoming = listener.accept() => match incoming {
                Ok(incoming) => incoming,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = accepted.closed() => return,
        };
        let acceptor = tls.as_ref().map(|tls| TlsAcceptor::from(tls.borrow().clone()));
        let accepted = accepted.clone();
        tokio::spawn(async move {
            let _turn = turn;
            match tokio::time::timeout(HANDSHAKE, secure(tcp, address, acceptor)).await {
                // An error: the server has ended.
                Ok(Ok(line)) => drop(accepted.send(Ok(line)).await),
                Ok(Err(error)) => tracing::debug!(%address, %error, "a connection was not secured"),
                Err(_) => tracing::debug!(%address, "a connection was not secured in time"),
            }
        });
    }
}

async fn secure(tcp: TcpStream, address: SocketAddr, acceptor: Option<TlsAcceptor>) -> io::Result<Accepted> {
    tcp.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        return Ok(Accepted {
            line: Line::Plain(tcp),
            connection: Connection {
                address,
                certificates: Arc::default(),
                encrypted: false,
            },
        });
    };
    let tls = acceptor.accept(tcp).await?;
    let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|one| one.clone().into_owned()).collect();
    Ok(Accepted {
        line: Line::Tls(Box::new(tls)),
        connection: Connection {
            address,
            certificates,
            encrypted: true,
        },
    })
}

impl Connected for Accepted {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_read(cx, buf),
            Line::Tls(line) => Pin::new(line).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_write(cx, buf),
            Line::Tls(line) => Pin::new(line).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_flush(cx),
            Line::Tls(line) => Pin::new(line).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(line) => Pin::new(line).poll_shutdown(cx),
            Line::Tls(line) => Pin::new(line).poll_shutdown(cx),
        }
    }
}
