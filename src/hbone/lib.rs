//! HBONE, the tunnel protocol: one HTTP/2 CONNECT stream per application connection, inside mutual TLS 1.3.
//!
//! [`transport`] is TLS under HTTP/2, driven by hand so that one turn of a connection is one read and one write;
//! [`client`] and [`pool`] open streams to peers, [`server`] accepts them, [`headers`] are the words that go with
//! them. A connection belongs to the worker that made it: nothing here crosses threads.

pub mod allowance;
pub mod buffers;
pub mod client;
pub mod failure;
mod flow;
pub mod headers;
mod keepalive;
pub mod meter;
pub mod pool;
pub mod server;
pub mod settings;
pub mod share;
pub mod stream;
pub mod transport;

pub use failure::Failure;
pub use settings::Settings;
pub use stream::Stream;
