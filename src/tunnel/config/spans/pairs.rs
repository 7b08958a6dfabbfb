//! `name=value,name=value`, percent-encoded, as OpenTelemetry has it for headers and resource attributes (after W3C
//! Baggage).

/// The pairs, in their order.
///
/// # Errors
/// What is wrong with which pair, in words that do not repeat a value: it may be a secret.
pub(super) fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    members
        .enumerate()
        .map(|(index, member)| {
            let wrong = |what: &str| format!("pair {} {what}", index + 1);
            let (name, value) = member.split_once('=').ok_or_else(|| wrong("has no ="))?;
            let decoded =
                |text: &str| decode(text.trim()).ok_or_else(|| wrong("is not percent-encoded UTF-8"));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if name.is_empty() {
                return Err(wrong("has no name"));
            }
            Ok((name, value))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            // Two hexadecimal digits are a byte.
            bytes.push((high << 4 | low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_pairs_and_decodes_them() {
        let pairs = read(" a=1, b = x%2Cy%20z ,,c=d=e,empty=").expect("well formed");
        let expected = [("a", "1"), ("b", "x,y z"), ("c", "d=e"), ("empty", "")];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn names_the_pair_that_is_wrong_and_not_its_value() {
        for (text, problem) in [
            ("a=1,secret", "pair 2 has no ="),
            ("=secret", "pair 1 has no name"),
            ("a=%2", "pair 1 is not percent-encoded UTF-8"),
            ("a=%+1", "pair 1 is not percent-encoded UTF-8"),
            ("a=%ff", "pair 1 is not percent-encoded UTF-8"),
        ] {
            assert_eq!(read(text), Err(problem.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC{0,60}") {
            let _ = read(&text);
        }
    }
}
