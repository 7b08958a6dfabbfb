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

/// Delta xDS, package `envoy.service.discovery.v3`.
pub mod discovery {
    #![allow(missing_docs, reason = "generated; the documentation is in discovery.proto")]
    #![allow(clippy::all, unused_qualifications, reason = "generated")]

    include!(concat!(env!("OUT_DIR"), "/envoy.service.discovery.v3.rs"));
}

/// Istio's certificate authority, package `istio.v1.auth`.
pub mod ca {
    #![allow(missing_docs, reason = "generated; the documentation is in ca.proto")]
    #![allow(clippy::all, unused_qualifications, reason = "generated")]

    include!(concat!(env!("OUT_DIR"), "/istio.v1.auth.rs"));
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

    #[test]
    fn delta_xds_has_the_bytes_that_envoy_expects() {
        use super::discovery::{Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource, Status};

        let resource = Resource {
            version: "1".into(),
            resource: Some(Any {
                type_url: "t".into(),
                value: "v".into(),
            }),
            name: "n".into(),
            aliases: vec!["a".into()],
        };
        let encoded = resource.encode_to_vec();
        assert_eq!(encoded, b"\x0a\x011\x12\x06\x0a\x01t\x12\x01v\x1a\x01n\x22\x01a");
        let response = DeltaDiscoveryResponse {
            system_version_info: "s".into(),
            resources: vec![encoded.clone().into()],
            type_url: "t".into(),
            nonce: "o".into(),
            removed_resources: vec!["r".into()],
        };
        let expected = [
            b"\x0a\x01s\x12\x11".as_slice(),
            &encoded,
            b"\x22\x01t\x2a\x01o\x32\x01r",
        ]
        .concat();
        assert_eq!(response.encode_to_vec(), expected);
        let request = DeltaDiscoveryRequest {
            node: None,
            type_url: "t".into(),
            resource_names_subscribe: vec!["*".into()],
            resource_names_unsubscribe: vec!["u".into()],
            initial_resource_versions: [("n".into(), "1".into())].into(),
            response_nonce: "o".into(),
            error_detail: Some(Status {
                code: 3,
                message: "m".into(),
            }),
        };
        assert_eq!(
            request.encode_to_vec(),
            b"\x12\x01t\x1a\x01*\x22\x01u\x2a\x06\x0a\x01n\x12\x011\x32\x01o\x3a\x05\x08\x03\x12\x01m"
        );
    }
}
