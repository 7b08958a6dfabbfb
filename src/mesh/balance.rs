//! Which endpoint of a service takes a connection.

/// What the caller knows about endpoints, by workload uid. It is asked for a handful of candidates per
/// connection, never for all.
pub trait Load {
    /// Connections that this worker has open to the endpoint.
    fn active(&self, uid: &str) -> u32;
    /// Whether the endpoint is passed over for now because it refused connections.
    fn ejected(&self, uid: &str) -> bool;
}

/// Knows nothing: every endpoint is idle and well.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoLoad;

impl Load for NoLoad {
    fn active(&self, _: &str) -> u32 {
        0
    }

    fn ejected(&self, _: &str) -> bool {
        false
    }
}
