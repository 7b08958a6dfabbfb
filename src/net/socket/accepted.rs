//! What is done with sockets beyond what tokio offers: taking a waiting connection past tokio's view of readiness, and
//! noticing that a connection broke while nobody reads it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::{Congestion, broken};

/// Takes a connection that waits in the listener's backlog; `None` if there is none. tokio asks the kernel only after
/// the kernel has told it, which is too late for who is about to close the listener.
///
/// # Errors
/// Those of `accept4`.
pub fn accept_waiting(listener: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    let (socket, client) = match SockRef::from(listener).accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let client = client
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    socket.set_nonblocking(true)?;
    Ok(Some((TcpStream::from_std(socket.into())?, client)))
}

/// Sets the congestion control of a connection that inherited its listener's.
///
/// # Errors
/// Those of `TCP_CONGESTION`.
pub fn set_congestion(stream: &impl AsFd, congestion: &Congestion) -> io::Result<()> {
    SockRef::from(stream).set_tcp_congestion(congestion.name().as_bytes())
}

/// A future that ends when the connection is [`broken`], and borrows nothing from it. It has a
/// descriptor of its own, so it is for connections that are blocked for long, not for every one.
///
/// # Errors
/// No descriptor could be had.
pub fn watch_broken(stream: &TcpStream) -> io::Result<impl Future<Output = ()> + use<>> {
    let copy = stream.as_fd().try_clone_to_owned()?;
    let watched = TcpStream::from_std(copy.into())?;
    Ok(async move {
        // An error means that the runtime ends, and everything with it.
        let _ = broken(&watched).await;
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    use super::*;
    use crate::socket::reset;

    async fn pair() -> (TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("a connection");
        let (server, _) = listener.accept().await.expect("a connection");
        (listener, client, server)
    }

    #[tokio::test]
    async fn a_waiting_connection_is_taken_before_tokio_knows_of_it() {
        let (listener, _client, _server) = pair().await;
        assert!(accept_waiting(&listener).expect("no error").is_none());
        let address = listener.local_addr().expect("an address");
        // Blocking, so that tokio's driver does not run in between.
        let client = std::net::TcpStream::connect(address).expect("a connection");
        let (_, from) = accept_waiting(&listener)
            .expect("no error")
            .expect("a connection");
        assert_eq!(from, client.local_addr().expect("an address"));
        assert!(accept_waiting(&listener).expect("no error").is_none());
    }

    #[tokio::test]
    async fn a_reset_is_noticed_behind_bytes_that_nobody_reads() {
        let (_listener, mut client, server) = pair().await;
        client.write_all(b"unread").await.expect("sent");
        server.readable().await.expect("bytes");
        let broken = watch_broken(&server).expect("a descriptor");
        tokio::pin!(broken);
        let early = timeout(Duration::from_millis(1), &mut broken).await;
        assert!(early.is_err(), "bytes are no break");
        reset(&client).expect("an option");
        drop(client);
        timeout(Duration::from_secs(10), broken).await.expect("noticed");
    }
}
