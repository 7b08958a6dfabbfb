//! A place of the lab's own on the machine: private namespaces, and a private folder.
//!
//! Root needs no user namespace, everybody else lives in one. Where root is not what it seems, as in most containers,
//! the user namespace is tried as well.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use adit_net::userns::{self, UserNamespaceError};
use anyhow::Context;
use nix::mount::MsFlags;

/// Where the lab keeps its files, in a file system that goes with the lab's mount namespace.
pub const DIRECTORY: &str = "/run/adit";

/// Moves this process into namespaces of its own. Call it first thing in `main`, before there are threads.
///
/// # Errors
/// What the kernel is missing, or forbids.
pub fn enter() -> anyhow::Result<()> {
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
