//! What the packets say: the translation between the wire's messages, where everything is optional, and requests that
//! are complete.

use std::os::fd::OwnedFd;

use adit_proto::zds::{
    Ack, AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, Version, WorkloadRequest, WorkloadResponse,
    ZdsHello, workload_request, workload_response,
};
use prost::Message;

use crate::LONGEST_MESSAGE;
use crate::failure::Malformed;

/// What an [`Ack`] adds to its text: two tags and two lengths.
const ACK_OVERHEAD: usize = 6;

/// What the agent knows of a pod beside its uid: enough to find its workload in the mesh's configuration.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WorkloadInfo {
    /// The pod's name.
    pub name: String,
    /// The pod's Kubernetes namespace.
    pub namespace: String,
    /// The pod's service account.
    pub service_account: String,
}

/// One packet.
#[derive(Debug)]
pub struct Packet {
    /// The message; at most [`LONGEST_MESSAGE`] bytes where it came from a socket.
    pub bytes: Vec<u8>,
    /// The file descriptor that came with it.
    pub descriptor: Option<OwnedFd>,
}

/// A request of the agent that is complete.
#[derive(Debug)]
pub enum Request {
    /// Serve a pod.
    Add {
        /// The pod; not empty.
        uid: String,
        /// Whose pod it is.
        workload: WorkloadInfo,
        /// Its network namespace, or what the agent says is one.
        namespace: OwnedFd,
    },
    /// Go on serving a pod.
    Keep {
        /// The pod; not empty.
        uid: String,
    },
    /// Stop serving a pod.
    Delete {
        /// The pod; not empty.
        uid: String,
    },
    /// The snapshot is complete.
    SnapshotSent,
}

impl TryFrom<Packet> for Request {
    type Error = Malformed;

    fn try_from(packet: Packet) -> Result<Self, Malformed> {
        use workload_request::Payload;

        let Packet { bytes, descriptor } = packet;
        let message: WorkloadRequest = decode("WorkloadRequest", &bytes)?;
        match (message.payload, descriptor) {
            (None, _) => Err(Malformed::PayloadMissing {
                expected: "WorkloadRequest",
            }),
            (Some(Payload::Add(add)), namespace) => Self::add(add, namespace),
            (Some(Payload::Keep(_)), Some(_)) => Err(Malformed::UnexpectedDescriptor { message: "keep" }),
            (Some(Payload::Del(_)), Some(_)) => Err(Malformed::UnexpectedDescriptor { message: "del" }),
            (Some(Payload::SnapshotSent(_)), Some(_)) => Err(Malformed::UnexpectedDescriptor {
                message: "snapshot_sent",
            }),
            (Some(Payload::Keep(KeepWorkload { uid })), None) => Ok(Self::Keep {
                uid: named("keep", uid)?,
            }),
            (Some(Payload::Del(DelWorkload { uid })), None) => Ok(Self::Delete {
                uid: named("del", uid)?,
            }),
            (Some(Payload::SnapshotSent(SnapshotSent {})), None) => Ok(Self::SnapshotSent),
        }
    }
}

impl Request {
    fn add(add: AddWorkload, namespace: Option<OwnedFd>) -> Result<Self, Malformed> {
        let uid = named("add", add.uid)?;
        let Some(info) = add.workload_info else {
            return Err(Malformed::WorkloadInfoMissing { uid });
        };
        let Some(namespace) = namespace else {
            return Err(Malformed::NamespaceMissing { uid });
        };
        Ok(Self::Add {
            uid,
            workload: WorkloadInfo {
                name: info.name,
                namespace: info.namespace,
                service_account: info.service_account,
            },
            namespace,
        })
    }
}

/// The tunnel's first packet.
pub fn hello() -> Vec<u8> {
    ZdsHello {
        version: Version::V1.into(),
    }
    .encode_to_vec()
}

/// Reads the tunnel's first packet.
///
/// # Errors
/// It is no hello, of another version, or carries a file descriptor.
pub fn read_hello(packet: &Packet) -> Result<(), Malformed> {
    if packet.descriptor.is_some() {
        return Err(Malformed::UnexpectedDescriptor { message: "hello" });
    }
    let ZdsHello { version } = decode("ZdsHello", &packet.bytes)?;
    if version == i32::from(Version::V1) {
        Ok(())
    } else {
        Err(Malformed::Version { version })
    }
}

/// The tunnel's answer to one request; a text that is too long for a packet is cut.
pub fn answer(outcome: &Result<(), String>) -> Vec<u8> {
    let error = match outcome {
        Ok(()) => String::new(),
        // An empty text would mean success.
        Err(text) if text.is_empty() => "failed".to_owned(),
        Err(text) => text[..text.floor_char_boundary(LONGEST_MESSAGE - ACK_OVERHEAD)].to_owned(),
    };
    WorkloadResponse {
        payload: Some(workload_response::Payload::Ack(Ack { error })),
    }
    .encode_to_vec()
}

/// Reads the tunnel's answer: what went wrong in the tunnel is the inner error.
///
/// # Errors
/// It is no answer, or carries a file descriptor.
pub fn read_answer(packet: &Packet) -> Result<Result<(), String>, Malformed> {
    if packet.descriptor.is_some() {
        return Err(Malformed::UnexpectedDescriptor { message: "ack" });
    }
    let message: WorkloadResponse = decode("WorkloadResponse", &packet.bytes)?;
    match message.payload {
        Some(workload_response::Payload::Ack(Ack { error })) if error.is_empty() => Ok(Ok(())),
        Some(workload_response::Payload::Ack(Ack { error })) => Ok(Err(error)),
        None => Err(Malformed::PayloadMissing {
            expected: "WorkloadResponse",
        }),
    }
}

/// The packet that adds a pod; its network namespace goes with it.
pub fn add(uid: &str, workload: &WorkloadInfo) -> Vec<u8> {
    encode(workload_request::Payload::Add(AddWorkload {
        uid: uid.to_owned(),
        workload_info: Some(adit_proto::zds::WorkloadInfo {
            name: workload.name.clone(),
            namespace: workload.namespace.clone(),
            service_account: workload.service_account.clone(),
        }),
    }))
}

/// The packet that asks to go on serving a pod.
pub fn keep(uid: &str) -> Vec<u8> {
    encode(workload_request::Payload::Keep(KeepWorkload {
        uid: uid.to_owned(),
    }))
}

/// The packet that removes a pod.
pub fn delete(uid: &str) -> Vec<u8> {
    encode(workload_request::Payload::Del(DelWorkload {
        uid: uid.to_owned(),
    }))
}

/// The packet that ends the snapshot.
pub fn snapshot_sent() -> Vec<u8> {
    encode(workload_request::Payload::SnapshotSent(SnapshotSent {}))
}

fn encode(payload: workload_request::Payload) -> Vec<u8> {
    WorkloadRequest {
        payload: Some(payload),
    }
    .encode_to_vec()
}

fn decode<M: Message + Default>(expected: &'static str, bytes: &[u8]) -> Result<M, Malformed> {
    M::decode(bytes).map_err(|error| Malformed::Undecodable {
        expected,
        reason: error.to_string(),
    })
}

fn named(message: &'static str, uid: String) -> Result<String, Malformed> {
    if uid.is_empty() {
        Err(Malformed::UidEmpty { message })
    } else {
        Ok(uid)
    }
}
