//! Whatever stands in a file, reading it ends with a value or an error.

use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::*;
use crate::local::{document, events, service, workload};

/// The keys of the format, so that random documents get past the first look.
fn keys() -> impl Strategy<Value = String> {
    let known: Vec<_> = [workload::KEYS, service::KEYS]
        .concat()
        .into_iter()
        .chain([
            "workloads",
            "services",
            "policies",
            "scope",
            "action",
            "rules",
            "dryRun",
            "principals",
            "sourceIps",
            "destinationPorts",
            "serviceAccounts",
            "Exact",
            "Presence",
            "destination",
            "hboneMtlsPort",
            "cidr",
            "mode",
            "routingPreferences",
            "region",
            "80",
            "0",
            "bank/ledger",
            "weight",
            "workloadUid",
            "port",
        ])
        .map(str::to_owned)
        .collect();
    prop_oneof![9 => select(known), 1 => any::<String>()]
}

fn scalars() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "/",
        "a/b",
        "bank",
        "10.0.0.1",
        "/10.0.0.1",
        "10.0.0.0/8",
        "::ffff:10.0.0.0/90",
        "HBONE",
        "Global",
        "Allow",
        "spiffe://td/ns/a/sa/b",
        "\u{0}",
        "é",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(&[0, 1, 80, 65_535, 65_536][..]).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    scalars().prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((keys(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

prop_compose! {
    fn documents()(
        part in select(&["workloads", "services", "policies"][..]),
        items in proptest::collection::vec(values(), 0..3),
    ) -> Value {
        Value::Object([(part.to_owned(), Value::from(items))].into_iter().collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_document_is_read_or_refused(document in prop_oneof![documents(), values()]) {
        if let Ok(mesh) = converted(&document).expect("is a document") {
            let rejected = mesh.resources.values().filter(|update| matches!(update, Update::Reject(_))).count();
            prop_assert!(mesh.rejected.len() >= rejected);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}|[-:\\[\\]{}&*!|>'\"%@` a0\\n\\t,#?]{0,80}") {
        let _ = parsed(&text);
    }

    #[test]
    fn the_quick_reader_says_what_the_full_one_does_or_nothing(text in texts()) {
        if let Some(quick) = quick(&text) {
            prop_assert_eq!(full(&text), Ok(quick));
        }
    }

    #[test]
    fn plain_documents_are_read_quickly(document in plain()) {
        let text = document.to_string();
        prop_assert_eq!(quick(&text), Some(document));
    }
}

fn quick(text: &str) -> Option<Value> {
    events::parse(text, |document| Value::deserialize(document))
}

fn full(text: &str) -> Result<Value, NotYaml> {
    document::parse(text, |document| Value::deserialize(document))
}

/// Scalars that readers of YAML disagree about, or that are close to some that they do.
const SCALARS: &[&str] = &[
    "null",
    "Null",
    "~",
    "",
    "true",
    "True",
    "TRUE",
    "yes",
    "no",
    "y",
    "n",
    "on",
    "off",
    "nan",
    ".nan",
    "inf",
    ".inf",
    "infinity",
    "e5",
    "1e5",
    "0",
    "00",
    "007",
    "0x10",
    "0o7",
    "1_000",
    "80",
    "65536",
    "-1",
    "+1",
    "1.5",
    "1.",
    "10.0.0.1",
    "10.0.0",
    "10.0.0.0/8",
    "fd00::5",
    "2001:db8::1",
    "1::",
    "::1",
    "12:30:45",
    "2001-12-14",
    "a",
    "a b",
    "a:b",
    "a: b",
    "a #b",
    "#a",
    "bank/ledger",
    "/10.0.0.1",
    "'a'",
    "\"a\"",
    "'80'",
    "\"\\u0041\"",
    "\"\\n\"",
    "''",
    "&a b",
    "*a",
    "!!str 1",
    "!!int \"1\"",
    "<<",
    "? a",
    "- a",
    "|\n  a",
    ">\n  a",
    "[a, 80]",
    "{a: 1}",
    "{a: 1, a: 2}",
    "[a",
    "%",
    "@a",
    "`a",
    "18446744073709551615",
    "99999999999999999999",
    "123456789012345678",
    "é",
    "a\u{301}",
    "\u{feff}",
];

/// Documents of such scalars in block and flow style, some of them broken.
fn texts() -> impl Strategy<Value = String> {
    let scalar = || select(SCALARS);
    let block = proptest::collection::vec((0..3usize, any::<bool>(), scalar(), scalar()), 1..6);
    let block = block.prop_map(|lines| {
        let line = |(depth, item, key, value): (usize, bool, &str, &str)| {
            let (indent, dash) = (" ".repeat(2 * depth), if item { "- " } else { "" });
            format!("{indent}{dash}{key}: {value}\n")
        };
        lines.into_iter().map(line).collect::<String>()
    });
    let flow = proptest::collection::vec((scalar(), scalar()), 0..4).prop_map(|entries| {
        let entries: Vec<_> = entries
            .iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        format!("{{{}}}", entries.join(", "))
    });
    prop_oneof![block, flow, scalar().prop_map(str::to_owned)]
}

/// JSON as programs write it, with nothing that is doubtful.
fn plain() -> impl Strategy<Value = Value> {
    let scalars = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..1_000_000_000_u64).prop_map(Value::from),
        "[a-z0-9./: -]{0,12}".prop_map(Value::from),
    ];
    scalars.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z]{1,8}", inner), 0..40)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}
