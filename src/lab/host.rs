//! A place of the lab's own on the machine: private namespaces, and a private folder.
//!
//! Root needs no user namespace, everybody else lives in one. Where root is not what it seems, as in most containers,
//! the user namespace is tried as well.

use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use adit_net::userns::{self, UserNamespaceError};
use anyhow::Context;
use nix::mount::MsFlags;

/// Where the lab keeps its files, in a file system that goes with the lab's mount namespace.
pub const DIRECTORY: &str = "/run/adit";

/// The allocator's settings, as its environment variable: those that it was built with start a thread before `main`.
const ALLOCATOR_SETTINGS: (&str, &str) = ("_RJEM_MALLOC_CONF", "background_thread:false");

/// Makes sure that this process has one thread, as the kernel demands of one that changes its user namespace: if there
/// are more, which only the allocator starts this early, the program starts over without them. Call it first thing in
/// `main`.
///
/// # Errors
/// The program cannot be started over.
pub fn be_single_threaded() -> anyhow::Result<()> {
    let threads = fs::read_dir("/proc/self/task").context("cannot count this process's threads")?;
    let (variable, value) = ALLOCATOR_SETTINGS;
    // The second time it makes no difference; the kernel then says what it thinks of the threads.
    if threads.count() == 1 || env::var_os(variable).is_some_and(|found| found == value) {
        return Ok(());
    }
    let program = env::current_exe().context("cannot find this program")?;
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(variable, value)
        .exec();
    Err(error).context("cannot start over without the allocator's thread")
}

/// Leaves the choice of the allocator's settings to a program that is not ours.
pub fn forget_allocator_settings(command: &mut Command) -> &mut Command {
    command.env_remove(ALLOCATOR_SETTINGS.0)
}

/// Moves this process into namespaces of its own. Call it first thing in `main`, before there are threads: it may start
/// the program over, as [`be_single_threaded`] does.
///
/// # Errors
/// What the kernel is missing, or forbids.
pub fn enter() -> anyhow::Result<()> {
    be_single_threaded()?;
    enter_namespaces().context("the lab needs network and mount namespaces of its own")?;
    fs::create_dir(DIRECTORY).with_context(|| format!("cannot create {DIRECTORY}"))?;
    Ok(())
}

fn enter_namespaces() -> Result<(), UserNamespaceError> {
    if !nix::unistd::geteuid().is_root() {
        return userns::enter_user_namespace();
    }
    match userns::enter_namespaces_as_root() {
        Err(UserNamespaceError::Refused(_)) => userns::enter_user_namespace(),
        outcome => outcome,
    }
}

/// A path in the lab's folder.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Makes names known to every program in the lab: `/etc/hosts` is another file here than outside.
///
/// # Errors
/// The file cannot be written, or not be put in place.
pub fn name_hosts(hosts: &[(String, IpAddr)]) -> anyhow::Result<()> {
    let file = path("hosts");
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for (name, address) in hosts {
        text.push_str(&format!("{address} {name}\n"));
    }
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let none: Option<&str> = None;
    nix::mount::mount(Some(&file), "/etc/hosts", none, MsFlags::MS_BIND, none)
        .context("cannot put the lab's names over /etc/hosts")?;
    Ok(())
}
