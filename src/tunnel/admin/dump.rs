//! `config_dump` in the shape that istioctl and Kiali read: configuration, certificates (never a key), and the state
//! of each pod with its live connections.

use std::time::SystemTime;

use adit_discovery::config_dump;
use adit_pki::certificate::to_pem;
use adit_pki::{Certificate, CertificateStatus};
use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::State;
use crate::live::{Connection, Direction};
use crate::pod::{InstanceId, PodInfo};
use crate::pods::Placement;
use crate::worker::Worker;

/// All of it.
pub(super) async fn dump(state: &State) -> Value {
    let registry = state.shared.store.snapshot();
    let node = registry.node();
    let mut dump = config_dump(&registry);
    let certificates: Vec<_> = state.shared.certificates.list().iter().map(certificate).collect();
    let additions = json!({
        "certificates": certificates,
        "workloadState": workload_state(state).await,
        "version": { "version": env!("CARGO_PKG_VERSION") },
        "config": {
            "localNode": node.name.as_str(),
            "network": node.network.as_str(),
            "clusterId": node.cluster.as_str(),
            "numWorkerThreads": state.shared.config.process.workers.count,
        },
        "configuration": status(state),
    });
    if let (Value::Object(dump), Value::Object(additions)) = (&mut dump, additions) {
        dump.extend(additions);
    }
    dump
}

fn status(state: &State) -> Value {
    let status = state.status.borrow();
    json!({
        "complete": state.shared.store.is_complete(),
        "generation": state.shared.store.load().generation(),
        "lastError": status.error.as_ref().map(ToString::to_string),
        "rejected": status.rejected.iter().map(|rejected| format!("{}: {}", rejected.name, rejected.reason)).collect::<Vec<_>>(),
        "warnings": status.warnings.to_vec(),
    })
}

fn certificate(status: &CertificateStatus) -> Value {
    let credentials = status.credentials.as_ref();
    let chain = credentials.map(|credentials| credentials.chain().iter().map(described).collect::<Vec<_>>());
    let roots = credentials.map(|credentials| credentials.roots().iter().map(described).collect::<Vec<_>>());
    json!({
        "identity": status.identity.to_string(),
        "state": status.state(),
        // Why the last attempt to get one failed; the one in use may hold all the same.
        "failure": status.failure.as_ref().map(ToString::to_string),
        "certChain": chain.unwrap_or_default(),
        "rootCerts": roots.unwrap_or_default(),
    })
}

/// A certificate as ztunnel shows it: its PEM form in base64, and what one looks for in it.
fn described(der: &CertificateDer<'static>) -> Value {
    let parsed = Certificate::parse(der).ok();
    json!({
        "pem": BASE64_STANDARD.encode(to_pem([der])),
        "serialNumber": parsed.as_ref().map(Certificate::serial_decimal),
        "validFrom": parsed.as_ref().and_then(|parsed| timestamp(parsed.not_before)),
        "expirationTime": parsed.as_ref().and_then(|parsed| timestamp(parsed.not_after)),
    })
}

fn timestamp(time: SystemTime) -> Option<String> {
    OffsetDateTime::from(time).format(&Rfc3339).ok()
}

async fn workload_state(state: &State) -> Value {
    let mut pods = Map::new();
    let mut placements = state.pods.placements();
    // A pod that was made anew has the place of its name before its predecessor, which drains.
    placements.sort_by_key(|placement| placement.draining);
    for Placement {
        info,
        draining,
        instances,
    } in placements
    {
        let (mut inbound, mut outbound) = (Vec::new(), Vec::new());
        for instance in &instances {
            let id = instance.id;
            // A worker that ends meanwhile has nothing alive any more.
            let connections = instance
                .worker()
                .call(move || async move { connections(id) })
                .await
                .unwrap_or_default();
            inbound.extend(connections.0);
            outbound.extend(connections.1);
        }
        let status = match (draining, instances.is_empty()) {
            (true, _) => "Draining",
            (false, true) => "Pending",
            (false, false) => "Up",
        };
        let shown = pod(&info, status, inbound, outbound);
        let mut key = info.uid.to_string();
        while pods.contains_key(&key) {
            key.push_str(" (draining)");
        }
        pods.insert(key, shown);
    }
    Value::Object(pods)
}

fn pod(info: &PodInfo, status: &str, inbound: Vec<Value>, outbound: Vec<Value>) -> Value {
    json!({
        "state": status,
        "connections": { "inbound": inbound, "outbound": outbound },
        "info": {
            "name": info.name.as_str(),
            "namespace": info.namespace.as_str(),
            "serviceAccount": info.service_account.as_str(),
        },
    })
}

/// The live connections of a pod's instance in this worker: inbound, outbound.
fn connections(id: InstanceId) -> (Vec<Value>, Vec<Value>) {
    let Some(pod) = Worker::current().instance(id) else {
        return Default::default();
    };
    let (outbound, inbound): (Vec<_>, Vec<_>) = pod
        .table
        .snapshot()
        .into_iter()
        .partition(|connection| connection.direction == Direction::Outbound);
    let describe = |connections: Vec<_>| connections.iter().map(describe).collect();
    (describe(inbound), describe(outbound))
}

fn describe(connection: &std::rc::Rc<Connection>) -> Value {
    let protocol = match (connection.direction, connection.chain.borrow().is_some()) {
        (Direction::Plaintext, _) | (_, false) => "TCP",
        (_, true) => "HBONE",
    };
    json!({
        "src": connection.source.to_string(),
        "originalDst": connection.original.to_string(),
        "actualDst": connection.actual.get().unwrap_or(connection.original).to_string(),
        "protocol": protocol,
        "srcIdentity": connection.peer.as_ref().map(ToString::to_string),
        "bytesForth": connection.counters.forth.get(),
        "bytesBack": connection.counters.back.get(),
    })
}
