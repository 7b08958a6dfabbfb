//! Who a peer is: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
//!
//! Parsing is strict (SPIFFE-ID specification, sections 2.1 to 2.3, and Istio's shape of the path): no upper case in
//! the trust domain, no percent-encoding, no empty or relative segments, no query, no trailing slash. A string
//! that two parsers could read differently is not an identity.

use std::fmt;
use std::str::FromStr;

use crate::text::Text;

const SCHEME: &str = "spiffe://";
/// Longest SPIFFE ID in bytes (SPIFFE-ID specification, section 2.3).
const LONGEST_ID: usize = 2048;
/// Longest trust domain in bytes (SPIFFE-ID specification, section 2.1).
const LONGEST_TRUST_DOMAIN: usize = 255;

/// The administrative boundary that issues identities, such as `cluster.local`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrustDomain(Text);

impl TrustDomain {
    /// Istio's default where none is configured.
    pub const DEFAULT: &str = "cluster.local";

    /// The name itself.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Takes a shared string as a trust domain.
    ///
    /// # Errors
    /// Those of [`InvalidIdentity`] that concern the trust domain.
    pub fn new(name: Text) -> Result<Self, InvalidIdentity> {
        if name.is_empty() {
            return Err(InvalidIdentity::EmptyTrustDomain);
        }
        if name.len() > LONGEST_TRUST_DOMAIN {
            return Err(InvalidIdentity::TooLong {
                limit: LONGEST_TRUST_DOMAIN,
            });
        }
        match name
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_'))
        {
            Some(found) => Err(InvalidIdentity::TrustDomainCharacter { found }),
            None => Ok(Self(name)),
        }
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(Text::from(Self::DEFAULT))
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidIdentity;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(Text::from(name))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A workload's identity: its Kubernetes service account within a trust domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    trust_domain: TrustDomain,
    namespace: Text,
    service_account: Text,
}

impl Identity {
    /// Puts an identity together from its parts.
    ///
    /// # Errors
    /// A namespace or service account that could not stand in a SPIFFE path, or that make it longer than it may be.
    pub fn new(
        trust_domain: TrustDomain,
        namespace: Text,
        service_account: Text,
    ) -> Result<Self, InvalidIdentity> {
        check_segment(&namespace)?;
        check_segment(&service_account)?;
        let length = SCHEME.len() + trust_domain.as_str().len() + namespace.len() + service_account.len();
        if length + "/ns//sa/".len() > LONGEST_ID {
            return Err(InvalidIdentity::TooLong { limit: LONGEST_ID });
        }
        Ok(Self {
            trust_domain,
            namespace,
            service_account,
        })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &Text {
        &self.namespace
    }

    /// The Kubernetes service account.
    pub fn service_account(&self) -> &Text {
        &self.service_account
    }

    /// The form that Istio's policies compare: the SPIFFE ID without its scheme.
    pub fn principal(&self) -> Principal<'_> {
        Principal(self)
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        if id.len() > LONGEST_ID {
            return Err(InvalidIdentity::TooLong { limit: LONGEST_ID });
        }
        let rest = id.strip_prefix(SCHEME).ok_or(InvalidIdentity::Scheme)?;
        let mut parts = rest.split('/');
        let trust_domain = parts.next().unwrap_or_default().parse()?;
        match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some("ns"), Some(namespace), Some("sa"), Some(service_account), None) => {
                Self::new(trust_domain, namespace.into(), service_account.into())
            }
            _ => Err(InvalidIdentity::Path),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.principal())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Displays an identity without `spiffe://`.
#[derive(Clone, Copy)]
pub struct Principal<'a>(&'a Identity);

