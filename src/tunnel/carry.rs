//! One application connection from its beginning to its end, in one task.
//!
//! How it begins differs (out of a pod, out of a tunnel, in plaintext); what follows is the same. The beginning is a
//! future of its own on the heap: deciding, dialling and shaking hands hold kilobytes, which a connection that lives on
//! would keep for nothing if they were a part of its task. What is left is a report, two sockets' ends and an entry in
//! the pod's table.

use std::future::Future;
use std::pin::Pin;

use adit_hbone::share::Taken;

use crate::limits::Accepted;
use crate::live::Entry;
use crate::pod::Accepting;
use crate::relay::{self, Sides};
use crate::report::Opened;
use crate::worker::Active;

/// A connection whose both sides are there.
pub(crate) struct Established {
    /// What is told at its end.
    pub(crate) opened: Opened,
    /// Its sides.
    pub(crate) sides: Sides,
    /// Its entry in the pod's table.
    pub(crate) entry: Entry,
    /// Counts it for its endpoint.
    pub(crate) active: Option<Active>,
    /// Counts it for its pod, where that was not done when it was accepted.
    pub(crate) admitted: Option<Taken>,
    /// Counts the socket that was dialled for it.
    pub(crate) descriptor: Option<Taken>,
}

/// How a connection begins; `None` if it did not come about, which has been told.
pub(crate) type Beginning = Pin<Box<dyn Future<Output = Option<Established>>>>;

/// Begins the connection and relays its bytes until it ends. `accepted` makes a drain wait, and counts the connection
/// for its pod, from the accept on.
pub(crate) async fn carry(beginning: Beginning, accepted: Option<(Accepting, Accepted)>) {
    let _accepted = accepted;
    // Taken apart at once: a local that is borrowed would keep its place beside what is moved out of it.
    let Some(Established {
        mut opened,
        mut sides,
        entry,
        active: _active,
        admitted: _admitted,
        descriptor: _descriptor,
    }) = beginning.await
    else {
        return;
    };
    let ended = relay::run(&mut sides, &entry.cut, |forth, back| opened.progress(forth, back)).await;
    opened.close(ended);
}
