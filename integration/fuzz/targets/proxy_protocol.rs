//! The PROXY header that we write before a connection's bytes, against a reader that shares nothing with the writer:
//! it ends where it says, and says what it was made of. A header that ends elsewhere would let a client's names pass
//! for its bytes, or the reverse.

#![no_main]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use adit_tunnel::proxy_protocol::header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let (Some(client), Some(called)) = (take_address(&mut rest), take_address(&mut rest)) else {
        return;
    };
    let Some(text) = adit_fuzz::text(rest) else { return };
    let (identity, service) = text.split_once('\n').unwrap_or((text, ""));
    let identity = identity.parse().ok();
    let service = Some(service).filter(|service| !service.is_empty());
    let header = header(client, called, identity.as_ref(), service);

    let read = read(&header).unwrap_or_else(|| panic!("cannot be read: {header:?}"));
    let mapped = |address: SocketAddr| (mapped(address.ip()), address.port());
    assert_eq!([read.client, read.called], [mapped(client), mapped(called)]);
    assert_eq!(
        read.is_ipv4,
        client.ip().to_canonical().is_ipv4() && called.ip().to_canonical().is_ipv4()
    );
    let mut expected = Vec::new();
    expected.extend(identity.map(|identity| (0xD0, identity.to_string())));
    // Longer than any hostname: not one.
    expected.extend(
        service
            .filter(|service| service.len() <= 253)
            .map(|service| (0xD1, service.to_owned())),
    );
    assert_eq!(read.values, expected);
});

fn take_address(bytes: &mut &[u8]) -> Option<SocketAddr> {
    let (kind, rest) = bytes.split_first()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    let (ip, rest) = if kind % 2 == 0 {
        let (ip, rest) = rest.split_first_chunk::<4>()?;
        (IpAddr::from(*ip), rest)
    } else {
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        (IpAddr::from(*ip), rest)
    };
    *bytes = rest;
    Some(SocketAddr::new(ip, port))
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

struct Read {
    is_ipv4: bool,
    client: (Ipv6Addr, u16),
    called: (Ipv6Addr, u16),
    values: Vec<(u8, String)>,
}

/// A reader of HAProxy's specification; none if something is wrong, or follows.
fn read(header: &[u8]) -> Option<Read> {
    let rest = header.strip_prefix(b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A\x21")?;
    let (family, rest) = rest.split_first()?;
    let (length, body) = rest.split_first_chunk()?;
    if usize::from(u16::from_be_bytes(*length)) != body.len() {
        return None;
    }
    let width = match family {
        0x11 => 4,
        0x21 => 16,
        _ => return None,
    };
    let (addresses, mut rest) = body.split_at_checked(2 * width + 4)?;
    let ip = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(ip) => IpAddr::from(ip),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).expect("one of two widths")),
    };
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let mut values = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        rest = after;
        values.push((
            *kind,
            String::from_utf8(adit_fuzz::take_counted(&mut rest)?.to_owned()).ok()?,
        ));
    }
    Some(Read {
        is_ipv4: width == 4,
        client: (mapped(ip(&addresses[..width])), port(2 * width)),
        called: (mapped(ip(&addresses[width..2 * width])), port(2 * width + 2)),
        values,
    })
}
