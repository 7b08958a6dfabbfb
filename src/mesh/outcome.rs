//! How a connection ended: one closed list, so that the metric label, the access-log field, the answer to a
//! peer and the words of `adit explain` can never disagree.
//!
//! Istio's own values of `response_flags` come first (`-`, `CONNECT`, `DENY`, ...): dashboards made for ztunnel
//! keep working. Where Istio has no word, ours is an upper-case name of the same style.

use std::fmt;

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// Both sides finished, or one of them closed after the relay had begun.
    Completed,
    /// The application or the peer reset the connection while it was relayed.
    Reset,
    /// The client left before the connection was established.
    ClientGone,
    /// An authorization policy denies it.
    PolicyDenied,
    /// Policies allow some peers, and this is none of them.
    PolicyNotAllowed,
    /// A policy that applies here has not arrived or was rejected, so nothing is let in.
    PolicyMissing,
    /// It was allowed when it began; a later change of policy ended it.
    PolicyChanged,
    /// The address could not be connected to: refused, unreachable, reset.
    ConnectFailed,
    /// The address did not answer in time.
    ConnectTimeout,
    /// A peer that speaks HBONE did not answer on its port in time; a network policy is the usual reason.
    NetworkPolicy,
    /// The TLS handshake failed.
    TlsFailed,
    /// The TLS handshake did not end in time.
    TlsTimeout,
    /// The peer proved another identity than the one expected, or one of a foreign trust domain.
    IdentityMismatch,
    /// No certificate for the local workload could be had in time.
    NoCertificate,
    /// The peer's certificate is revoked.
    CertificateRevoked,
    /// HTTP/2 could not be started, or broke.
    Http2Failed,
    /// The peer broke the rules of HTTP/2, or flooded the connection.
    ProtocolViolation,
    /// The peer did not answer the CONNECT in time.
    ConnectAnswerTimeout,
    /// The peer refused the CONNECT by policy (401).
    PeerDenied,
    /// The peer could not serve the CONNECT (any other status than 200).
    PeerRefused,
    /// No endpoint of the service may be used: there is none, none is healthy or within scope.
    NoEndpoint,
    /// The service does not have the port that was called.
    NoPort,
    /// The endpoint has no address of a family that may be used.
    NoAddress,
    /// The waypoint that is named cannot be resolved, or has no healthy endpoint.
    NoWaypoint,
    /// The destination is in a network that cannot be reached from here.
    NetworkUnreachable,
    /// The destination's configuration was rejected and it never had a good one.
    InvalidConfiguration,
    /// The destination speaks a protocol that we do not dial.
    UnsupportedProtocol,
    /// The connection leads back to the tunnel itself.
    Loop,
    /// The destination is known, but may not be seen by this client.
    NotVisible,
    /// The local workload is not part of the configuration.
    UnknownWorkload,
    /// The first complete configuration had not arrived in time.
    NotReady,
    /// The peer's CONNECT is malformed: not CONNECT, no authority, a header that cannot be read.
    BadRequest,
    /// The peer asked for a destination that is not this pod.
    WrongDestination,
    /// The source address could not be kept towards the application, and configuration demands it.
    SourceAddress,
    /// A limit of this node was reached: sockets, connections, buffers.
    Overloaded,
    /// The pod left while the connection lived.
    PodGone,
    /// The tunnel ended before the connection did.
    Shutdown,
}

impl Outcome {
    /// Every outcome, in the order of declaration.
    pub const ALL: [Self; 37] = [
        Self::Completed,
        Self::Reset,
        Self::ClientGone,
        Self::PolicyDenied,
        Self::PolicyNotAllowed,
        Self::PolicyMissing,
        Self::PolicyChanged,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::NetworkPolicy,
        Self::TlsFailed,
        Self::TlsTimeout,
        Self::IdentityMismatch,
        Self::NoCertificate,
        Self::CertificateRevoked,
        Self::Http2Failed,
        Self::ProtocolViolation,
        Self::ConnectAnswerTimeout,
        Self::PeerDenied,
        Self::PeerRefused,
        Self::NoEndpoint,
        Self::NoPort,
        Self::NoAddress,
        Self::NoWaypoint,
        Self::NetworkUnreachable,
        Self::InvalidConfiguration,
        Self::UnsupportedProtocol,
        Self::Loop,
        Self::NotVisible,
        Self::UnknownWorkload,
        Self::NotReady,
        Self::BadRequest,
        Self::WrongDestination,
        Self::SourceAddress,
        Self::Overloaded,
        Self::PodGone,
        Self::Shutdown,
    ];

