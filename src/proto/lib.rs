//! The messages that Adit exchanges with the processes around it, generated from the `.proto` files of this
//! folder.
//!
//! The files describe protocols that others speak too, so their packages, names and tags are fixed. The types
//! say what can be written on the wire, not what is valid: each protocol's room turns them into values that are.

/// The agent-tunnel protocol (ZDS), package `istio.workload.zds`.
pub mod zds {
    #![allow(missing_docs, reason = "generated; the documentation is in zds.proto")]

    include!(concat!(env!("OUT_DIR"), "/istio.workload.zds.rs"));
}

/// Workloads and services, package `istio.workload`.
pub mod workload {
    #![allow(missing_docs, reason = "generated; the documentation is in workload.proto")]
    #![allow(
        clippy::large_enum_variant,
        reason = "generated; a message lives for one conversion"
    )]

    include!(concat!(env!("OUT_DIR"), "/istio.workload.rs"));
}

/// Authorization policies, package `istio.security`.
pub mod security {
    #![allow(
        missing_docs,
        reason = "generated; the documentation is in authorization.proto"
    )]

    include!(concat!(env!("OUT_DIR"), "/istio.security.rs"));
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::zds::{
        Ack, AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, Version, WorkloadInfo, WorkloadRequest,
        WorkloadResponse, ZdsHello, workload_request, workload_response,
    };

    fn request(payload: workload_request::Payload) -> Vec<u8> {
        WorkloadRequest {
            payload: Some(payload),
        }
        .encode_to_vec()
    }

    /// The bytes are written out because the tags are a contract with Istio's agent and ztunnel: a changed tag
    /// would still let our two ends understand each other.
    #[test]
    fn messages_have_the_bytes_that_istio_expects() {
        use workload_request::Payload;

        let hello = ZdsHello {
            version: Version::V1.into(),
        };
        assert_eq!(hello.encode_to_vec(), b"\x08\x01");

        let add = request(Payload::Add(AddWorkload {
            uid: "u".into(),
            workload_info: Some(WorkloadInfo {
                name: "n".into(),
                namespace: "s".into(),
                service_account: "a".into(),
            }),
        }));
        assert_eq!(add, b"\x0a\x0e\x0a\x01u\x12\x09\x0a\x01n\x12\x01s\x1a\x01a");

        assert_eq!(
            request(Payload::Keep(KeepWorkload { uid: "u".into() })),
            b"\x2a\x03\x0a\x01u"
        );
        assert_eq!(
            request(Payload::Del(DelWorkload { uid: "u".into() })),
            b"\x12\x03\x12\x01u"
        );
        assert_eq!(
            request(Payload::SnapshotSent(SnapshotSent::default())),
            b"\x1a\x00"
        );

        let nack = WorkloadResponse {
            payload: Some(workload_response::Payload::Ack(Ack { error: "no".into() })),
        };
        assert_eq!(nack.encode_to_vec(), b"\x0a\x04\x0a\x02no");
    }
}
