//! Why a connection between agent and tunnel ended.

use std::io;

use crate::LONGEST_MESSAGE;

/// What ended a connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectionFailure {
    /// The other end closed the connection.
    #[error("the other end closed the connection")]
    Closed,
    /// The other end did not do its part in time.
    #[error("{action}: not done within the deadline")]
    Deadline {
        /// What was being waited for.
        action: &'static str,
    },
    /// A system call failed.
    #[error("{action}: {kind}")]
    System {
        /// What was being done.
        action: &'static str,
        /// How it failed.
        kind: io::ErrorKind,
    },
    /// The other end sent something that the protocol does not allow.
    #[error("malformed message: {0}")]
    Malformed(#[from] Malformed),
}

impl ConnectionFailure {
    pub(crate) fn system(action: &'static str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            kind => Self::System { action, kind },
        }
    }
}

/// A message that the protocol does not allow, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The packet is longer than either end reads.
    #[error("longer than {LONGEST_MESSAGE} bytes")]
    TooLong,
    /// More came beside the packet than one file descriptor, so much that the kernel cut it off.
    #[error("its ancillary data does not fit one file descriptor")]
    AncillaryTruncated,
    /// More than one file descriptor.
    #[error("it carries {found} file descriptors where one is allowed at most")]
    SeveralDescriptors {
        /// How many.
        found: usize,
    },
    /// A file descriptor with a message that has no use for one.
    #[error("{message} carries a file descriptor")]
    UnexpectedDescriptor {
        /// Which message.
        message: &'static str,
    },
    /// An added pod without its network namespace.
    #[error("add of pod {uid} carries no network namespace")]
    NamespaceMissing {
        /// The pod.
        uid: String,
    },
    /// An added pod without its name.
    #[error("add of pod {uid} has no workload_info")]
    WorkloadInfoMissing {
        /// The pod.
        uid: String,
    },
    /// A message about a pod that it does not name.
    #[error("{message} has an empty uid")]
    UidEmpty {
        /// Which message.
        message: &'static str,
    },
    /// Not the message that was expected, by the rules of protobuf.
    #[error("not a {expected}: {reason}")]
    Undecodable {
        /// What was expected.
        expected: &'static str,
        /// What the decoder found.
        reason: String,
    },
    /// A message without a payload, or with one of a later revision.
    #[error("a {expected} without a payload that this version knows")]
    PayloadMissing {
        /// What was expected.
        expected: &'static str,
    },
    /// A hello of another revision of the protocol.
    #[error("version {version} of the protocol is not supported (only 1 is)")]
    Version {
        /// The version offered.
        version: i32,
    },
    /// Keep is part of the snapshot; afterwards it has no meaning.
    #[error("keep of pod {uid} after snapshot_sent")]
    KeepAfterSnapshot {
        /// The pod.
        uid: String,
    },
    /// A connection has one snapshot.
    #[error("a second snapshot_sent")]
    SecondSnapshot,
    /// Something was sent out of turn: the protocol has one request in flight.
    #[error("a message that answers no request")]
    OutOfTurn,
}
