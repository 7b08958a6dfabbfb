//! The control plane of the lab: the real one, which reads manifests from a directory and trusts the lab's tokens.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use adit_net::Namespace;
use anyhow::Context;

use super::fabric::Attachment;
use super::node::wait_ready;
use super::process::Process;
use crate::lab::manifests::{self, Identity};
use crate::lab::tokens::{self, Issuer};
use crate::lab::{host, http};

/// The namespace of Adit itself.
pub const NAMESPACE: &str = "adit-system";
/// The service account of tunnels.
pub const TUNNEL_ACCOUNT: &str = "adit-tunnel";
/// What the control plane is called.
const NAME: &str = "adit-control.adit-system.svc";
const SECURE: u16 = 15012;
const MONITORING: u16 = 15014;
const READINESS: u16 = 8080;

/// A control plane, in its own pod.
#[derive(Debug)]
pub struct Control {
    process: Option<Process>,
    attachment: Attachment,
    executable: PathBuf,
    issuer: Issuer,
    arguments: Vec<String>,
    started: usize,
}

impl Control {
    /// Prepares one; it does not run yet. `arguments` are added to its command line.
    pub(super) fn new(attachment: Attachment, executable: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            process: None,
            attachment,
            executable: executable.to_owned(),
            issuer: Issuer::new(&host::path("token-keys.json"))?,
            arguments: Vec::new(),
            started: 0,
        })
    }

    /// Adds to its command line when it starts the next time.
    pub fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// Starts it, in place of one that ran, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready in time; the error holds the end of its log.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.process = None;
        self.started += 1;
        let text = |path: &Path| path.display().to_string();
        let mut arguments = vec!["control".to_owned()];
        for (flag, value) in [
            ("--manifests", text(&manifests::directory())),
            ("--ca-dir", text(&ca())),
            ("--token-keys", text(self.issuer.path())),
            ("--token-issuer", tokens::ISSUER.to_owned()),
            ("--token-audience", tokens::AUDIENCE.to_owned()),
            ("--cluster-id", "lab".to_owned()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.extend(self.arguments.iter().cloned());
        let name = format!("control-{}", self.started);
        let namespace = &self.attachment.namespace;
        self.process = Some(Process::start(
            &name,
            namespace,
            &self.executable,
            &arguments,
            &[],
        )?);
        wait_ready(namespace, SocketAddr::new(self.address(), READINESS))
            .with_context(|| format!("{name} does not become ready\n{}", self.last_words()))
    }

    /// Ends it, as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Its process.
    ///
    /// # Errors
    /// It does not run.
    pub fn process(&self) -> anyhow::Result<&Process> {
        self.process.as_ref().context("the control plane does not run")
    }

    /// The network namespace of its own.
    pub fn namespace(&self) -> &Namespace {
        &self.attachment.namespace
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.attachment.addresses.v4.into()
    }

    /// Asks one of its pages.
    ///
    /// # Errors
    /// It does not answer.
    pub fn page(&self, path: &str) -> anyhow::Result<http::Response> {
        let address = SocketAddr::new(self.address(), MONITORING);
        http::request(self.namespace(), address, "GET", path)
            .with_context(|| format!("{path} of the control plane"))
    }

    /// What a tunnel must be told to be its client, as the pod that it is.
    ///
    /// # Errors
    /// Its token cannot be made or written.
    pub fn environment(&self, pod: Identity<'_>, address: IpAddr) -> anyhow::Result<Vec<(String, String)>> {
        let token = host::path(&format!("{}.token", pod.name));
        std::fs::write(&token, self.issuer.issue(pod)?)
            .with_context(|| format!("cannot write {}", token.display()))?;
        let url = format!("https://{}", SocketAddr::new(self.address(), SECURE));
        let root = ca().join("root-cert.pem").display().to_string();
        let pairs = [
            ("CLUSTER_ID", "lab".to_owned()),
            ("NODE_NAME", pod.node.to_owned()),
            ("POD_NAME", pod.name.to_owned()),
            ("POD_NAMESPACE", pod.namespace.to_owned()),
            ("SERVICE_ACCOUNT", pod.service_account.to_owned()),
            ("INSTANCE_IP", address.to_string()),
            ("XDS_ADDRESS", url.clone()),
            ("CA_ADDRESS", url),
            ("XDS_ROOT_CA", root.clone()),
            ("CA_ROOT_CA", root),
            ("ALT_XDS_HOSTNAME", NAME.to_owned()),
            ("ALT_CA_HOSTNAME", NAME.to_owned()),
            ("AUTH_TOKEN", token.display().to_string()),
        ];
        Ok(pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }

    fn last_words(&self) -> String {
        self.process.as_ref().map(Process::last_words).unwrap_or_default()
    }
}

/// Where its authority is.
fn ca() -> PathBuf {
    host::path("ca")
}
