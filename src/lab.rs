//! A whole mesh on one machine: nodes and pods are network namespaces, everything in them is real.
//!
//! [`world`] builds it, [`apps`] is what runs in the pods, [`observe`] looks at what happened, and [`tour`] shows it to a
//! person. Nothing outlives the process that made it, however that ends: namespaces are held by file descriptors,
//! child processes are killed by the kernel with their parent, and every file is in a file system that only the
//! lab's own mount namespace has.

pub mod apps;
pub mod host;
pub mod http;
pub mod manifests;
pub mod observe;
pub mod screen;
pub mod session;
pub mod tokens;
pub mod tour;
pub mod traffic;
pub mod visit;
pub mod world;
