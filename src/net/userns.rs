//! Being root in a world of one's own: an ordinary user may make network namespaces inside a user namespace, where
//! the kernel allows it.

use std::fs;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::unistd::{getgid, getuid};
use thiserror::Error;

use crate::namespace::{errno_of, unshare};

/// A setting of the kernel that keeps ordinary users out.
struct Gate {
    setting: &'static str,
    path: &'static str,
    forbidding: &'static str,
    wanted: &'static str,
}

/// The known ones: the kernel's own, Debian's older one, and Ubuntu's.
const GATES: [Gate; 3] = [
    Gate {
        setting: "user.max_user_namespaces",
        path: "/proc/sys/user/max_user_namespaces",
        forbidding: "0",
        wanted: "10000",
    },
    Gate {
        setting: "kernel.unprivileged_userns_clone",
        path: "/proc/sys/kernel/unprivileged_userns_clone",
        forbidding: "0",
        wanted: "1",
    },
    Gate {
        setting: "kernel.apparmor_restrict_unprivileged_userns",
        path: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        forbidding: "1",
        wanted: "0",
    },
];

/// Moves the process into new user, network and mount namespaces, where it is root (mapped to the user and group that
/// it is outside), with a private, empty `/run`: `ip netns` keeps names there, and programs keep locks there.
///
/// Call it first thing in `main`: the kernel refuses it to a process that has threads already. Everything in the new
/// network namespace is still to be made; its loopback device is down.
///
/// # Errors
/// Says exactly what is missing where the kernel forbids it.
pub fn enter_user_namespace() -> Result<(), UserNamespaceError> {
    let (user, group) = (getuid(), getgid());
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(flags).map_err(|errno| match errno {
        Errno::EINVAL => UserNamespaceError::Threads,
        errno => forbidden().unwrap_or(UserNamespaceError::Refused(errno)),
    })?;
    // Without giving up setgroups an ordinary user may not write a group map.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {user} 1\n"))?;
    write("/proc/self/gid_map", &format!("0 {group} 1\n"))?;
    become_private()
}

/// The same for root, who needs no user namespace: new network and mount namespaces with a private, empty `/run`, so
/// that nothing that is made afterwards can stay behind on the host. Call it first thing in `main`, because it concerns
/// the calling thread and those that it starts.
pub fn enter_namespaces_as_root() -> Result<(), UserNamespaceError> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(UserNamespaceError::Refused)?;
    become_private()
}

/// Gives the mount namespace, which is a new one, a private, empty `/run` with a `netns` folder in it.
fn become_private() -> Result<(), UserNamespaceError> {
    let none: Option<&str> = None;
    // What is mounted here must not appear in the mount namespace that we came from.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(none, "/", none, private, none)
        .map_err(|errno| prepare("making mounts private", errno))?;
    nix::mount::mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )
    .map_err(|errno| prepare("mounting an empty /run", errno))?;
    fs::create_dir("/run/netns").map_err(|error| prepare("creating /run/netns", errno_of(&error)))
}

fn write(path: &'static str, text: &str) -> Result<(), UserNamespaceError> {
    fs::write(path, text).map_err(|error| prepare(path, errno_of(&error)))
}

/// Ubuntu lets the namespace be made and then refuses everything in it, so a later step is judged like the first.
fn prepare(step: &'static str, errno: Errno) -> UserNamespaceError {
    match errno {
        Errno::EPERM | Errno::EACCES => forbidden(),
        _ => None,
    }
    .unwrap_or(UserNamespaceError::Prepare { step, errno })
}

/// The first setting that explains a refusal.
fn forbidden() -> Option<UserNamespaceError> {
    GATES.iter().find_map(|gate| {
        let value = fs::read_to_string(gate.path).ok()?.trim().to_owned();
        (value == gate.forbidding).then_some(UserNamespaceError::Forbidden {
            setting: gate.setting,
            value,
            wanted: gate.wanted,
        })
    })
}

/// Why there is no user namespace for us.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum UserNamespaceError {
    /// The process has threads.
    #[error("a user namespace can only be entered before the process starts threads")]
    Threads,
    /// A setting of the kernel forbids it.
    #[error(
        "the kernel allows ordinary users no user namespaces: {setting} is {value}; \
         run as root, or let root run: sysctl -w {setting}={wanted}"
    )]
    Forbidden {
        /// The setting.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What would allow it.
        wanted: &'static str,
    },
    /// The kernel refused, and no known setting explains it.
    #[error(
        "no user namespace can be created: {0}; the kernel has none, or a container's seccomp profile forbids them: \
         run as root, or outside of that container"
    )]
    Refused(Errno),
    /// A step after it failed.
    #[error("the new user namespace cannot be prepared: {step} failed: {errno}")]
    Prepare {
        /// The step.
        step: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}
