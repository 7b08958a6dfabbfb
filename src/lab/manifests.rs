//! The lab's objects, as manifests that anybody could apply to a cluster: the control plane reads them from a directory,
//! and visitors edit them.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use super::host;
use super::world::Pod;

/// What the lab's ReplicaSets are told apart by.
const HASH: &str = "5d9c7b6f4";

/// The directory that the control plane reads.
pub fn directory() -> PathBuf {
    host::path("manifests")
}

/// A file in it.
pub fn file(name: &str) -> PathBuf {
    directory().join(name)
}

/// Replaces a file of the directory by these objects. A reader sees the old one or the new one.
///
/// # Errors
/// It cannot be written.
pub fn write(name: &str, objects: &[Value]) -> anyhow::Result<()> {
    let mut text = String::new();
    for object in objects {
        let yaml = serde_saphyr::to_string(object).context("an object cannot be written as YAML")?;
        text += "---\n";
        text += &yaml;
        if !yaml.ends_with('\n') {
            text.push('\n');
        }
    }
    let path = file(name);
    // Hidden, so that nobody reads it before it is whole.
    let unready = directory().join(format!(".{name}.new"));
    fs::create_dir_all(directory())
        .and_then(|()| fs::write(&unready, text))
        .and_then(|()| fs::rename(&unready, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// A node.
pub fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": {
            "topology.kubernetes.io/region": "lab",
            "topology.kubernetes.io/zone": name,
        }},
    })
}

/// A pod as a Deployment named as its service account would make it, running and ready.
pub fn pod(pod: &Pod, node: &str, enrolled: bool) -> Value {
    let spec = &pod.spec;
    let v6 = pod.attachment.addresses.v6.map(IpAddr::from);
    let addresses = [pod.address()].into_iter().chain(v6);
    running(
        Identity {
            name: &spec.name,
            namespace: &spec.namespace,
            uid: &pod.uid,
            service_account: &spec.service_account,
            node,
        },
        addresses.collect(),
        enrolled,
    )
}

/// Who a pod is, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Tells it from others that had its name.
    pub uid: &'a str,
    /// Its service account.
    pub service_account: &'a str,
    /// Its node.
    pub node: &'a str,
}

/// A pod that runs. The node agent's annotation says whether it is enrolled.
pub fn running(identity: Identity<'_>, addresses: Vec<IpAddr>, enrolled: bool) -> Value {
    let Identity {
        name,
        namespace,
        uid,
        service_account,
        node,
    } = identity;
    let annotations = match enrolled {
        true => json!({ "ambient.istio.io/redirection": "enabled" }),
        false => json!({}),
    };
    let ips: Vec<_> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "labels": { "app": service_account, "pod-template-hash": HASH },
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": format!("{service_account}-{HASH}"),
                "uid": format!("uid-of-{service_account}"),
                "controller": true,
            }],
        },
        "spec": { "nodeName": node, "serviceAccountName": service_account, "containers": [{ "name": "app" }] },
        "status": {
            "phase": "Running",
            "podIP": addresses.first(),
            "podIPs": ips,
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

/// A service of the pods of a Deployment, with the same ports as they have.
pub fn service(name: &str, namespace: &str, address: IpAddr, ports: &[u16]) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|port| json!({ "name": format!("tcp-{port}"), "port": port, "targetPort": port }))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": { "app": name }, "clusterIP": address, "clusterIPs": [address], "ports": ports },
    })
}

/// A policy that lets only these service accounts of its namespace call the pods of a Deployment.
pub fn allow_only(name: &str, namespace: &str, app: &str, service_accounts: &[&str]) -> Value {
    let principals: Vec<_> = service_accounts
        .iter()
        .map(|account| format!("cluster.local/ns/{namespace}/sa/{account}"))
        .collect();
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "selector": { "matchLabels": { "app": app } },
            "action": "ALLOW",
            "rules": [{ "from": [{ "source": { "principals": principals } }] }],
        },
    })
}
