//! What only a kernel can answer: namespaces, rules and routing tried on real connections.
//!
//! Every test makes namespaces of its own and leaves nothing behind. Root runs them as they are; an ordinary user's run
//! repeats each test in a child process inside a user namespace (see `support`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod captures;
mod links;
mod listeners;
mod namespaces;
mod processes;
mod redirection;
mod routing;
mod rules;
mod sockets;
mod support;
