//! The way into a running lab from another terminal: `adit lab exec`.
//!
//! The lab's namespaces have no names that could stay behind. Instead the lab listens on an abstract Unix socket, which
//! lives exactly as long as the lab does, and tells which process stands for which pod; the visitor moves into that
//! process's namespaces. The kernel decides whether it may: it must be the same user, or root.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use nix::sched::CloneFlags;

use super::host;

/// What the names of the labs' sockets start with; the process id follows.
const PREFIX: &str = "adit-lab-";

/// The lab's side, made before the lab leaves the namespace where visitors come from.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
}

impl Door {
    /// Makes the door, still closed.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        let address = SocketAddr::from_abstract_name(format!("{PREFIX}{}", std::process::id()))?;
        let listener = UnixListener::bind_addr(&address).context("cannot listen for visitors")?;
        Ok(Self { listener })
    }

    /// Tells visitors from now on which process stands for which pod.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn open(self, pods: &BTreeMap<String, u32>) -> anyhow::Result<()> {
        let answer = serde_json::to_vec(pods)?;
        std::thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || {
                for mut visitor in self.listener.incoming().flatten() {
                    // A visitor that has gone again needs no answer.
                    let _gone = visitor.write_all(&answer);
                }
            })?;
        Ok(())
    }
}

/// Becomes a command inside a pod of the running lab.
///
/// # Errors
/// There is no lab, or no such pod, or the kernel does not let us in, or the command is not there.
pub fn exec(pod: &str, command: &[OsString]) -> anyhow::Result<std::convert::Infallible> {
    let pods = ask()?;
    let Some(process) = pods.get(pod) else {
        let names: Vec<_> = pods.keys().map(String::as_str).collect();
        bail!("the lab has no pod {pod}; it has {}", names.join(", "));
    };
    for (name, kind) in [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("net", CloneFlags::CLONE_NEWNET),
    ] {
        enter(*process, name, kind).with_context(|| format!("cannot enter the {name} namespace of {pod}"))?;
    }
    let (program, arguments) = command.split_first().context("no command given")?;
    let error = host::forget_allocator_settings(Command::new(program).args(arguments)).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn enter(process: u32, name: &str, kind: CloneFlags) -> anyhow::Result<()> {
    let theirs = File::open(format!("/proc/{process}/ns/{name}"))?;
    let ours = File::open(format!("/proc/self/ns/{name}"))?;
    // One cannot enter the user namespace where one is; root's lab has none of its own.
    if theirs.metadata()?.ino() != ours.metadata()?.ino() {
        nix::sched::setns(theirs, kind)?;
    }
    Ok(())
}

fn ask() -> anyhow::Result<BTreeMap<String, u32>> {
    // Abstract sockets are listed with an @ in front.
    let sockets = std::fs::read_to_string("/proc/net/unix").context("cannot look for a running lab")?;
    let names = sockets
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.strip_prefix('@'))
        .filter(|name| name.starts_with(PREFIX));
    for name in names {
        let address = SocketAddr::from_abstract_name(name)?;
        // One that ended since is passed over.
        if let Ok(mut lab) = UnixStream::connect_addr(&address) {
            let mut answer = String::new();
            lab.read_to_string(&mut answer)?;
            return serde_json::from_str(&answer).context("the lab's answer is not understood");
        }
    }
    bail!("no lab is running here; start one with: adit lab")
}