    /// Everything that is fixed about an outcome. The one place where it is mapped.
    pub const fn facts(self) -> Facts {
        use Retry::{Another, Never};
        let (response_flags, status, retry, text) = match self {
            Self::Completed => ("-", 200, Never, "completed"),
            Self::Reset => ("RESET", 200, Never, "connection reset during the relay"),
            Self::ClientGone => (
                "CLIENT_GONE",
                503,
                Never,
                "the client left before the connection was up",
            ),
            Self::PolicyDenied => ("DENY", 401, Never, "denied by policy"),
            Self::PolicyNotAllowed => ("DENY", 401, Never, "allowed by no policy"),
            Self::PolicyMissing => (
                "DENY",
                401,
                Never,
                "a policy that applies is missing or was rejected",
            ),
            Self::PolicyChanged => ("DENY", 401, Never, "closed because policy changed"),
            Self::ConnectFailed => ("CONNECT", 503, Another, "connect failed"),
            Self::ConnectTimeout => ("CONNECT", 503, Another, "connect timed out"),
            Self::NetworkPolicy => (
                "NETWORK_POLICY",
                503,
                Another,
                "no answer on the HBONE port: is a network policy in the way?",
            ),
            Self::TlsFailed => ("TLS_FAILURE", 503, Another, "TLS handshake failed"),
            Self::TlsTimeout => ("TLS_FAILURE", 503, Another, "TLS handshake timed out"),
            Self::IdentityMismatch => (
                "IDENTITY_ERROR",
                503,
                Another,
                "the peer has another identity than expected",
            ),
            Self::NoCertificate => (
                "IDENTITY_ERROR",
                503,
                Never,
                "no certificate for the local workload",
            ),
            Self::CertificateRevoked => ("CERT_REVOKED", 503, Another, "the peer's certificate is revoked"),
            Self::Http2Failed => ("H2_HANDSHAKE_FAILURE", 503, Another, "HTTP/2 failed"),
            Self::ProtocolViolation => (
                "PROTOCOL_VIOLATION",
                503,
                Another,
                "the peer broke the rules of HTTP/2",
            ),
            Self::ConnectAnswerTimeout => ("CONNECT", 503, Another, "the peer did not answer the CONNECT"),
            Self::PeerDenied => ("DENY", 401, Never, "the peer refused by policy"),
            Self::PeerRefused => ("CONNECT", 503, Another, "the peer refused the CONNECT"),
            Self::NoEndpoint => ("NO_ENDPOINT", 503, Never, "no usable endpoint"),
            Self::NoPort => ("NO_PORT", 503, Never, "the service does not have this port"),
            Self::NoAddress => ("NO_ADDRESS", 503, Never, "the endpoint has no usable address"),
            Self::NoWaypoint => ("NO_WAYPOINT", 503, Never, "the waypoint cannot be reached"),
            Self::NetworkUnreachable => (
                "NO_NETWORK",
                503,
                Never,
                "the destination's network cannot be reached",
            ),
            Self::InvalidConfiguration => (
                "INVALID_CONFIG",
                503,
                Never,
                "the destination's configuration was rejected",
            ),
            Self::UnsupportedProtocol => (
                "UNSUPPORTED_PROTOCOL",
                503,
                Never,
                "the destination speaks a protocol that is not dialled",
            ),
            Self::Loop => (
                "LOOP",
                503,
                Never,
                "the connection leads back to the tunnel itself",
            ),
            Self::NotVisible => (
                "NOT_VISIBLE",
                503,
                Never,
                "the destination may not be seen by this client",
            ),
            Self::UnknownWorkload => (
                "UNKNOWN_WORKLOAD",
                503,
                Never,
                "the local workload is not configured",
            ),
            Self::NotReady => ("NOT_READY", 503, Never, "no complete configuration yet"),
            Self::BadRequest => ("BAD_REQUEST", 400, Never, "malformed CONNECT"),
            Self::WrongDestination => ("WRONG_DESTINATION", 400, Never, "the destination is not this pod"),
            Self::SourceAddress => (
                "SOURCE_ADDRESS",
                503,
                Never,
                "the source address could not be kept",
            ),
            Self::Overloaded => ("OVERLOADED", 503, Another, "a limit of this node was reached"),
            Self::PodGone => ("POD_GONE", 503, Never, "the pod left"),
            Self::Shutdown => ("SHUTDOWN", 503, Never, "the tunnel ended"),
        };
        Facts {
            response_flags,
            status,
            retry,
            text,
        }
    }

    /// The value of the metric label `response_flags`.
    pub const fn response_flags(self) -> &'static str {
        self.facts().response_flags
    }

    /// The status that answers a CONNECT which ends like this before it was accepted.
    pub const fn status(self) -> u16 {
        self.facts().status
    }

    /// Whether another endpoint may be tried, given that no byte of the application was consumed.
    pub const fn may_try_another(self) -> bool {
        matches!(self.facts().retry, Retry::Another)
    }

    /// Whether the connection counts as served: nothing to alarm anybody.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Completed)
    }

    /// The name as logs and `adit explain` spell it, such as `policy_denied`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().text)
    }
}

/// What is fixed about an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The value of the metric label `response_flags`.
    pub response_flags: &'static str,
    /// The status that answers a CONNECT.
    pub status: u16,
    /// Whether another endpoint may be tried.
    pub retry: Retry,
    /// The words for logs and people.
    pub text: &'static str,
}

/// Whether another endpoint may be tried after a failure, as long as no byte of the application was consumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Yes: the failure is the endpoint's.
    Another,
    /// No: it would fail again, or it is a decision.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_all_outcomes_is_complete_and_in_order() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
        assert_eq!(Outcome::ALL.len(), Outcome::Shutdown as usize + 1);
    }

    #[test]
    fn a_decision_is_never_tried_elsewhere() {
        for outcome in Outcome::ALL {
            if outcome.response_flags() == "DENY" {
                assert!(!outcome.may_try_another(), "{outcome:?}");
                assert_eq!(outcome.status(), 401, "{outcome:?}");
            }
        }
    }

    #[test]
    fn names_are_unique_and_in_snake_case() {
        let names: std::collections::HashSet<_> = Outcome::ALL.iter().map(|o| o.name()).collect();
        assert_eq!(names.len(), Outcome::ALL.len());
        assert_eq!(Outcome::PolicyDenied.name(), "policy_denied");
    }
}
