//! The mesh as a scenario writes it: the file that tunnels read, with every key of the format, and with mistakes.
//!
//! The lab's own type knows only what a bank needs. Here a resource is a JSON value, and JSON is YAML.

use std::net::IpAddr;
use std::path::Path;

use adit::lab::host;
use adit::lab::world::Pod;
use anyhow::Context;
use serde_json::{Value, json};

/// The whole file. Edit it as you like, and write it again.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Document {
    /// The workloads, in the order in which they were added.
    pub workloads: Vec<Value>,
    /// The services.
    pub services: Vec<Value>,
    /// The policies.
    pub policies: Vec<Value>,
}

impl Document {
    /// Adds a pod as a workload that speaks HBONE, and gives it to be edited.
    pub fn add_pod(&mut self, pod: &Pod, node: &str) -> &mut Value {
        let v6 = pod.attachment.addresses.v6.map(IpAddr::from);
        let addresses: Vec<_> = [pod.address()].into_iter().chain(v6).collect();
        let spec = &pod.spec;
        self.add_workload(&spec.name, &spec.namespace, &spec.service_account, &addresses)["node"] =
            json!(node);
        self.workload(&spec.name)
    }

    /// Adds a workload that speaks HBONE, whether a pod stands behind it or not, and gives it to be edited.
    pub fn add_workload(
        &mut self,
        name: &str,
        namespace: &str,
        service_account: &str,
        addresses: &[IpAddr],
    ) -> &mut Value {
        self.workloads.push(json!({
            "uid": format!("lab//Pod/{namespace}/{name}"),
            "name": name,
            "namespace": namespace,
            "serviceAccount": service_account,
            "workloadIps": addresses,
            "protocol": "HBONE",
            "clusterId": "lab",
        }));
        self.workload(name)
    }

    /// Adds a service with one virtual address and one port, and gives it to be edited.
    pub fn add_service(&mut self, name: &str, namespace: &str, address: &str, ports: Value) -> &mut Value {
        self.services.push(json!({
            "name": name,
            "namespace": namespace,
            "hostname": format!("{name}.{namespace}.svc.cluster.local"),
            "vips": [format!("/{address}")],
            "ports": ports,
        }));
        let last = self.services.len() - 1;
        &mut self.services[last]
    }

    /// Adds a policy that workloads name.
    pub fn add_policy(&mut self, name: &str, namespace: &str, action: &str, condition: Value) -> &mut Value {
        self.policies.push(json!({
            "name": name,
            "namespace": namespace,
            "scope": "WorkloadSelector",
            "action": action,
            "rules": [[[condition]]],
        }));
        let last = self.policies.len() - 1;
        &mut self.policies[last]
    }

    /// A workload by name, to be edited.
    ///
    /// # Panics
    /// There is none of that name: the scenario is wrong.
    pub fn workload(&mut self, name: &str) -> &mut Value {
        let found = self
            .workloads
            .iter_mut()
            .find(|workload| workload["name"] == name);
        found.unwrap_or_else(|| panic!("no workload {name} in the document"))
    }

    /// Makes a workload an endpoint of `namespace/hostname` of a service that was added by that short name.
    pub fn serves(&mut self, workload: &str, service: &str, namespace: &str, ports: Value) {
        let key = format!("{namespace}/{service}.{namespace}.svc.cluster.local");
        let workload = self.workload(workload);
        if !workload["services"].is_object() {
            workload["services"] = json!({});
        }
        workload["services"][key] = ports;
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let Self {
            workloads,
            services,
            policies,
        } = self;
        json!({ "workloads": workloads, "services": services, "policies": policies }).to_string()
    }

    /// Replaces the file at `path`: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        replace(path, &self.text())
    }
}

/// Gives a file another content by a rename, as editors do.
///
/// # Errors
/// It cannot be written.
pub fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let unready = host::path(&format!("unready-{}", fastrand::u64(..)));
    std::fs::write(&unready, text)
        .and_then(|()| std::fs::rename(&unready, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
