//! Whatever stands in a file, reading it ends with a value or an error.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};

use super::*;
use crate::local::{service, workload};

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
        if let Ok(mesh) = convert::read(&document, "mesh.yaml", &mut Interner::default()) {
            let rejected = mesh.resources.values().filter(|update| matches!(update, Update::Reject(_))).count();
            prop_assert!(mesh.rejected.len() >= rejected);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}|[-:\\[\\]{}&*!|>'\"%@` a0\\n\\t,#?]{0,80}") {
        let _ = document::parse(&text);
    }
}
