use std::time::Duration;

use super::{boolean, duration, duration_or_zero, list, number, parse_duration, path, seconds};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn reads_every_spelling_of_a_duration() {
    for (text, milliseconds) in [
        ("10s", 10_000),
        ("10", 10_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("1h + 30 minutes", 5_400_000),
        ("1d2h3m4s5ms", 93_784_005),
        ("250ms", 250),
        ("2 Days", 172_800_000),
        ("1w", 604_800_000),
        ("0s", 0),
    ] {
        assert_eq!(
            parse_duration(text),
            Some(Duration::from_millis(milliseconds)),
            "{text:?}"
        );
    }
    assert_eq!(parse_duration("7µs"), Some(Duration::from_micros(7)));
    assert_eq!(parse_duration("9ns"), Some(Duration::from_nanos(9)));
}

#[test]
fn refuses_what_is_no_duration() {
    for text in [
        "",
        "s",
        "-1s",
        "+",
        "1s+",
        "10 s 5",
        "1.5h",
        "1y",
        "1mon",
        "1h-30m",
        "99999999999999999999",
        "1ß",
    ] {
        assert_eq!(parse_duration(text), None, "{text:?}");
    }
    // More than a clock can count.
    assert_eq!(parse_duration("18446744073709551615w"), None);
}

#[test]
fn nothing_and_white_space_are_no_value() {
    for value in [None, text(""), text("  ")] {
        assert_eq!(boolean("X", &value), Ok(None));
        assert_eq!(number("X", &value, 1, 2), Ok(None));
        assert_eq!(duration("X", &value), Ok(None));
        assert_eq!(seconds("X", &value, 9), Ok(None));
        assert_eq!(path(&value), None);
        assert_eq!(list(&value).count(), 0);
    }
}

#[test]
fn zero_is_a_duration_only_where_it_means_something() {
    assert_eq!(duration_or_zero("X", &text("0")), Ok(Some(Duration::ZERO)));
    assert!(duration("X", &text("0")).is_err());
}

#[test]
fn bounds_are_included() {
    for (value, expected) in [
        ("2", true),
        ("3", true),
        ("1", false),
        ("4", false),
        ("0x3", true),
        ("+3", true),
    ] {
        assert_eq!(number("X", &text(value), 2, 3).is_ok(), expected, "{value}");
        assert_eq!(seconds("X", &text("1s"), 1), Ok(Some(Duration::from_secs(1))));
    }
    assert!(duration("X", &text("366d")).is_ok());
    assert!(duration("X", &text("366d1ns")).is_err());
}

#[test]
fn a_list_has_no_empty_parts() {
    let value = text(" a, ,b,");
    assert_eq!(list(&value).collect::<Vec<_>>(), ["a", "b"]);
}
