//! What a scenario stands on: the lab's world, a mesh that it edits freely, and tunnels with settings of its own.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;

use adit::lab::apps;
use adit::lab::session::Session;
use adit::lab::world::{PATIENCE, PodSpec, World};
use adit::lab::{host, http, observe};
use adit_net::Namespace;
use anyhow::{Context, ensure};
use serde_json::Value;

use crate::harness::document::Document;
use crate::harness::tunnels::{Settings, Tunnel};

/// The Kubernetes namespace of pods whose namespace does not matter.
pub const NAMESPACE: &str = "bank";

/// Ends a connection by a reset.
///
/// # Errors
/// The kernel refuses.
pub fn reset(stream: TcpStream) -> anyhow::Result<()> {
    adit_net::socket::reset(&stream)?;
    drop(stream);
    Ok(())
}

/// A world in the making.
#[derive(Debug)]
pub struct Bed {
    /// Nodes, pods, agents. Its own tunnels are not used.
    pub world: World,
    /// What the tunnels are to read; [`Bed::configure`] writes it.
    pub mesh: Document,
    started: usize,
}

impl Bed {
    /// Nodes with nothing on them, in the namespaces that [`host::enter`] made.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new(nodes: usize) -> anyhow::Result<Self> {
        let bed = Self {
            world: World::new(std::env::current_exe()?, nodes)?,
            mesh: Document::default(),
            started: 0,
        };
        bed.configure()?;
        Ok(bed)
    }

    /// Makes a pod with an application in it, which is a workload of the mesh and not enrolled yet.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn add_pod(&mut self, name: &str, node: usize) -> anyhow::Result<&mut Value> {
        self.add_machine(name, node)?;
        self.run_app(name)?;
        let node = &self.world.node(node)?.name;
        Ok(self.mesh.add_pod(self.world.pod(name)?, node))
    }

    /// Makes a pod in which nothing runs, which is a workload of the mesh and not enrolled yet.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn add_bare(&mut self, name: &str, node: usize) -> anyhow::Result<&mut Value> {
        self.add_machine(name, node)?;
        let node = &self.world.node(node)?.name;
        Ok(self.mesh.add_pod(self.world.pod(name)?, node))
    }

    /// Makes a pod in which nothing runs and which is no part of the mesh.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn add_machine(&mut self, name: &str, node: usize) -> anyhow::Result<()> {
        self.world.add_pod(PodSpec {
            name: name.to_owned(),
            namespace: NAMESPACE.to_owned(),
            service_account: name.to_owned(),
            node,
        })?;
        Ok(())
    }

    /// Starts the lab's application in a pod, in place of the one that ran there.
    ///
    /// # Errors
    /// It cannot be started, or does not listen in time.
    pub fn run_app(&mut self, name: &str) -> anyhow::Result<()> {
        let app = apps::Args {
            name: name.to_owned(),
            upstream: None,
        };
        self.world.run_in(name, &app.to_command())?;
        let here = SocketAddr::new([127, 0, 0, 1].into(), apps::HTTP_PORT);
        let namespace = self.world.pod(name)?.namespace();
        observe::eventually(format_args!("the application of {name}"), || {
            Ok(http::request(namespace, here, "GET", "/").ok().map(drop))
        })
    }

    /// Where the configuration is.
    pub fn mesh_file() -> PathBuf {
        host::path("mesh.yaml")
    }

    /// Writes the configuration. Tunnels notice in their own time: see [`Bed::apply`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self) -> anyhow::Result<()> {
        self.mesh.write(&Bed::mesh_file())
    }

    /// Writes the configuration, and waits until these tunnels have applied it: a workload that nobody is tells this
    /// version from others.
    ///
    /// # Errors
    /// They do not in time.
    pub fn apply(&self, tunnels: &[&Tunnel]) -> anyhow::Result<()> {
        let version = format!("version-{}", fastrand::u64(..));
        let mut mesh = self.mesh.clone();
        mesh.add_workload(&version, NAMESPACE, "nobody", &[]);
        mesh.write(&Bed::mesh_file())?;
        for tunnel in tunnels {
            observe::eventually(format_args!("{version} of the mesh to be applied"), || {
                let dump = tunnel.admin("GET", "/config_dump")?.body;
                Ok(dump.contains(&version).then_some(()))
            })?;
        }
        Ok(())
    }

    /// What every tunnel of a node is told, unless a scenario says otherwise.
    ///
    /// # Errors
    /// There is no such node.
    pub fn settings(&self, node: usize) -> anyhow::Result<Settings> {
        let name = &self.world.node(node)?.name;
        let file = |path: PathBuf| path.display().to_string();
        let settings = [
            ("NODE_NAME", name.clone()),
            ("CLUSTER_ID", "lab".to_owned()),
            ("INPOD_UDS", file(host::path(&format!("{name}.sock")))),
            ("LOCAL_XDS_PATH", file(Bed::mesh_file())),
            ("ADIT_LOCAL_CA", file(host::path("ca"))),
            ("LOG_FORMAT", "json".to_owned()),
        ];
        Ok(settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }

    /// Starts a tunnel on a node with the usual settings and these, and does not wait for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn launch(&mut self, node: usize, settings: &[(&str, &str)]) -> anyhow::Result<Tunnel> {
        let name = self.next_name();
        let (namespace, address) = self.place(&name, node)?;
        let mut all = self.settings(node)?;
        all.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        Tunnel::start(&name, &namespace, address, &all)
    }

    /// Starts a tunnel on a node with the usual settings, and a limit of open files of its own, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_tunnel_within(&mut self, node: usize, open_files: usize) -> anyhow::Result<Tunnel> {
        let name = self.next_name();
        let (namespace, address) = self.place(&name, node)?;
        let settings = self.settings(node)?;
        let mut tunnel = Tunnel::start_within(&name, &namespace, address, &settings, open_files)?;
        tunnel.wait_ready()?;
        Ok(tunnel)
    }

    /// Starts a tunnel on a node with the usual settings and these, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_tunnel(&mut self, node: usize, settings: &[(&str, &str)]) -> anyhow::Result<Tunnel> {
        let mut tunnel = self.launch(node, settings)?;
        tunnel.wait_ready()?;
        Ok(tunnel)
    }

    /// Makes a pod for a tunnel: its namespace and its address.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn place(&mut self, name: &str, node: usize) -> anyhow::Result<(Namespace, IpAddr)> {
        self.add_machine(name, node)?;
        let pod = self.world.pod(name)?;
        Ok((pod.namespace().clone(), pod.address()))
    }

    /// A name that no tunnel has yet.
    pub fn next_name(&mut self) -> String {
        self.started += 1;
        format!("tunnel-{}", self.started)
    }

    /// Enrols pods, also while a tunnel is only just connecting to the agent.
    ///
    /// # Errors
    /// They are not served in time.
    pub fn enrol(&mut self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            let mut last = None;
            let enrolled = observe::eventually(format_args!("enrolment of {name}"), || {
                let outcome = self.world.enrol(name);
                let done = outcome.is_ok().then_some(());
                last = outcome.err();
                Ok(done)
            });
            enrolled.map_err(|late| last.unwrap_or(late))?;
        }
        Ok(())
    }

    /// A pod's network namespace.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn namespace(&self, pod: &str) -> anyhow::Result<&Namespace> {
        Ok(self.world.pod(pod)?.namespace())
    }

    /// A port of a pod's address.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn socket(&self, pod: &str, port: u16) -> anyhow::Result<SocketAddr> {
        Ok(self.world.pod(pod)?.socket(port))
    }

    /// Makes a pod drop every connection that comes from elsewhere, without a word.
    ///
    /// # Errors
    /// The rules are refused.
    pub fn wall_in(&self, pod: &str) -> anyhow::Result<()> {
        const RULES: &str = "table inet wall {
            chain input { type filter hook input priority 0; iifname != \"lo\" tcp dport 1-65535 drop; }
        }";
        let mut nft = std::process::Command::new("nft");
        nft.args([RULES]);
        let status = adit_net::process::spawn(Some(self.namespace(pod)?), nft)?.wait()?;
        ensure!(status.success(), "nft ended with {status}");
        Ok(())
    }

    /// A TCP connection from a pod, as raw as it gets.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn connect(&self, from: &str, to: SocketAddr) -> anyhow::Result<TcpStream> {
        let connect = || TcpStream::connect_timeout(&to, PATIENCE);
        let stream = self.namespace(from)?.run(connect).flatten();
        stream.with_context(|| format!("{from} cannot connect to {to}"))
    }

    /// One request from a pod.
    ///
    /// # Errors
    /// There is no such pod. What the client saw is the inner result.
    pub fn attempt(
        &self,
        from: &str,
        to: SocketAddr,
    ) -> anyhow::Result<Result<http::Response, http::Failure>> {
        Ok(http::request(self.namespace(from)?, to, "GET", "/"))
    }

    /// One request that has to be answered; who answered.
    ///
    /// # Errors
    /// It is not.
    pub fn call(&self, from: &str, to: SocketAddr) -> anyhow::Result<String> {
        let response = self
            .attempt(from, to)?
            .with_context(|| format!("{from} calls {to}"))?;
        ensure!(response.status == 200, "{from} calls {to}: {response:?}");
        let answer: apps::Answer = serde_json::from_str(&response.body)?;
        Ok(answer.app)
    }

    /// One request that must not be answered; what the client saw.
    ///
    /// # Errors
    /// It is answered.
    pub fn refused(&self, from: &str, to: SocketAddr) -> anyhow::Result<http::Failure> {
        match self.attempt(from, to)? {
            Ok(response) => anyhow::bail!("{from} calls {to} and was not refused: {response:?}"),
            Err(failure) => Ok(failure),
        }
    }

    /// An open connection from a pod to an echo server, used once.
    ///
    /// # Errors
    /// It cannot be opened, or nothing comes back.
    pub fn session(&self, from: &str, to: SocketAddr) -> anyhow::Result<Session> {
        let mut session = Session::open(self.namespace(from)?, to)?;
        session
            .echo("hello")
            .with_context(|| format!("{from} talks to {to}"))?;
        Ok(session)
    }
}
