//! The PROXY protocol, version 2, as a proxy behind our tunnel expects it (HAProxy's specification of 2020, section
//! 2.2): the client's and the called address, and in the TLVs that Istio gave a meaning the client's identity and
//! the hostname of the called service.

use std::net::{IpAddr, SocketAddr};

use adit_mesh::Identity;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// The client's SPIFFE identity.
const TLV_IDENTITY: u8 = 0xD0;
/// The hostname of the service that was called.
const TLV_SERVICE: u8 = 0xD1;
/// Longest hostname in bytes (RFC 1035, section 2.3.4).
const LONGEST_HOSTNAME: usize = 253;

/// The header that precedes the bytes of a connection. A service whose hostname is longer than a hostname may be is left
/// out: nobody could look it up.
pub fn header(
    client: SocketAddr,
    called: SocketAddr,
    identity: Option<&Identity>,
    service: Option<&str>,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    let family = match (client.ip().to_canonical(), called.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(called)) => {
            body.extend_from_slice(&client.octets());
            body.extend_from_slice(&called.octets());
            TCP_OVER_IPV4
        }
        // Of different families: both as IPv6, the IPv4 one mapped.
        (client, called) => {
            body.extend_from_slice(&as_ipv6(client));
            body.extend_from_slice(&as_ipv6(called));
            TCP_OVER_IPV6
        }
    };
    body.extend_from_slice(&client.port().to_be_bytes());
    body.extend_from_slice(&called.port().to_be_bytes());
    if let Some(identity) = identity {
        push_tlv(&mut body, TLV_IDENTITY, identity.to_string().as_bytes());
    }
    if let Some(service) = service.filter(|service| service.len() <= LONGEST_HOSTNAME) {
        push_tlv(&mut body, TLV_SERVICE, service.as_bytes());
    }
    let mut header = Vec::with_capacity(16 + body.len());
    header.extend_from_slice(&SIGNATURE);
    header.extend_from_slice(&[VERSION_AND_COMMAND, family]);
    // An identity has at most 2,048 bytes, so the length fits.
    header.extend_from_slice(&(body.len() as u16).to_be_bytes());
    header.extend_from_slice(&body);
    header
}

fn as_ipv6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn push_tlv(body: &mut Vec<u8>, kind: u8, value: &[u8]) {
    body.push(kind);
    body.extend_from_slice(&(value.len() as u16).to_be_bytes());
    body.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_header_with_both_tlvs() {
        let identity: Identity = "spiffe://td/ns/a/sa/b".parse().expect("identity");
        let header = header(
            "10.0.0.1:4000".parse().expect("address"),
            "10.0.0.2:80".parse().expect("address"),
            Some(&identity),
            Some("a.b"),
        );
        let mut expected =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x2a\x0a\0\0\x01\x0a\0\0\x02\x0f\xa0\0\x50".to_vec();
        expected.extend_from_slice(b"\xd0\0\x15spiffe://td/ns/a/sa/b\xd1\0\x03a.b");
        assert_eq!(header, expected);
    }

    #[test]
    fn a_name_that_is_too_long_cannot_run_over_the_headers_end() {
        let (client, called) = (
            "10.0.0.1:1".parse().expect("address"),
            "10.0.0.2:2".parse().expect("address"),
        );
        let long = "a".repeat(70_000);
        let without = header(client, called, None, None);
        assert_eq!(header(client, called, None, Some(&long)), without);
        assert_eq!(
            header(client, called, None, Some(&long[..253])).len(),
            without.len() + 3 + 253
        );
    }

    #[test]
    fn addresses_of_two_families_are_both_written_as_ipv6() {
        let header = header(
            "10.0.0.1:1".parse().expect("address"),
            "[2001:db8::1]:2".parse().expect("address"),
            None,
            None,
        );
        assert_eq!(header[13], TCP_OVER_IPV6);
        assert_eq!(header.len(), 16 + 36);
        assert_eq!(&header[26..32], [0xff, 0xff, 10, 0, 0, 1]);
    }
}
