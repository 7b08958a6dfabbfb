//! Trust bundles: what is accepted holds a root, and is written so that it reads the same.

#![no_main]

use adit_pki::{Trust, certificate::to_pem};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let read = |bytes: &[u8]| Trust::read(&[(adit_fuzz::nowhere(), bytes)], &[], &[]);
    let Ok(trust) = read(bytes) else { return };
    let roots = trust.roots().expect("a bundle is configured").certificates();
    assert!(!roots.is_empty(), "a bundle without a root");
    let again = read(to_pem(roots).as_bytes()).expect("what we write is a bundle");
    assert_eq!(
        again.roots().expect("a bundle is configured").certificates(),
        roots
    );
});
