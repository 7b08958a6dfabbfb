//! The small HTTP servers beside the traffic: metrics (15020), readiness (15021) and administration (15000, only on
//! the host itself).
//!
//! They are for machines and operators: HTTP/1.1, small buffers, a short time for a request's head, no state. They
//! run on the control runtime, so that a slow scrape never delays traffic. [`router`] says which path does what;
//! [`admin`], [`stats`] and [`readiness`] are the pages themselves.

pub mod admin;
pub mod profile;
pub mod readiness;
pub mod router;
pub mod stats;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::runtime::drain::DrainWatcher;

pub use hyper::StatusCode;
pub use readiness::{Blocker, Readiness};
pub use router::{Handler, Request, Response, Router, json, text, with_type};

/// Nobody who is honest needs longer to send the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(2);
/// A client that stopped reading its answer would otherwise keep its place for ever.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Largest head of a request, and what is read at once.
const BUFFER: usize = 8 << 10;
/// Connections at a time; more wait in the backlog. Far above what scrapers and probes need.
const MOST_CONNECTIONS: usize = 256;
const BACKLOG: i32 = 128;

/// Who may reach a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// This host (or pod) alone: both loopback addresses, and only requests that were meant for them.
    Loopback,
    /// Everybody who can route to us.
    Everywhere,
}

/// A server could not listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (set by {setting}): {source}")]
pub struct BindError {
    /// Where it would have listened.
    pub address: SocketAddr,
    /// The setting that the port comes from.
    pub setting: &'static str,
    /// Why not.
    pub source: io::Error,
}

/// A server that listens already and answers once it is told to [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    router: Arc<Router>,
    reach: Reach,
}

impl Server {
    /// Listens on `port` (0 for any). `setting` is the name of what the port comes from, for the error.
    ///
    /// IPv6 may be absent, IPv4 may not. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`], for the first address that cannot be listened on.
    pub fn bind(reach: Reach, port: u16, setting: &'static str, router: Router) -> Result<Self, BindError> {
        let listeners = match reach {
            Reach::Everywhere => vec![everywhere(port, setting)?],
            Reach::Loopback => loopback(port, setting)?,
        };
        Ok(Self {
            listeners,
            router: Arc::new(router),
            reach,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Answers until the drain starts, then finishes the requests that are in flight, until the deadline.
    pub async fn serve(self, mut drain: DrainWatcher) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            tokio::select! {
                _ = drain.started() => break,
                _ = connections.join_next(), if connections.len() >= MOST_CONNECTIONS => {}
                accepted = accept(&self.listeners), if connections.len() < MOST_CONNECTIONS => match accepted {
                    Ok(stream) => {
                        let router = Arc::clone(&self.router);
                        connections.spawn(answer(stream, router, self.reach, drain.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection to an administrative port could not be accepted");
                        // Out of descriptors, usually: trying again at once would only burn the CPU.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        drop(self.listeners);
        tokio::select! {
            () = drain.expired() => {}
            () = async { while connections.join_next().await.is_some() {} } => {}
        }
    }
}

fn loopback(port: u16, setting: &'static str) -> Result<Vec<TcpListener>, BindError> {
    let v4 = listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port), setting)?;
    // With any port, the same one on both.
    let port = v4.local_addr().map_or(port, |address| address.port());
    let v6 = listen(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port), setting);
    match v6 {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) if is_absent(&error.source) => Ok(vec![v4]),
        Err(error) => Err(error),
    }
}

/// Both families on one socket, or IPv4 where there is no IPv6.
fn everywhere(port: u16, setting: &'static str) -> Result<TcpListener, BindError> {
    match listen(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port), setting) {
        Err(error) if is_absent(&error.source) => {
            listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), setting)
        }
        result => result,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL)
    )
}

fn listen(address: SocketAddr, setting: &'static str) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            socket.set_only_v6(false)?;
        } else if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restart finds connections of its predecessor in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source| BindError {
        address,
        setting,
        source,
    })
}

/// The next connection of any listener.
async fn accept(listeners: &[TcpListener]) -> io::Result<TcpStream> {
    std::future::poll_fn(|context| {
        for listener in listeners {
            if let std::task::Poll::Ready(accepted) = listener.poll_accept(context) {
                return std::task::Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

async fn answer(stream: TcpStream, router: Arc<Router>, reach: Reach, mut drain: DrainWatcher) {
    // If the kernel does not know one of these, the answer is still right.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(TAKEN_WITHIN));
    let service = service_fn(move |request| {
        let router = Arc::clone(&router);
        async move { Ok::<_, std::convert::Infallible>(router.answer(request, reach).await) }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(BUFFER)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = drain.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to an administrative port failed");
    }
}

#[cfg(test)]
mod tests;
