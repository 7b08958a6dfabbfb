//! The claims of `SECURITY.md` name the tests that hold them: a test that was renamed or removed must not be named on.

use std::path::Path;

/// What stands between backticks, in order.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A name like those of tests: words with underscores between them.
fn is_test(token: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    token.bytes().all(plain) && token.matches('_').count() >= 2
}

#[test]
fn every_test_that_a_claim_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path));
        text.unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let scenarios = read("integration/tests/mesh/main.rs");
    let mut file = String::new();
    let mut content = String::new();
    let mut found = 0;
    for token in quoted(&read("SECURITY.md")) {
        if token.ends_with(".rs") {
            (file, content) = (token.to_owned(), read(token));
        } else if is_test(token) {
            assert!(content.contains(&format!("fn {token}(")), "{file} has no {token}");
            if file.starts_with("integration/tests/mesh/") {
                assert!(scenarios.contains(&format!("::{token}")), "{token} is not played");
            }
            found += 1;
        }
    }
    assert!(
        found > 60,
        "only {found} tests are named: are they still written as this test reads them?"
    );
}