impl fmt::Display for Principal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity {
            trust_domain,
            namespace,
            service_account,
        } = self.0;
        write!(f, "{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

/// Why a string is not the identity of a workload.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidIdentity {
    /// Not a SPIFFE ID at all.
    #[error("a SPIFFE ID starts with {SCHEME:?}, in lower case")]
    Scheme,
    /// Nothing between the scheme and the path.
    #[error("the trust domain is empty")]
    EmptyTrustDomain,
    /// A character that a trust domain may not hold.
    #[error("a trust domain may not hold {found:?} (allowed: a-z 0-9 . - _)")]
    TrustDomainCharacter {
        /// The first such character.
        found: char,
    },
    /// The path is not `/ns/<namespace>/sa/<service account>`.
    #[error("the path is not /ns/<namespace>/sa/<service account>")]
    Path,
    /// A namespace or a service account that is empty.
    #[error("a namespace or service account is empty")]
    EmptySegment,
    /// A relative segment, `.` or `..`.
    #[error("a namespace or service account may not be \".\" or \"..\"")]
    RelativeSegment,
    /// A character that a path segment may not hold.
    #[error("a namespace or service account may not hold {found:?} (allowed: a-z A-Z 0-9 . - _)")]
    SegmentCharacter {
        /// The first such character.
        found: char,
    },
    /// Longer than the specification allows.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

fn check_segment(segment: &str) -> Result<(), InvalidIdentity> {
    match segment {
        "" => return Err(InvalidIdentity::EmptySegment),
        "." | ".." => return Err(InvalidIdentity::RelativeSegment),
        _ => {}
    }
    match segment
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_'))
    {
        Some(found) => Err(InvalidIdentity::SegmentCharacter { found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_identity_reads_and_prints_the_same() {
        let id = "spiffe://cluster.local/ns/bank/sa/payments";
        let identity: Identity = id.parse().expect("well formed");
        assert_eq!(identity.to_string(), id);
        assert_eq!(
            identity.principal().to_string(),
            "cluster.local/ns/bank/sa/payments"
        );
        assert_eq!(*identity.namespace(), "bank");
        assert_eq!(*identity.service_account(), "payments");
    }

    #[test]
    fn what_is_put_together_is_as_short_as_what_is_read() {
        let of =
            |length: usize| Identity::new(TrustDomain::default(), "bank".into(), "a".repeat(length).into());
        let rest = of(1).expect("short").to_string().len() - 1;
        let longest = of(LONGEST_ID - rest).expect("just as long as allowed");
        assert_eq!(longest.to_string().parse(), Ok(longest));
        assert_eq!(
            of(LONGEST_ID - rest + 1),
            Err(InvalidIdentity::TooLong { limit: LONGEST_ID })
        );
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        use InvalidIdentity as I;
        let long = format!("spiffe://td/ns/{}/sa/b", "a".repeat(2048));
        let cases: &[(&str, InvalidIdentity)] = &[
            ("", I::Scheme),
            ("https://td/ns/a/sa/b", I::Scheme),
            ("SPIFFE://td/ns/a/sa/b", I::Scheme),
            ("spiffe:///ns/a/sa/b", I::EmptyTrustDomain),
            ("spiffe://Td/ns/a/sa/b", I::TrustDomainCharacter { found: 'T' }),
            (
                "spiffe://td:8443/ns/a/sa/b",
                I::TrustDomainCharacter { found: ':' },
            ),
            ("spiffe://u@td/ns/a/sa/b", I::TrustDomainCharacter { found: '@' }),
            ("spiffe://td/ns/a/sa/b/", I::Path),
            ("spiffe://td/ns/a/sa", I::Path),
            ("spiffe://td/NS/a/sa/b", I::Path),
            ("spiffe://td/sa/b/ns/a", I::Path),
            ("spiffe://td//ns/a/sa/b", I::Path),
            ("spiffe://td/ns//sa/b", I::EmptySegment),
            ("spiffe://td/ns/a/sa/", I::EmptySegment),
            ("spiffe://td/ns/../sa/b", I::RelativeSegment),
            ("spiffe://td/ns/a%2Fb/sa/b", I::SegmentCharacter { found: '%' }),
            ("spiffe://td/ns/a/sa/b?x=1", I::SegmentCharacter { found: '?' }),
            ("spiffe://td/ns/a/sa/b#f", I::SegmentCharacter { found: '#' }),
            ("spiffe://td/ns/a/sa/b c", I::SegmentCharacter { found: ' ' }),
            (&long, I::TooLong { limit: 2048 }),
        ];
        for (id, expected) in cases {
            assert_eq!(id.parse::<Identity>().as_ref(), Err(expected), "{id}");
        }
    }
}
