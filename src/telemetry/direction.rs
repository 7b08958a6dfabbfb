//! Which end of a connection this tunnel is.

use std::fmt;

/// Which end of a connection this tunnel is, seen from its pod.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// The pod made the connection: Istio's reporter `source`.
    Outbound,
    /// The pod accepted the connection: Istio's reporter `destination`.
    Inbound,
}

impl Direction {
    /// Both, in the order of declaration.
    pub const ALL: [Self; 2] = [Self::Outbound, Self::Inbound];

    /// The value of the access log's field `direction`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }

    /// The value of the metric label `reporter`.
    pub const fn reporter(self) -> &'static str {
        match self {
            Self::Outbound => "source",
            Self::Inbound => "destination",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
