//! SPIFFE identities, by which everything is authorised: an identity has one spelling, and a parser of URIs finds the
//! same parts in it.

#![no_main]

use adit_mesh::{Identity, TrustDomain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    if let Ok(domain) = text.parse::<TrustDomain>() {
        assert_eq!(domain.as_str(), text);
    }
    made_of_lines(text);
    let Ok(read) = text.parse::<Identity>() else {
        return;
    };
    assert_eq!(read.to_string(), text, "an identity has one spelling");

    let uri: http::Uri = text.parse().expect("a URI to others too");
    let path = format!("/ns/{}/sa/{}", read.namespace(), read.service_account());
    assert_eq!(uri.scheme_str(), Some("spiffe"));
    assert_eq!(
        uri.authority().map(|authority| authority.host()),
        Some(read.trust_domain().as_str()),
        "{text:?}"
    );
    assert_eq!(
        uri.path_and_query().map(|path| path.as_str()),
        Some(&*path),
        "{text:?}"
    );
});

/// What can be put together can be read.
fn made_of_lines(text: &str) {
    let mut lines = text.lines();
    let (Some(Ok(domain)), Some(namespace), Some(account)) = (
        lines.next().map(str::parse::<TrustDomain>),
        lines.next(),
        lines.next(),
    ) else {
        return;
    };
    if let Ok(made) = Identity::new(domain, namespace.into(), account.into()) {
        assert_eq!(made.to_string().parse(), Ok(made));
    }
}
