//! `traceparent`: what is read is written so that it reads the same, and the known version has one spelling.

#![no_main]

use adit_hbone::headers::traceparent::Traceparent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    let Ok(read) = Traceparent::parse(text) else {
        return;
    };
    let written = read.to_string();
    assert_eq!(
        Traceparent::parse(&written),
        Ok(read),
        "{text:?} is written as {written:?}"
    );
    assert!(
        !text.starts_with("00-") || text == written,
        "{text:?} is written as {written:?}"
    );
    assert!(read.trace != 0 && read.span != 0, "{text:?} has a zero id");
});
