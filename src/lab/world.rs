//! The world of the lab: nodes joined by a wire, pods on the nodes, a tunnel and an agent on each node, and the
//! configuration that they share.
//!
//! The calls are blocking, and each returns when what it did can be relied upon: a tunnel that was started is ready,
//! a pod that was enrolled is served. What the kubelets and the node agents of a cluster would write, the world writes: its
//! nodes and pods are in the manifests that its control plane reads. A world needs the namespaces of [`super::host::enter`], and their folder for its
//! sockets, logs, configuration and CA: one world at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use adit_net::Namespace;
use anyhow::{Context, bail};

pub use self::control::Control;
use self::control::{NAMESPACE, TUNNEL_ACCOUNT};
use self::fabric::{Attachment, Fabric};
pub use self::node::{Agent, Tunnel};
pub use self::process::Process;
use super::manifests::{self, Identity};
use super::{host, observe};

mod control;
mod fabric;
mod node;
mod process;

/// How long anything in the lab may take that usually takes a moment. Longer means that it will not happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The policy that refuses plaintext, which a control plane gives to pods of a strict mesh.
pub const STRICT: &str = "istio_converted_static_strict";

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
    /// Those whose traffic is redirected.
    enrolled: BTreeSet<String>,
    /// The pods of tunnels, as manifests, by name.
    tunnel_pods: BTreeMap<String, serde_json::Value>,
    control: Option<Control>,
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
            enrolled: BTreeSet::new(),
            tunnel_pods: BTreeMap::new(),
            control: None,
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
        self.pods.insert(name.clone(), pod);
        self.publish()?;
        self.pod(&name)
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
        self.enrolled.remove(name);
        self.publish()
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

    /// Starts the control plane, in a network namespace of its own on the first node. Without one, no tunnel of this
    /// world starts.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_control(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let attachment = self.fabric.add_pod(0)?;
        let mut control = Control::new(attachment, &self.executable)?;
        control.add_arguments(arguments);
        self.control = Some(control);
        self.publish()?;
        self.control()?.start()
    }

    /// The control plane.
    ///
    /// # Errors
    /// There is none.
    pub fn control(&mut self) -> anyhow::Result<&mut Control> {
        self.control.as_mut().context("there is no control plane")
    }

    /// The process of the control plane, if it runs.
    pub fn control_process(&self) -> Option<&Process> {
        self.control.as_ref()?.process().ok()
    }

    /// Writes nodes and pods as manifests, as the kubelets and agents of a cluster do.
    fn publish(&self) -> anyhow::Result<()> {
        if self.control.is_none() {
            return Ok(());
        }
        let nodes = self.nodes.iter().map(|node| manifests::node(&node.name));
        let namespaces = self.pods.values().map(|pod| pod.spec.namespace.as_str());
        let namespaces: BTreeSet<_> = namespaces.chain([NAMESPACE]).collect();
        let namespaces = namespaces.into_iter().map(manifests::namespace);
        manifests::write("cluster.yaml", &nodes.chain(namespaces).collect::<Vec<_>>())?;
        let mut pods = Vec::new();
        for pod in self.pods.values() {
            let node = &self.node(pod.spec.node)?.name;
            pods.push(manifests::pod(pod, node, self.enrolled.contains(&pod.spec.name)));
        }
        pods.extend(self.tunnel_pods.values().cloned());
        manifests::write("pods.yaml", &pods)
    }

    /// Starts a tunnel on a node, in a network namespace of its own, and waits until it is ready. If the node has one
    /// already, both run; the new one is told of the same pods.
    ///
    /// # Errors
    /// It does not start, or does not become ready in time; the error holds the end of its log.
    pub fn start_tunnel(&mut self, node: usize) -> anyhow::Result<()> {
        let attachment = self.fabric.add_pod(node)?;
        let place = self
            .nodes
            .get_mut(node)
            .with_context(|| format!("no node number {node}"))?;
        place.started += 1;
        let name = format!("{}-tunnel-{}", place.name, place.started);
        let identity = Identity {
            name: &name,
            namespace: NAMESPACE,
            uid: &format!("uid-of-{name}"),
            service_account: TUNNEL_ACCOUNT,
            node: &place.name.clone(),
        };
        let address = attachment.addresses.v4.into();
        let manifest = manifests::running(identity, vec![address], false);
        self.tunnel_pods.insert(name.clone(), manifest);
        // Before it starts: the control plane gives certificates to tunnels whose pods it knows.
        self.publish()?;
        let mut environment = self.control()?.environment(identity, address)?;
        environment.extend(self.settings.iter().cloned());
        let node = &mut self.nodes[node];
        environment.push(("INPOD_UDS".to_owned(), node.agent.path().display().to_string()));
        let state = host::path(&format!("{}-state", node.name)).display().to_string();
        environment.push(("ADIT_STATE_DIR".to_owned(), state));
        let snapshots = node.agent.snapshots();
        let tunnel = Tunnel::start(&name, attachment, &self.executable, &environment)?;
        let ready = tunnel
            .wait_ready()
            .and_then(|()| node.agent.wait_snapshots(&self.runtime, snapshots + 1));
        ready.with_context(|| format!("{name} does not become ready\n{}", tunnel.process().last_words()))?;
        node.tunnels.push(tunnel);
        Ok(())
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
        let name = oldest.process().name().to_owned();
        let status = oldest.into_process().wait(PATIENCE)?;
        self.tunnel_pods.remove(&name);
        self.publish()?;
        Ok(status)
    }

    /// Takes a pod into the mesh: hands it to its node's tunnel, redirects its traffic, and then says so.
    ///
    /// # Errors
    /// The tunnel does not serve it, or the kernel refuses the rules.
    pub fn enrol(&mut self, name: &str) -> anyhow::Result<()> {
        let pod = self.pod(name)?;
        let node = self.node(pod.spec.node)?;
        node.agent
            .enrol(&self.runtime, pod)
            .with_context(|| format!("cannot enrol {name}"))?;
        self.enrolled.insert(name.to_owned());
        self.publish()
    }

    /// Waits until every tunnel knows of all enrolled pods that they are, and that they take no plaintext any more, which
    /// begins when all tunnels know that.
    ///
    /// # Errors
    /// They do not in time.
    pub fn wait_known(&self) -> anyhow::Result<()> {
        for tunnel in self.nodes.iter().flat_map(Node::tunnels) {
            let name = tunnel.process().name();
            observe::eventually(format_args!("{name} to know all enrolled pods"), || {
                let dump: serde_json::Value =
                    serde_json::from_str(&tunnel.admin("GET", "/config_dump")?.body)?;
                let workloads = dump["workloads"].as_array().into_iter().flatten();
                let known: BTreeSet<_> = workloads
                    .filter(|workload| workload["protocol"] == "HBONE" && is_strict(workload))
                    .filter_map(|workload| workload["name"].as_str())
                    .collect();
                let all = self.enrolled.iter().all(|name| known.contains(name.as_str()));
                Ok(all.then_some(()))
            })?;
        }
        Ok(())
    }

    /// Takes a pod out of the mesh: first its rules, then its tunnel.
    ///
    /// # Errors
    /// The kernel refuses to remove the rules.
    pub fn release(&mut self, name: &str) -> anyhow::Result<()> {
        let pod = self.pod(name)?;
        let node = self.node(pod.spec.node)?;
        node.agent
            .release(&self.runtime, pod)
            .with_context(|| format!("cannot take {name} out of the mesh"))?;
        self.enrolled.remove(name);
        self.publish()
    }
}

/// Whether a workload of a dump names the policy that refuses plaintext.
fn is_strict(workload: &serde_json::Value) -> bool {
    let policies = workload["authorizationPolicies"].as_array();
    let strict = |name: &serde_json::Value| name.as_str().is_some_and(|name| name.ends_with(STRICT));
    policies.into_iter().flatten().any(strict)
}
