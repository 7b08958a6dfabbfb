//! What the people who wrote an object must be told of what became of it.

use std::fmt;

/// A condition of an object, as its status has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Condition {
    /// Its type.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Why.
    pub reason: Reason,
    /// Why, for people, and what to do.
    pub message: String,
}

/// The conditions that an object is bound to a waypoint.
pub const WAYPOINT_BOUND: &str = "istio.io/WaypointBound";
/// The conditions that a policy is enforced by tunnels.
pub const TUNNEL_ACCEPTED: &str = "ZtunnelAccepted";

/// Why a condition is as it is. The names are Istio's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// The policy is enforced as it is written.
    Accepted,
    /// Something in it cannot be enforced.
    UnsupportedValue,
    /// The object is bound.
    WaypointAccepted,
    /// The waypoint does not exist, or has no address.
    WaypointIsNotReady,
    /// The waypoint takes no objects of that namespace.
    AttachmentDenied,
    /// The waypoint is for something else.
    UnsupportedTrafficType,
}

impl Reason {
    /// Its name in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::UnsupportedValue => "UnsupportedValue",
            Self::WaypointAccepted => "WaypointAccepted",
            Self::WaypointIsNotReady => "WaypointIsNotReady",
            Self::AttachmentDenied => "AttachmentDenied",
            Self::UnsupportedTrafficType => "UnsupportedTrafficType",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            holds,
            reason,
            message,
        } = self;
        write!(f, "{kind}={holds} {}: {message}", reason.as_str())
    }
}
