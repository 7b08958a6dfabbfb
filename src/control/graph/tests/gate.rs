use std::time::Duration;

use super::*;
use crate::settings::Mode;

const STRICT: &str = "adit-system/istio_converted_static_strict";

fn pod(name: &str, enrolled: bool) -> String {
    let state = if enrolled { "enabled" } else { "pending" };
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: bank, annotations: \
         {{ambient.istio.io/redirection: {state}}}}}, status: {{phase: Running, podIP: 10.0.0.1, conditions: [{{type: \
         Ready, status: 'True'}}]}}}}"
    )
}

/// Whether a pod is strict, in the bench's present catalog.
fn is_strict(bench: &Bench, name: &str) -> bool {
    let registry = bench.registry();
    let uid = format!("Kubernetes//Pod/bank/{name}");
    let workload = registry.workload(&uid).expect("a workload");
    workload
        .authorization_policies
        .iter()
        .any(|policy| policy.to_string() == STRICT)
}

fn bench(text: &str) -> Bench {
    let settings = Settings {
        mutual_tls: Mode::Strict,
        ..Settings::default()
    };
    let mut bench = Bench::with(settings, text);
    bench.graph.hold_strictness();
    bench
}

impl Bench {
    /// The tunnels have acknowledged up to a generation.
    fn acknowledged(&mut self, accepted: Option<u64>, after: Duration) {
        self.graph.acknowledged(accepted, Instant::now() + after);
        self.settle();
    }
}

#[test]
fn strictness_begins_when_everybody_knows() {
    let mut bench = bench(&pod("before", true));
    assert!(is_strict(&bench, "before"), "it was there before");
    bench.apply(&pod("new", false));
    assert!(
        !is_strict(&bench, "new"),
        "nobody can call it otherwise than by plaintext"
    );
    bench.apply(&pod("new", true));
    bench.graph.published(7);
    assert!(!is_strict(&bench, "new"));
    assert!(is_strict(&bench, "before"));
    bench.acknowledged(Some(6), Duration::ZERO);
    assert!(!is_strict(&bench, "new"), "somebody has not heard of it");
    bench.acknowledged(Some(7), Duration::ZERO);
    assert!(is_strict(&bench, "new"));
    // It stays so, whatever else happens to it.
    bench.apply(&pod("new", true).replace("10.0.0.1", "10.0.0.2"));
    assert!(is_strict(&bench, "new"));
}

#[test]
fn a_tunnel_that_does_not_answer_keeps_nobody_open() {
    let mut bench = bench("");
    bench.apply(&pod("new", true));
    bench.graph.published(7);
    assert!(bench.graph.strictness_due().is_some());
    bench.acknowledged(Some(1), Duration::from_secs(29));
    assert!(!is_strict(&bench, "new"));
    bench.acknowledged(Some(1), Duration::from_secs(31));
    assert!(is_strict(&bench, "new"));
    assert_eq!(bench.graph.strictness_due(), None);
}

#[test]
fn without_tunnels_nobody_is_waited_for_and_who_leaves_begins_anew() {
    let mut bench = bench("");
    bench.apply(&pod("new", true));
    bench.acknowledged(None, Duration::ZERO);
    assert!(!is_strict(&bench, "new"), "it has not been published");
    bench.graph.published(7);
    bench.acknowledged(None, Duration::ZERO);
    assert!(is_strict(&bench, "new"));
    bench.apply(&pod("new", false));
    bench.apply(&pod("new", true));
    assert!(!is_strict(&bench, "new"));
}
