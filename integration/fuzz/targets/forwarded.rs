//! `forwarded`: what is read is written so that it reads the same.

#![no_main]

use adit_hbone::headers::forwarded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    let Ok(read) = forwarded::parse(text) else { return };
    let written = read.to_string();
    assert_eq!(
        forwarded::parse(&written),
        Ok(read),
        "{text:?} is written as {written:?}"
    );
    assert!(
        http::HeaderValue::from_str(&written).is_ok(),
        "{written:?} cannot be sent"
    );
});
