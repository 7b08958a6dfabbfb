//! Handing listeners over, from an ending tunnel to its successor or from one worker to the others.
//!
//! With `SO_REUSEPORT` the kernel assigns each new connection to one of the listeners as soon as it comes. One that
//! closes resets those that nobody had accepted yet, unless the namespace tells the kernel to migrate them to another
//! listener of the group (`net.ipv4.tcp_migrate_req`, Linux 5.14).

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;

use nix::errno::Errno;
use thiserror::Error;

use crate::namespace::{Namespace, errno_of};

/// Per namespace, like everything under `/proc/sys/net` it is that of the reader.
const MIGRATE_REQUESTS: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Lets connections that wait at a closing listener of the namespace move to another listener of the same port.
pub fn migrate_requests(namespace: &Namespace) -> Result<(), CannotMigrate> {
    namespace
        .run(|| {
            if std::fs::read_to_string(MIGRATE_REQUESTS)?.trim() == "1" {
                return Ok(());
            }
            std::fs::write(MIGRATE_REQUESTS, "1")
        })
        .flatten()
        .map_err(|error| CannotMigrate(errno_of(&error)))
}

/// The inode of a socket, by which [`another_listener`] knows it.
pub fn inode(socket: &impl AsFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(socket.as_fd())?.st_ino)
}

/// Whether somebody listens on the port in the namespace whose socket is none of `own`, such as a tunnel that was
/// started to replace this one.
pub fn another_listener(namespace: &Namespace, port: u16, own: &[u64]) -> io::Result<bool> {
    namespace
        .run(|| {
            Ok(listening("/proc/thread-self/net/tcp", port)?
                .into_iter()
                .chain(listening("/proc/thread-self/net/tcp6", port)?)
                .any(|inode| !own.contains(&inode)))
        })
        .flatten()
}

/// The inodes of the sockets that listen on the port. The kernel lists all listeners before all connections, so
/// reading ends with the first connection, however many there are.
fn listening(table: &str, port: u16) -> io::Result<Vec<u64>> {
    let file = match File::open(table) {
        // A kernel without IPv6 has no such table.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut inodes = Vec::new();
    for line in BufReader::new(file).lines().skip(1) {
        let line = line?;
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(_), Some(state)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if state != LISTENING {
            break;
        }
        let listens_here = local
            .rsplit_once(':')
            .and_then(|(_, digits)| u16::from_str_radix(digits, 16).ok())
            == Some(port);
        // After the state: queues, timer, retransmissions, user, timeout, inode.
        let inode = fields.nth(5).and_then(|digits| digits.parse().ok());
        if let (true, Some(inode)) = (listens_here, inode) {
            inodes.push(inode);
        }
    }
    Ok(inodes)
}

/// The kernel cannot be told to migrate.
#[derive(Clone, Copy, PartialEq, Eq, Error, Debug)]
#[error(
    "net.ipv4.tcp_migrate_req cannot be set in the pod ({0}): connections that are waiting when a listener closes will \
     be reset; Linux 5.14 or newer and a writable /proc/sys are needed"
)]
pub struct CannotMigrate(pub Errno);
