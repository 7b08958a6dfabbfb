//! Reading the `:authority` of a CONNECT. It comes from a peer, so the parser is strict and total: what two
//! parsers could read differently is refused.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::Authority;
use crate::text::Text;

/// Longest hostname in bytes (RFC 1035, section 2.3.4).
const LONGEST_HOSTNAME: usize = 253;

impl FromStr for Authority {
    type Err = InvalidAuthority;

    fn from_str(authority: &str) -> Result<Self, Self::Err> {
        let (host, port) = authority.rsplit_once(':').ok_or(InvalidAuthority::Port)?;
        // `u16::from_str` would take "+80" and "0080".
        let plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
        let port: NonZeroU16 = match port.parse() {
            Ok(port) if plain => port,
            _ => return Err(InvalidAuthority::Port),
        };
        if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
            let address: SocketAddr = authority.parse().map_err(|_| InvalidAuthority::Address)?;
            // The scope of a peer's address is a link of the peer's, not of ours; URIs have none (RFC 3986).
            if host.contains('%') {
                return Err(InvalidAuthority::Address);
            }
            return Ok(Self::Address(super::canonical(address)));
        }
        check_hostname(host)?;
        Ok(Self::Host {
            hostname: Text::from(host.to_ascii_lowercase()),
            port,
        })
    }
}

fn check_hostname(host: &str) -> Result<(), InvalidAuthority> {
    if host.is_empty() || host.len() > LONGEST_HOSTNAME {
        return Err(InvalidAuthority::HostnameLength);
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if let Some(found) = host.chars().find(|c| !allowed(c)) {
        return Err(InvalidAuthority::HostnameCharacter { found });
    }
    if host.split('.').any(str::is_empty) {
        return Err(InvalidAuthority::EmptyLabel);
    }
    // A last label of digits is a mistyped address ("1.2.3", "10.0.0.256"): no top-level domain is like that.
    match host.rsplit('.').next() {
        Some(last) if last.bytes().all(|b| b.is_ascii_digit()) => Err(InvalidAuthority::Address),
        _ => Ok(()),
    }
}

/// Why a string is not the authority of a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidAuthority {
    /// No port, or none between 1 and 65535 in plain digits.
    #[error("an authority ends with a port from 1 to 65535, as in \"10.0.0.1:80\"")]
    Port,
    /// Looks like an address, but is not.
    #[error("not a valid address; IPv6 is written in brackets")]
    Address,
    /// No hostname, or one that is too long.
    #[error("a hostname has 1 to {LONGEST_HOSTNAME} bytes")]
    HostnameLength,
    /// A character that a hostname may not hold.
    #[error("a hostname may not hold {found:?} (allowed: a-z A-Z 0-9 . - _)")]
    HostnameCharacter {
        /// The first such character.
        found: char,
    },
    /// Two dots in a row, or one at an end.
    #[error("a label of the hostname is empty")]
    EmptyLabel,
}
