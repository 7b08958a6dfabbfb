//! A request of the administration page: the path and query of the first line and the headers of the others. What is
//! taken for loopback is nothing else, and a parameter is what its sender encoded.

#![no_main]

use std::net::IpAddr;

use adit_telemetry::server::router::{Request, is_meant_for_loopback};
use http::header::{HOST, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    if let Ok(uri) = http::Uri::try_from(target) {
        let mut request = http::Request::builder().uri(uri);
        for line in lines {
            let (name, value) =
                line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
            let value = value.strip_prefix(b": ").unwrap_or(value);
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                request = request.header(name, value);
            }
        }
        if let Ok(request) = request.body(()) {
            judge(&request.into_parts().0);
        }
    }
    if let Some((name, value)) = adit_fuzz::text(target).and_then(|text| text.split_once('=')) {
        reads_what_was_encoded(name, value);
    }
});

fn judge(head: &http::request::Parts) {
    let request = Request::new(head);
    let _ = (request.wants_json(), request.number("seconds", 1..=300, 10));
    if is_meant_for_loopback(&head.headers) {
        let hosts: Vec<_> = head.headers.get_all(HOST).iter().collect();
        let [host] = hosts[..] else {
            panic!("{hosts:?}: which one is meant?")
        };
        let host = host.to_str().expect("ASCII");
        assert!(is_loopback(host), "{host:?} is not loopback");
    }
}

/// A reader that shares nothing with the one that decides.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

fn reads_what_was_encoded(name: &str, value: &str) {
    let encode = |text: &str| {
        text.bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect::<String>()
    };
    let uri = format!("/?{}={}", encode(name), encode(value));
    let Ok(request) = http::Request::builder().uri(&uri).body(()) else {
        assert!(uri.len() > usize::from(u16::MAX) - 1, "{uri} is a URI");
        return;
    };
    assert_eq!(Request::new(&request.into_parts().0).parameter(name), Some(value));
}
