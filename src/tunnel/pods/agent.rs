//! The node agent's messages, as the manager of pods takes them.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use adit_net::Namespace;
use adit_zds::client::Pods;
use adit_zds::{ConnectionFailure, WorkloadInfo};

use super::PodManager;
use crate::pod::PodInfo;

impl Pods for PodManager {
    async fn add(&mut self, uid: String, workload: WorkloadInfo, namespace: OwnedFd) -> Result<(), String> {
        let network = Namespace::from_fd(namespace).map_err(|error| error.to_string())?;
        let info = PodInfo {
            uid: uid.into(),
            name: workload.name.into(),
            namespace: workload.namespace.into(),
            service_account: workload.service_account.into(),
        };
        self.start(info, network).await
    }

    fn keep(&mut self, uid: &str) -> Result<(), String> {
        match self.0.state().pods.contains_key(uid) {
            true => Ok(()),
            false => Err(format!(
                "pod {uid} is not known here; send it with its network namespace"
            )),
        }
    }

    async fn remove(&mut self, uid: &str) {
        self.stop(uid);
    }

    async fn retain(&mut self, enrolled: &HashSet<String>) {
        let gone: Vec<_> = {
            let state = self.0.state();
            let known = state.pods.keys();
            known
                .filter(|uid| !enrolled.contains(uid.as_str()))
                .cloned()
                .collect()
        };
        for uid in gone {
            self.stop(&uid);
        }
        self.0.state().agent = None;
    }

    fn disconnected(&mut self, _: &ConnectionFailure) {
        let blocker = self.0.readiness.block("workload proxy manager");
        self.0.state().agent = Some(blocker);
    }
}
