//! The world of the lab: nodes joined by a wire, pods on the nodes, a tunnel and an agent on each node, and the
//! configuration that they share.
//!
//! The calls are blocking, and each returns when what it did can be relied upon: a tunnel that was started is ready,
//! a pod that was enrolled is served. A world needs the namespaces of [`super::host::enter`], and their folder for its
//! sockets, logs, configuration and CA: one world at a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use adit_net::Namespace;
use anyhow::{Context, bail};

use self::fabric::{Attachment, Fabric};
pub use self::node::{Agent, Tunnel};
pub use self::process::Process;
use super::host;
use super::mesh::Mesh;

mod fabric;
mod node;
mod process;

/// How long anything in the lab may take that usually takes a moment. Longer means that it will not happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Which pod to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodSpec {
    /// The pod's name; also the name of its host.
    pub name: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// The number of its node, from 0.
    pub node: usize,
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// What was asked for.
    pub spec: PodSpec,
    /// Its uid, as Kubernetes would give it.
    pub uid: String,
    /// Where it is on the network.
    pub attachment: Attachment,
    app: Option<Process>,
}

impl Pod {
    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.attachment.namespace
    }

    /// Its IPv4 address.
    pub fn address(&self) -> IpAddr {
        self.attachment.addresses.v4.into()
    }

    /// A port of its IPv4 address.
    pub fn socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(), port)
    }

    /// The process that runs in it.
    ///
    /// # Errors
    /// Nothing has been started there.
    pub fn app(&self) -> anyhow::Result<&Process> {
        self.app
            .as_ref()
            .with_context(|| format!("no application runs in {}", self.spec.name))
    }
}

/// A node: where its pods hang, its agent, and its tunnels, the newest last.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its network namespace.
    pub namespace: Namespace,
    agent: Agent,
    tunnels: Vec<Tunnel>,
    started: usize,
}

impl Node {
    /// The tunnel that serves new connections.
    ///
    /// # Errors
    /// None was started.
    pub fn tunnel(&self) -> anyhow::Result<&Tunnel> {
        self.tunnels
            .last()
            .with_context(|| format!("{} has no tunnel", self.name))
    }

    /// Every tunnel that was started on the node, and has not been taken away, the oldest first.
    pub fn tunnels(&self) -> &[Tunnel] {
        &self.tunnels
    }
}

/// Everything.
#[derive(Debug)]
pub struct World {
    executable: PathBuf,
    settings: Vec<(String, String)>,
    fabric: Fabric,
    nodes: Vec<Node>,
    pods: BTreeMap<String, Pod>,
    /// The agents live here.
    runtime: tokio::runtime::Runtime,
}

