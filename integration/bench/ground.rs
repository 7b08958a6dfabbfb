//! What the systems stand on: two nodes, a client pod and a server pod of each system on each, and the servers.

use std::any::Any;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use adit::lab::host;
use adit::lab::world::Process;
use adit_integration::harness::bed::Bed;
use adit_net::{Namespace, link};
use anyhow::Context;

use super::{Args, Path as Where};
use crate::loads::hold;

/// Where the web server listens.
pub const HTTP: u16 = 8080;
/// Where iperf3 listens.
pub const IPERF: u16 = 5201;
/// Where [`hold`] listens.
pub const HOLD: u16 = 9000;
/// Everything that a client calls.
pub const PORTS: [u16; 3] = [HTTP, IPERF, HOLD];

/// Size of the web server's answer in bytes.
const BODY: usize = 1024;

/// Nodes, pods and servers.
pub struct Ground {
    /// The world; its mesh is the adit systems'.
    pub bed: Bed,
    /// What was asked for.
    pub args: Args,
    /// Where a stock ztunnel is.
    pub ztunnel: Option<PathBuf>,
    processes: Vec<Process>,
    kept: Vec<Box<dyn Any>>,
}

/// The pods of a system that are measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pods {
    /// Who calls.
    pub client: String,
    /// Who answers.
    pub server: String,
    /// Who calls without being redirected.
    pub outsider: String,
}

impl Ground {
    /// Two nodes.
    pub fn new(args: &Args, ztunnel: Option<PathBuf>) -> anyhow::Result<Self> {
        Ok(Self {
            bed: Bed::new(2)?,
            args: args.clone(),
            ztunnel,
            processes: Vec::new(),
            kept: Vec::new(),
        })
    }

    /// Makes a client pod and a server pod on each node, starts the servers, and names those that are measured.
    pub fn add_pods(&mut self, system: &str) -> anyhow::Result<Pods> {
        for node in 0..2 {
            for role in ["client", "server"] {
                let name = format!("{system}-{role}-{}", node + 1);
                self.bed.add_bare(&name, node)?;
                prepare(self.namespace(&name)?, &self.args.cc)?;
            }
            self.serve(&format!("{system}-server-{}", node + 1))?;
        }
        let node = match self.args.path {
            Where::TwoNodes => 2,
            Where::OneNode => 1,
        };
        Ok(Pods {
            client: format!("{system}-client-1"),
            server: format!("{system}-server-{node}"),
            outsider: format!("{system}-client-2"),
        })
    }

    /// A pod's namespace.
    pub fn namespace(&self, pod: &str) -> anyhow::Result<&Namespace> {
        self.bed.namespace(pod)
    }

    /// A port of a pod.
    pub fn address(&self, pod: &str, port: u16) -> anyhow::Result<SocketAddr> {
        self.bed.socket(pod, port)
    }

    /// Starts a program that ends with the run; its process id.
    pub fn start(
        &mut self,
        name: &str,
        namespace: &Namespace,
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> anyhow::Result<u32> {
        let process = Process::start(name, namespace, program, arguments, environment)?;
        let id = process.id();
        self.run(process);
        Ok(id)
    }

    /// Lets a program run until the end of the run.
    pub fn run(&mut self, process: Process) {
        self.processes.push(process);
    }

    /// Keeps something until the end of the run.
    pub fn keep(&mut self, what: impl Any) {
        self.kept.push(Box::new(what));
    }

    /// What the processes of a system said last, for the error message of a run that failed.
    pub fn last_words(&self, system: &str) -> String {
        let of_system = |process: &&Process| process.log().to_string_lossy().contains(system);
        let words = self.processes.iter().filter(of_system).map(Process::last_words);
        words.collect::<Vec<_>>().join("\n")
    }

    fn serve(&mut self, pod: &str) -> anyhow::Result<()> {
        let namespace = self.namespace(pod)?.clone();
        let body = "x".repeat(BODY);
        let folder = nginx_folder(pod)?;
        let config = format!(
            "daemon off; worker_processes 2; pid {0}/pid;
             events {{ worker_connections 20000; }}
             http {{
                 access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
                 client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;
                 server {{ listen {HTTP} reuseport backlog=4096; location / {{ default_type text/plain; return 200 {body}; }} }}
             }}",
            folder.display()
        );
        self.nginx(&format!("web-of-{pod}"), &namespace, &folder, &config)?;
        let iperf = [String::from("-s"), String::from("-p"), IPERF.to_string()];
        self.start(
            &format!("iperf-of-{pod}"),
            &namespace,
            Path::new("/usr/bin/iperf3"),
            &iperf,
            &[],
        )?;
        hold::serve(&namespace, HOLD)
    }

    /// Starts an nginx with this configuration, in a process namespace of its own, so that its workers go with it however
    /// this run ends; the id of the process above it.
    pub fn nginx(
        &mut self,
        name: &str,
        namespace: &Namespace,
        folder: &Path,
        config: &str,
    ) -> anyhow::Result<u32> {
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let (folder, file) = (folder.display().to_string(), file.display().to_string());
        let arguments = [
            "--pid",
            "--fork",
            "--kill-child",
            "/usr/sbin/nginx",
            "-p",
            &folder,
            "-e",
            "stderr",
            "-c",
            &file,
        ]
        .map(str::to_owned);
        self.start(name, namespace, Path::new("/usr/bin/unshare"), &arguments, &[])
    }
}

/// A folder for one nginx.
pub fn nginx_folder(name: &str) -> anyhow::Result<PathBuf> {
    let folder = host::path(&format!("nginx-{name}"));
    std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// The kernel's settings that a load needs or that are to be compared; the same for every system.
fn prepare(namespace: &Namespace, congestion: &str) -> anyhow::Result<()> {
    link::set(namespace, "ipv4/tcp_congestion_control", congestion).with_context(|| {
        format!(
            "the congestion control {congestion:?} cannot be had here: see /proc/sys/net/ipv4/tcp_allowed_congestion_control"
        )
    })?;
    // Tens of thousands of short connections between two addresses.
    link::set(namespace, "ipv4/ip_local_port_range", "10240 65000")?;
    link::set(namespace, "ipv4/tcp_tw_reuse", "1")?;
    link::set(namespace, "core/somaxconn", "4096")?;
    Ok(())
}
