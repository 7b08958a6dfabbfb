//! What the tests of several modules tell about: a call of a bank's web server to its ledger.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use adit_mesh::authorize::{Decision, Verdict};
use adit_mesh::service::ServiceKey;
use adit_mesh::{Outcome, Service, TrustDomain, Workload};
use http::HeaderMap;

use super::{Batches, Collector, Context, Party, Phase, Recording, Root, Sampler, Settings, Span};
use crate::Direction;

pub(super) const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

pub(super) fn workload(name: &str) -> Arc<Workload> {
    let mut workload = Workload::new(
        format!("lab//Pod/bank/{name}-1").into(),
        format!("{name}-1").into(),
        TrustDomain::default(),
        "bank".into(),
        name.into(),
    )
    .expect("valid names");
    workload.cluster = "lab".into();
    workload.canonical_name = name.into();
    workload.canonical_revision = "v1".into();
    Arc::new(workload)
}

pub(super) fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

fn party(name: &str, address: &str) -> Party {
    let workload = workload(name);
    Party {
        address: Some(socket(address)),
        identity: Some(workload.identity.clone()),
        workload: Some(workload),
    }
}

/// As the source's tunnel tells it.
pub(super) fn outbound() -> Span {
    let mut recording = Recording::new(Context {
        trace: TRACE,
        span: 0xb7ad_6b71_6920_3331,
        parent: None,
    });
    recording.tunnel_reused(false);
    for (milliseconds, phase) in (1..).zip([
        Phase::Routed,
        Phase::TcpConnected,
        Phase::TlsEstablished,
        Phase::ConnectAnswered,
        Phase::FirstByte,
    ]) {
        recording.passed(phase, Duration::from_millis(milliseconds));
    }
    let key = ServiceKey {
        namespace: "bank".into(),
        hostname: "ledger.bank.svc.cluster.local".into(),
    };
    Span {
        started: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        source: party("web", "10.0.1.2:40000"),
        destination: party("ledger", "10.0.2.3:8080"),
        tunnel: Some(socket("10.0.2.3:15008")),
        service: Some(Arc::new(Service::new(key, "ledger".into()))),
        request_bytes: 100,
        response_bytes: 2000,
        ..recording.end(Direction::Outbound, Outcome::Completed, Duration::from_millis(20))
    }
}

/// As the destination's tunnel tells it, when a policy forbids it.
pub(super) fn denied() -> Span {
    let mut recording = Recording::new(Context {
        trace: TRACE,
        span: 7,
        parent: Some(0xb7ad_6b71_6920_3331),
    });
    recording.passed(Phase::Authorized, Duration::from_millis(2));
    Span {
        source: party("web", "10.0.1.2:40000"),
        destination: party("ledger", "10.0.2.3:8080"),
        tunnel: Some(socket("10.0.2.3:15008")),
        error: Some("denied by bank/only-tellers".into()),
        policy: Some(Verdict {
            decision: Decision::Allowed { by: None },
            dry_run: Vec::new(),
        }),
        ..recording.end(
            Direction::Inbound,
            Outcome::PolicyDenied,
            Duration::from_millis(3),
        )
    }
}

/// Everything, to a collector at `endpoint`, in batches of four of a queue of eight.
pub(super) fn settings(endpoint: &str) -> Settings {
    Settings {
        collector: Collector {
            endpoint: endpoint.parse().expect("an endpoint"),
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(5),
            gzip: false,
            tls: None,
        },
        sampler: Sampler {
            root: Root::Always,
            parent_based: true,
        },
        batches: Batches {
            delay: Duration::from_millis(10),
            timeout: Duration::from_secs(10),
            queue: 8,
            size: 4,
        },
        resource: vec![("service.name".to_owned(), "adit-tunnel".to_owned())],
    }
}
