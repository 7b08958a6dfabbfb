//! What runs on a node: the agent, which is part of the lab, and the tunnel, which is the real one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use adit_net::{Namespace, policy_routing, rules, socket};
use adit_zds::WorkloadInfo;
use adit_zds::server::{Delivery, Pod as EnrolledPod};
use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use super::fabric::Attachment;
use super::process::Process;
use super::{PATIENCE, Pod};
use crate::lab::{http, observe};

/// Where the tunnel is administered, on its loopback interface.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);

/// Where the tunnel's metrics are.
const METRICS: u16 = 15020;

/// Where the tunnel says whether it is ready.
const READINESS: u16 = 15021;

/// The agent of a node: tells tunnels of pods, and redirects the pods' traffic.
#[derive(Debug)]
pub struct Agent {
    zds: adit_zds::server::Agent,
    path: PathBuf,
}

impl Agent {
    pub(super) fn listen(runtime: &Runtime, path: &Path) -> anyhow::Result<Self> {
        let _inside = runtime.enter();
        let zds = adit_zds::server::Agent::listen(path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self {
            zds,
            path: path.to_owned(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many snapshots tunnels have acknowledged so far.
    pub(super) fn snapshots(&self) -> u64 {
        self.zds.connections().borrow().snapshots
    }

    pub(super) fn wait_snapshots(&self, runtime: &Runtime, wanted: u64) -> anyhow::Result<()> {
        let mut connections = self.zds.connections();
        let arrived = connections.wait_for(|connections| connections.snapshots >= wanted);
        runtime
            .block_on(async {
                tokio::time::timeout(PATIENCE, arrived)
                    .await
                    .map(|found| found.is_ok())
            })
            .ok()
            .filter(|arrived| *arrived)
            .context("the tunnel has not acknowledged the agent's pods")?;
        Ok(())
    }

    pub(super) fn enrol(&self, runtime: &Runtime, pod: &Pod) -> anyhow::Result<()> {
        let enrolled = EnrolledPod {
            uid: pod.uid.clone(),
            workload: WorkloadInfo {
                name: pod.spec.name.clone(),
                namespace: pod.spec.namespace.clone(),
                service_account: pod.spec.service_account.clone(),
            },
            namespace: Arc::new(pod.namespace().as_fd().try_clone_to_owned()?),
        };
        match runtime.block_on(self.zds.add(enrolled))? {
            Delivery::Served => {}
            Delivery::Deferred => bail!("no tunnel has answered"),
        }
        // After the tunnel serves it: otherwise there would be a moment without connectivity.
        let rules = rules_of(pod)?;
        policy_routing::apply(pod.namespace(), rules.ipv6)?;
        rules::apply(pod.namespace(), &rules)?;
        match rules::verify(pod.namespace(), &rules)? {
            rules::Verified::Exact => Ok(()),
            found => bail!("the pod's rules are not what was written: {found:?}"),
        }
    }

    /// The pod has gone: there are no rules to remove any more.
    pub(super) fn forget(&self, runtime: &Runtime, pod: &Pod) {
        runtime.block_on(self.zds.remove(&pod.uid));
    }

    pub(super) fn release(&self, runtime: &Runtime, pod: &Pod) -> anyhow::Result<()> {
        rules::remove(pod.namespace())?;
        policy_routing::remove(pod.namespace())?;
        runtime.block_on(self.zds.remove(&pod.uid));
        Ok(())
    }
}

/// A pod may have turned IPv6 off although its node has it.
fn rules_of(pod: &Pod) -> anyhow::Result<rules::Options> {
    let ipv6 = socket::ipv6_available(Some(pod.namespace()))
        .with_context(|| format!("cannot tell whether {} has IPv6", pod.spec.name))?;
    Ok(rules::Options {
        ipv6,
        ..rules::Options::default()
    })
}

/// A tunnel, in its own pod.
#[derive(Debug)]
pub struct Tunnel {
    process: Process,
    attachment: Attachment,
}

impl Tunnel {
    pub(super) fn start(
        name: &str,
        attachment: Attachment,
        executable: &Path,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let arguments = ["tunnel".to_owned()];
        let namespace = &attachment.namespace;
        let process = Process::start(name, namespace, executable, &arguments, environment)?;
        Ok(Self { process, attachment })
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn into_process(self) -> Process {
        self.process
    }

    /// The network namespace of its own.
    pub fn namespace(&self) -> &Namespace {
        &self.attachment.namespace
    }

    /// Asks the administration server.
    ///
    /// # Errors
    /// It does not answer.
    pub fn admin(&self, method: &str, path: &str) -> anyhow::Result<http::Response> {
        http::request(self.namespace(), ADMIN, method, path)
            .with_context(|| format!("{method} {path} of {}", self.process.log().display()))
    }

    /// Scrapes the metrics, as Prometheus does.
    ///
    /// # Errors
    /// They are not served.
    pub fn metrics(&self) -> anyhow::Result<observe::Metrics> {
        let address = SocketAddr::new(self.attachment.addresses.v4.into(), METRICS);
        let response = http::request(self.namespace(), address, "GET", "/stats/prometheus")?;
        if response.status != 200 {
            bail!("the metrics answer {}", response.status);
        }
        Ok(observe::Metrics::parse(&response.body))
    }

    pub(super) fn wait_ready(&self) -> anyhow::Result<()> {
        let address = SocketAddr::new(self.attachment.addresses.v4.into(), READINESS);
        wait_ready(self.namespace(), address)
    }
}

/// Waits until the readiness page at an address says so.
pub(super) fn wait_ready(namespace: &Namespace, address: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = http::request(namespace, address, "GET", "/healthz/ready");
        match answer {
            Ok(response) if response.status == 200 => return Ok(()),
            answer if Instant::now() > deadline => match answer {
                Ok(response) => bail!("it says: {}", response.body.trim()),
                Err(error) => return Err(error.into()),
            },
            _ => std::thread::sleep(observe::INTERVAL),
        }
    }
}
