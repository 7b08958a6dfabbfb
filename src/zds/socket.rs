//! A SEQPACKET Unix socket that carries one message a packet, and at most one file descriptor with it.
//!
//! Received file descriptors are owned from the moment the system call returns, and close on exec: whatever is wrong
//! with the packet, none can leak, not even into a child process.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net;
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::LONGEST_MESSAGE;
use crate::failure::{ConnectionFailure, Malformed};
use crate::message::Packet;

/// Room for more file descriptors than are allowed, so that a message with too many is told apart from one whose
/// ancillary data is something else. The kernel closes those that find no room.
const DESCRIPTOR_ROOM: usize = 4;

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: UnixDatagram,
}

impl Connection {
    /// Connects to the agent that listens on `path`. Unix sockets connect at once or not at all.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let socket = new_socket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::new(socket)
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: registered(socket)?,
        })
    }

    /// Sends one packet, and `descriptor` with it.
    pub(crate) async fn send(
        &self,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ConnectionFailure> {
        let sent = self
            .socket
            .async_io(Interest::WRITABLE, || send(&self.socket, bytes, descriptor))
            .await;
        sent.map_err(|error| ConnectionFailure::system("sending", &error))
    }

    /// Waits for one packet. An empty packet cannot be told from the end of the connection and counts as it.
    pub(crate) async fn receive(&self) -> Result<Packet, ConnectionFailure> {
        let mut buffer = [0; LONGEST_MESSAGE];
        let (received, descriptors) = self
            .socket
            .async_io(Interest::READABLE, || receive(&self.socket, &mut buffer))
            .await
            .map_err(|error| ConnectionFailure::system("receiving", &error))?;
        let mut descriptors = descriptors.into_iter();
        let (first, more) = (descriptors.next(), descriptors.len());
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(Malformed::TooLong.into());
        }
        if more > 0 {
            return Err(Malformed::SeveralDescriptors { found: more + 1 }.into());
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Malformed::AncillaryTruncated.into());
        }
        match buffer.get(..received.bytes) {
            None | Some([]) => Err(ConnectionFailure::Closed),
            Some(bytes) => Ok(Packet {
                bytes: bytes.to_vec(),
                descriptor: first,
            }),
        }
    }
}

/// A socket that connections arrive at.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixDatagram,
}

impl Listener {
    /// Binds `path`, which must not exist.
    pub(crate) fn bind(path: &Path, backlog: i32) -> io::Result<Self> {
        let socket = new_socket()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, backlog)?;
        Ok(Self {
            socket: registered(socket)?,
        })
    }

    /// Waits for the next connection.
    pub(crate) async fn accept(&self) -> io::Result<Connection> {
        let accepted = self
            .socket
            .async_io(Interest::READABLE, || {
                Ok(rustix::net::accept_with(
                    &self.socket,
                    SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                )?)
            })
            .await?;
        Connection::new(accepted)
    }
}

/// Tokio has no type for SEQPACKET sockets. Its datagram socket waits for the readiness of any socket, which is all that
/// it is used for here.
fn registered(socket: OwnedFd) -> io::Result<UnixDatagram> {
    UnixDatagram::from_std(net::UnixDatagram::from(socket))
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?)
}

fn send(socket: impl AsFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("no room for a file descriptor"));
    }
    // Without NOSIGNAL, writing to a peer that has gone would end the process.
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(rustix::net::RecvMsg, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_ROOM))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            descriptors.extend(found);
        }
    }
    Ok((received, descriptors))
}

#[cfg(test)]
impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