impl World {
    /// Makes nodes, joined by a wire, with nothing on them. `executable` is the program `adit`.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new(executable: PathBuf, nodes: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("agents")
            .enable_all()
            .build()
            .context("cannot start the agents' runtime")?;
        let mut fabric = Fabric::new().context("cannot make the wire between the nodes")?;
        let mut made = Vec::new();
        for index in 0..nodes {
            let name = format!("node-{}", index + 1);
            let namespace = fabric.add_node().with_context(|| format!("cannot make {name}"))?;
            let agent = Agent::listen(&runtime, &host::path(&format!("{name}.sock")))?;
            made.push(Node {
                name,
                namespace,
                agent,
                tunnels: Vec::new(),
                started: 0,
            });
        }
        Ok(Self {
            executable,
            settings: Vec::new(),
            fabric,
            nodes: made,
            pods: BTreeMap::new(),
            runtime,
        })
    }

    /// Gives tunnels that are started from now on a setting, as an environment variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.settings.push((variable.to_owned(), value.to_owned()));
    }

    /// Makes a pod, connected and not enrolled.
    ///
    /// # Errors
    /// What the kernel refuses, or a name that is taken.
    pub fn add_pod(&mut self, spec: PodSpec) -> anyhow::Result<&Pod> {
        if self.pods.contains_key(&spec.name) {
            bail!("there is a pod {} already", spec.name);
        }
        let attachment = self
            .fabric
            .add_pod(spec.node)
            .with_context(|| format!("cannot make pod {}", spec.name))?;
        let pod = Pod {
            uid: format!("uid-of-{}-{}", spec.namespace, spec.name),
            attachment,
            app: None,
            spec,
        };
        let name = pod.spec.name.clone();
        Ok(self.pods.entry(name).or_insert(pod))
    }

    /// Asks the application of a pod to end as Kubernetes does it, waits until it has, and returns its exit status.
    ///
    /// # Errors
    /// Nothing runs there, or it does not end in time.
    pub fn end_app(&mut self, pod: &str) -> anyhow::Result<std::process::ExitStatus> {
        let pod = self.pods.get_mut(pod).with_context(|| format!("no pod {pod}"))?;
        pod.app()?.signal(nix::sys::signal::Signal::SIGTERM)?;
        let app = pod.app.take().context("nothing runs in the pod")?;
        app.wait(PATIENCE)
    }

    /// Takes a pod away, as it is when a node agent hears of it: what still ran there is killed, its cable and its
    /// address are gone, and its network namespace goes with the last who has it open.
    ///
    /// # Errors
    /// There is no such pod, or the kernel refuses.
    pub fn remove_pod(&mut self, name: &str) -> anyhow::Result<()> {
        let pod = self.pods.remove(name).with_context(|| format!("no pod {name}"))?;
        self.fabric
            .remove_pod(pod.spec.node, &pod.attachment)
            .with_context(|| format!("cannot take away {name}"))?;
        self.node(pod.spec.node)?.agent.forget(&self.runtime, &pod);
        Ok(())
    }

    /// A pod by name.
    ///
    /// # Errors
    /// There is none.
    pub fn pod(&self, name: &str) -> anyhow::Result<&Pod> {
        self.pods.get(name).with_context(|| format!("no pod {name}"))
    }

    /// All pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// A node by number, from 0.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, index: usize) -> anyhow::Result<&Node> {
        self.nodes
            .get(index)
            .with_context(|| format!("no node number {index}"))
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Starts a role of `adit` in a pod, in place of what ran there.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_in(&mut self, pod: &str, arguments: &[String]) -> anyhow::Result<()> {
        let executable = self.executable.clone();
        let pod = self.pods.get_mut(pod).with_context(|| format!("no pod {pod}"))?;
        pod.app = None;
        let app = Process::start(&pod.spec.name, pod.namespace(), &executable, arguments, &[])?;
        pod.app = Some(app);
        Ok(())
    }

    /// Writes the configuration that every tunnel reads.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, mesh: &Mesh) -> anyhow::Result<()> {
        mesh.write(&Self::mesh_file())
    }

    /// Where the configuration is.
    pub fn mesh_file() -> PathBuf {
        host::path("mesh.yaml")
    }

    /// Starts a tunnel on a node, in a network namespace of its own, and waits until it is ready. If the node has one
    /// already, both run; the new one is told of the same pods.
    ///
    /// # Errors
    /// It does not start, or does not become ready in time; the error holds the end of its log.
    pub fn start_tunnel(&mut self, node: usize) -> anyhow::Result<()> {
        let attachment = self.fabric.add_pod(node)?;
        let mut environment = self.environment();
        let node = self
            .nodes
            .get_mut(node)
            .with_context(|| format!("no node number {node}"))?;
        node.started += 1;
        let name = format!("{}-tunnel-{}", node.name, node.started);
        environment.push(("NODE_NAME".to_owned(), node.name.clone()));
        environment.push(("INPOD_UDS".to_owned(), node.agent.path().display().to_string()));
        let snapshots = node.agent.snapshots();
        let tunnel = Tunnel::start(&name, attachment, &self.executable, &environment)?;
        let ready = tunnel
            .wait_ready()
            .and_then(|()| node.agent.wait_snapshots(&self.runtime, snapshots + 1));
        ready.with_context(|| format!("{name} does not become ready\n{}", tunnel.process().last_words()))?;
        node.tunnels.push(tunnel);
        Ok(())
    }

    /// What every tunnel of this world is told.
    fn environment(&self) -> Vec<(String, String)> {
        let file = |path: PathBuf| path.display().to_string();
        let mut environment = vec![
            ("CLUSTER_ID".to_owned(), "lab".to_owned()),
            ("LOCAL_XDS_PATH".to_owned(), file(Self::mesh_file())),
            ("ADIT_LOCAL_CA".to_owned(), file(host::path("ca"))),
        ];
        environment.extend(self.settings.iter().cloned());
        environment
    }

    /// Asks the oldest tunnel of a node to end as Kubernetes does it, waits until it has, and returns its exit status.
    ///
    /// # Errors
    /// There is none, or it does not end in time.
    pub fn retire_tunnel(&mut self, node: usize) -> anyhow::Result<std::process::ExitStatus> {
        let node = self
            .nodes
            .get_mut(node)
            .with_context(|| format!("no node number {node}"))?;
        if node.tunnels.is_empty() {
            bail!("{} has no tunnel", node.name);
        }
        let oldest = node.tunnels.remove(0);
        oldest.process().signal(nix::sys::signal::Signal::SIGTERM)?;
        oldest.into_process().wait(PATIENCE)
    }

    /// Takes a pod into the mesh: hands it to its node's tunnel, then redirects its traffic.
    ///
    /// # Errors
    /// The tunnel does not serve it, or the kernel refuses the rules.
    pub fn enrol(&self, name: &str) -> anyhow::Result<()> {
        let pod = self.pod(name)?;
        let node = self.node(pod.spec.node)?;
        node.agent
            .enrol(&self.runtime, pod)
            .with_context(|| format!("cannot enrol {name}"))
    }

    /// Takes a pod out of the mesh: first its rules, then its tunnel.
    ///
    /// # Errors
    /// The kernel refuses to remove the rules.
    pub fn release(&self, name: &str) -> anyhow::Result<()> {
        let pod = self.pod(name)?;
        let node = self.node(pod.spec.node)?;
        node.agent
            .release(&self.runtime, pod)
            .with_context(|| format!("cannot take {name} out of the mesh"))
    }
}
