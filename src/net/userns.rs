//! Being root in a world of one's own: an ordinary user may make network namespaces inside a user namespace, where
//! the kernel allows it.

use nix::errno::Errno;
use thiserror::Error;

/// Moves the process into new user, network and mount namespaces, where it is root (mapped to the user and group that
/// it is outside), with private file systems on `/run/netns` and what else tools need.
///
/// Call it first thing in `main`: the kernel refuses it to a process that has threads already.
///
/// # Errors
/// Says exactly what is missing where the kernel forbids it.
pub fn enter_user_namespace() -> Result<(), UserNamespaceError> {
    todo!()
}

/// Why there is no user namespace for us.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum UserNamespaceError {
    /// The process has threads.
    #[error("a user namespace can only be entered before the process starts threads")]
    Threads,
    /// A setting of the kernel forbids it.
    #[error(
        "the kernel allows ordinary users no user namespaces: {setting} is {value}; run as root, or: sysctl -w {setting}={wanted}"
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
        "no user namespace can be created: {0}; a container's seccomp profile forbids it, or the kernel has none; run as root"
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
