//! The `:authority` of a CONNECT, which decides where a peer's connection goes: whatever is accepted is understood in
//! the same way by the parser of the HTTP stack, and is written as it was read.

#![no_main]

use adit_mesh::route::Authority;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    let Ok(read) = text.parse::<Authority>() else {
        return;
    };
    assert_eq!(
        read.to_string().parse(),
        Ok(read.clone()),
        "{text:?} is not written as it was read"
    );

    let second: http::uri::Authority = text.parse().expect("an authority to others too");
    match &read {
        Authority::Address(address) => {
            let host = second.host().trim_start_matches('[').trim_end_matches(']');
            let ip: std::net::IpAddr = host.parse().expect("an address to others too");
            assert_eq!(
                (ip.to_canonical(), second.port_u16()),
                (address.ip(), Some(address.port())),
                "{text:?}"
            );
        }
        Authority::Host { hostname, port } => {
            assert!(second.host().eq_ignore_ascii_case(hostname), "{text:?}");
            assert_eq!(second.port_u16(), Some(port.get()), "{text:?}");
            assert!(
                hostname.parse::<std::net::IpAddr>().is_err(),
                "{text:?} is an address"
            );
        }
    }
});
