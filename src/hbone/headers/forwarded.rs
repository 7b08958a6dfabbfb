//! `forwarded`: `for="<client address and port>"`, and `;host=<hostname>` when a service was called (RFC 7239).

use std::fmt;
use std::net::SocketAddr;

use super::{InvalidHeader, bounded};

/// Longest header in bytes: an IPv6 address and port, a DNS name, and room for parameters that we skip.
const LONGEST: usize = 1024;
const NAME: &str = super::FORWARDED;

/// The original client and the hostname that it called.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Forwarded<'a> {
    /// The client's address.
    pub client: Option<SocketAddr>,
    /// The hostname of the service that it called.
    pub host: Option<&'a str>,
}

impl fmt::Display for Forwarded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(client) = self.client {
            write!(f, "for=\"{client}\"")?;
        }
        match (self.client, self.host) {
            (Some(_), Some(host)) => write!(f, ";host={host}"),
            (None, Some(host)) => write!(f, "host={host}"),
            _ => Ok(()),
        }
    }
}

/// Reads one header value. Parameters that we do not use are skipped.
///
/// # Errors
/// Several elements (we are reached by one hop), a parameter without `=` or given twice, an address that is none.
pub fn parse(text: &str) -> Result<Forwarded<'_>, InvalidHeader> {
    let malformed = |what| InvalidHeader::Malformed { name: NAME, what };
    let text = bounded(NAME, LONGEST, text)?;
    if text.contains(',') {
        return Err(malformed("more than one element"));
    }
    let mut forwarded = Forwarded::default();
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(malformed("a parameter without ="))?;
        let value = unquoted(value).ok_or(malformed("a quote that is not closed"))?;
        if name.eq_ignore_ascii_case("for") {
            let client = value
                .parse()
                .map_err(|_| malformed("for is not an address and a port"))?;
            set(&mut forwarded.client, client)?;
        } else if name.eq_ignore_ascii_case("host") {
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(malformed("host is not a hostname"));
            }
            set(&mut forwarded.host, value)?;
        }
    }
    Ok(forwarded)
}

fn set<T>(field: &mut Option<T>, value: T) -> Result<(), InvalidHeader> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(InvalidHeader::Malformed {
            name: NAME,
            what: "a parameter is given twice",
        }),
    }
}

fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        None if value.contains('"') => None,
        None => Some(value),
        Some(rest) => rest
            .strip_suffix('"')
            .filter(|inner| !inner.contains(['"', '\\'])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_we_write_reads_the_same() {
        for (client, host) in [
            (Some("10.0.0.1:4000"), Some("ledger.bank.svc.cluster.local")),
            (Some("[2001:db8::1]:4000"), None),
            (None, Some("ledger")),
            (None, None),
        ] {
            let forwarded = Forwarded {
                client: client.map(|c| c.parse().expect("address")),
                host,
            };
            assert_eq!(parse(&forwarded.to_string()), Ok(forwarded));
        }
        assert_eq!(
            Forwarded {
                client: Some("[::1]:1".parse().expect("address")),
                host: Some("h")
            }
            .to_string(),
            "for=\"[::1]:1\";host=h"
        );
    }

    #[test]
    fn refuses_what_is_malformed() {
        for text in [
            "for",
            "for=x",
            "for=\"1.2.3.4:5",
            "for=1.2.3.4:5,for=1.2.3.4:5",
            "host=a;host=b",
            "host=",
            "host=a b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"a=b;".repeat(400)).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC{0,1100}") {
            let _ = parse(&text);
        }
    }
}
