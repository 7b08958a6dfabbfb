//! Conversations with the kernel's routing tables: one thread inside the namespace, one netlink socket, as many
//! requests as needed.

use std::future::Future;

use nix::errno::Errno;
use rtnetlink::Handle;
use thiserror::Error;

use crate::namespace::{Namespace, errno_of};

/// Something that was asked of the kernel by netlink and refused.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
#[error("cannot {action}: {reason}")]
pub struct NetlinkError {
    /// What was to be done, and to which thing.
    pub action: String,
    /// The kernel's error number, or what else went wrong.
    pub reason: Reason,
}

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum Reason {
    /// The kernel refused.
    #[error("{0}")]
    Refused(Errno),
    /// The conversation broke.
    #[error("{0}")]
    Broken(String),
    /// There is no such thing.
    #[error("it does not exist")]
    Missing,
}

impl NetlinkError {
    pub(crate) fn new(action: impl Into<String>, reason: Reason) -> Self {
        Self {
            action: action.into(),
            reason,
        }
    }
}

impl From<rtnetlink::Error> for Reason {
    fn from(error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => Self::Refused(Errno::from_raw(-message.raw_code())),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Runs one conversation inside the namespace and waits for its end. A thread of its own serves it, so that it can be
/// called from an async runtime's thread too (for moments: these are requests to the kernel, not to a network).
pub(crate) fn converse<T, F>(
    namespace: &Namespace,
    conversation: impl FnOnce(Handle) -> F + Send,
) -> Result<T, NetlinkError>
where
    T: Send,
    F: Future<Output = Result<T, NetlinkError>>,
{
    let broken = |error: std::io::Error| {
        NetlinkError::new(
            "talk to the kernel by netlink in a network namespace",
            Reason::Refused(errno_of(&error)),
        )
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netlink".to_owned())
            .spawn_scoped(scope, move || {
                namespace.enter().map_err(broken)?;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build()
                    .map_err(broken)?;
                runtime.block_on(async {
                    let (connection, handle, _) = rtnetlink::new_connection().map_err(broken)?;
                    let serving = tokio::spawn(connection);
                    let outcome = conversation(handle).await;
                    serving.abort();
                    outcome
                })
            })
            .map_err(broken)?;
        match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
