//! The ports of endpoints as a dump of stock ztunnel has them: at the service. Its workloads only name their
//! services, while in a file each workload has the ports with the name.

use std::collections::HashMap;

use adit_mesh::ServiceKey;
use adit_mesh::service::PortMap;

use super::document::Node;
use super::workload::port_map;

/// The ports of every endpoint that services list, by workload and service.
#[derive(Default)]
pub(super) struct Endpoints(HashMap<String, Vec<(ServiceKey, PortMap)>>);

impl Endpoints {
    /// Collects those of one service. What cannot be read is no endpoint: the lists are derived data.
    pub(super) fn add(&mut self, service: &Node<'_>) {
        let (Ok(namespace), Ok(hostname)) = (service.text_of("namespace"), service.text_of("hostname"))
        else {
            return;
        };
        let Some(endpoints) = service.field("endpoints") else {
            return;
        };
        for (uid, endpoint) in endpoints.entries().into_iter().flatten() {
            let ports = endpoint.field("port").and_then(|ports| port_map(&ports).ok());
            let key = ServiceKey {
                namespace: namespace.into(),
                hostname: hostname.into(),
            };
            let uid = match endpoint.text_of("workloadUid") {
                Ok(named) if !named.is_empty() => named,
                _ => uid,
            };
            let of_workload = self.0.entry(uid.to_owned()).or_default();
            of_workload.push((key, ports.unwrap_or_default()));
        }
    }

    /// The ports of a workload as an endpoint of a service; empty where the service does not list it.
    pub(super) fn ports(&self, uid: &str, service: &ServiceKey) -> PortMap {
        let of_workload = self.0.get(uid).into_iter().flatten();
        let mut of_service = of_workload.filter(|(key, _)| key == service);
        of_service
            .next()
            .map(|(_, ports)| ports.clone())
            .unwrap_or_default()
    }
}
