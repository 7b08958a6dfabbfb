//! What objects become, case by case, each named for its rule: `cases/*.yaml` are what `kubectl apply` takes, and the
//! snapshot beside them is what tunnels get. A case begins with `=== its name`, and may end with settings of its own.

use std::path::Path;

use adit_discovery::config_dump;
use serde_json::Value;

use super::*;
use crate::settings::{Mode, WithoutWaypoint};

#[test]
fn objects_become_what_their_rules_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("graph/tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the cases")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let mut names = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a file");
        let topic = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut all = String::new();
        for case in text.split("\n=== ").map(|case| case.trim_start_matches("=== ")) {
            let (head, objects) = case.split_once('\n').expect("a name and objects");
            let (name, settings) = head
                .split_once(" [")
                .map_or((head, ""), |(name, rest)| (name, rest.trim_end_matches(']')));
            assert!(names.insert(name.to_owned()), "two cases are called {name:?}");
            all += &format!("=== {name}\n{}\n", shown(&Bench::with(of(settings), objects)));
        }
        insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "cases", omit_expression => true }, {
            insta::assert_snapshot!(topic, all);
        });
    }
    assert!(names.len() > 50, "{} cases", names.len());
}

/// A case's settings: the words that differ from the defaults.
fn of(words: &str) -> Settings {
    let mut settings = Settings {
        // What most cases are not about.
        mutual_tls: Mode::Permissive,
        ..Settings::default()
    };
    for word in words.split_whitespace() {
        match word {
            "strict" => settings.mutual_tls = Mode::Strict,
            "istio" => settings.without_waypoint = WithoutWaypoint::Istio,
            other => panic!("no setting is called {other}"),
        }
    }
    settings
}

/// Everything that tunnels get and that authors are told, without what is at its default.
fn shown(bench: &Bench) -> String {
    let mut dump = config_dump(&bench.registry());
    let mut out = String::new();
    for kind in ["workloads", "services", "policies"] {
        let all = dump[kind].take();
        for one in all.as_array().into_iter().flatten() {
            let mut one = one.clone();
            prune(&mut one);
            out += &format!("{kind}: {one}\n");
        }
    }
    for (key, conditions) in bench.graph.conditions() {
        for condition in conditions {
            out += &format!("{key}: {condition}\n");
        }
    }
    out
}

/// Takes away what says nothing, or the same in all cases.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in fields.values_mut() {
                prune(field);
            }
            let usual = [
                ("clusterId", "Kubernetes"),
                ("trustDomain", "cluster.local"),
                ("workloadType", "pod"),
                ("networkMode", "Standard"),
                ("status", "Healthy"),
                ("protocol", "TCP"),
                ("canonicalRevision", "latest"),
                ("visibility", "Public"),
            ];
            fields.retain(|name, value| {
                let empty = match value {
                    Value::Null => true,
                    Value::Bool(set) => !*set,
                    Value::String(text) => text.is_empty(),
                    Value::Array(all) => all.is_empty() && name != "rules",
                    Value::Object(all) => all.is_empty(),
                    Value::Number(number) => name == "capacity" && number.as_u64() == Some(1),
                };
                !empty && !usual.iter().any(|(usual, same)| name == usual && *value == *same)
            });
        }
        Value::Array(all) => all.iter_mut().for_each(prune),
        _ => {}
    }
}
