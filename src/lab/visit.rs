//! The way into a running lab from another terminal: `adit lab exec`.
//!
//! The lab's namespaces have no names that could stay behind. Instead the lab listens on an abstract Unix socket, which
//! lives exactly as long as the lab does, and tells which process stands for which pod or node; the visitor moves into that
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
use std::sync::{Arc, Mutex, PoisonError};

use adit_mesh::near::hint;
use anyhow::{Context, bail};
use nix::sched::CloneFlags;

use super::host;

/// The place of the control plane, beside those of pods and nodes.
pub const CONTROL: &str = "control";

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

    /// Tells visitors from now on which process stands for which pod or node.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn open(self, places: &BTreeMap<String, u32>) -> anyhow::Result<Directory> {
        let directory = Directory::default();
        directory.update(places)?;
        let shared = directory.clone();
        std::thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || {
                for mut visitor in self.listener.incoming().flatten() {
                    let answer = shared.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    // A visitor that has gone again needs no answer.
                    let _gone = visitor.write_all(&answer);
                }
            })?;
        Ok(directory)
    }
}

/// What visitors are told.
#[derive(Clone, Default, Debug)]
pub struct Directory(Arc<Mutex<Vec<u8>>>);

impl Directory {
    /// Tells later visitors something else: processes are replaced.
    ///
    /// # Errors
    /// The names cannot be written as JSON.
    pub fn update(&self, places: &BTreeMap<String, u32>) -> anyhow::Result<()> {
        let answer = serde_json::to_vec(places)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        Ok(())
    }
}

/// Becomes a command inside a pod of the running lab, or where the tunnel of a node is.
///
/// # Errors
/// There is no lab, or no such pod or node, or the kernel does not let us in, or the command is not there.
pub fn exec(place: &str, command: &[OsString]) -> anyhow::Result<std::convert::Infallible> {
    let mount = ("mnt", CloneFlags::CLONE_NEWNS);
    enter_all(place, &[USER, mount, NETWORK])?;
    let (program, arguments) = command.split_first().context("no command given")?;
    let error = host::forget_allocator_settings(Command::new(program).args(arguments)).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Moves this process, which must have one thread, into the network of a pod of the running lab, or of the tunnel of a
/// node; its files stay those of outside.
///
/// # Errors
/// There is no lab, or no such pod or node, or the kernel does not let us in.
pub fn enter_network(place: &str) -> anyhow::Result<()> {
    enter_all(place, &[USER, NETWORK])
}

const USER: (&str, CloneFlags) = ("user", CloneFlags::CLONE_NEWUSER);
const NETWORK: (&str, CloneFlags) = ("net", CloneFlags::CLONE_NEWNET);

fn enter_all(place: &str, namespaces: &[(&str, CloneFlags)]) -> anyhow::Result<()> {
    let places = ask()?;
    let Some(process) = places.get(place) else {
        let hint = hint(place, places.keys().map(String::as_str));
        bail!("the lab has no pod or node {place}{hint}");
    };
    for (name, kind) in namespaces {
        enter(*process, name, *kind)
            .with_context(|| format!("cannot enter the {name} namespace of {place}"))?;
    }
    Ok(())
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
