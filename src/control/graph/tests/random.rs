//! Whatever happens in whatever order: what the graph has made is what one makes that starts with the final state.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::settings::{Mode, WithoutWaypoint};

/// The objects of a small world in which everything is related to everything: which of them are there, and in which form.
#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    number: u8,
    namespace: u8,
    /// 0: it is gone.
    form: u8,
}

fn step() -> impl Strategy<Value = Step> {
    (0..11_u8, 0..3_u8, 0..3_u8, 0..6_u8).prop_map(|(kind, number, namespace, form)| Step {
        kind,
        number,
        namespace,
        form,
    })
}

const NAMESPACES: [&str; 3] = ["a", "b", "adit-system"];

/// The object's text, with parts that its form chooses.
fn text(step: &Step) -> String {
    let Step {
        kind,
        number,
        namespace,
        form,
    } = step;
    let space = NAMESPACES[usize::from(*namespace)];
    let odd = form % 2 == 1;
    let pick = |some: &'static str, other: &'static str| if odd { some } else { other };
    let waypoint = match form {
        2 => "istio.io/use-waypoint: g0",
        3 => "istio.io/use-waypoint: g1, istio.io/use-waypoint-namespace: b",
        4 => "istio.io/use-waypoint: none",
        5 => "istio.io/use-waypoint: g0, istio.io/use-waypoint-canary: g1",
        _ => "x: y",
    };
    let mut out = String::new();
    let meta = |name: &str| {
        format!(
            "name: {name}, namespace: {space}, creationTimestamp: '2026-01-0{}T00:00:00Z'",
            number + 1
        )
    };
    let result = match kind {
        0 => write!(
            out,
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {space}, labels: {{{waypoint}, \
             topology.istio.io/network: {}}}, annotations: {{networking.istio.io/traffic-distribution: {}}}}}}}",
            pick("n1", "n2"),
            pick("PreferClose", "Any"),
        ),
        1 => write!(
            out,
            "{{apiVersion: v1, kind: Node, metadata: {{name: node{number}, labels: \
             {{topology.kubernetes.io/zone: z{form}}}}}}}",
        ),
        2 => write!(
            out,
            "{{apiVersion: v1, kind: Pod, metadata: {{{}, uid: u{form}, labels: {{app: {}, tier: t{}, {}}}, \
             annotations: {{ambient.istio.io/redirection: {}}}}}, spec: {{nodeName: node{}, containers: \
             [{{ports: [{{name: http, containerPort: 80{form}}}]}}]}}, status: {{podIP: 10.0.{namespace}.{number}, \
             phase: {}, conditions: [{{type: Ready, status: '{}'}}]}}}}",
            meta(&format!("p{number}")),
            pick("a", "b"),
            form % 3,
            if *form == 2 {
                "gateway.networking.k8s.io/gateway-name: g0"
            } else {
                waypoint
            },
            pick("enabled", "pending"),
            form % 3,
            if *form == 4 { "Failed" } else { "Running" },
            pick("True", "False"),
        ),
        3 => write!(
            out,
            "{{apiVersion: v1, kind: Service, metadata: {{{}, labels: {{{waypoint}}}}}, spec: {{clusterIP: \
             10.1.{namespace}.{number}, {} type: {}, ports: [{{name: http, port: 80, targetPort: {}}}]}}}}",
            meta(&format!("s{number}")),
            if *form == 3 {
                String::new()
            } else {
                format!("selector: {{app: {}}},", pick("a", "b"))
            },
            if *form == 5 { "ExternalName" } else { "ClusterIP" },
            if *form == 2 { "http" } else { "8080" },
        ),
        4 => write!(
            out,
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{{}, labels: \
             {{kubernetes.io/service-name: s{}}}}}, ports: [{{name: http, port: 9{form}}}], endpoints: [{{addresses: \
             [10.2.{namespace}.{form}]}}, {{addresses: [10.0.{namespace}.0], targetRef: {{kind: Pod, name: p{}}}}}]}}",
            meta(&format!("e{number}")),
            form % 3,
            form % 3,
        ),
        5 => write!(
            out,
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{{}, labels: \
             {{istio.io/waypoint-for: {}}}, annotations: {{{}}}}}, spec: {{gatewayClassName: c{}, listeners: [{{port: \
             15008, protocol: HBONE, allowedRoutes: {{namespaces: {{from: {}}}}}}}]}}, status: {{addresses: [{}]}}}}",
            meta(&format!("g{number}")),
            ["all", "all", "service", "workload", "all", "none"][usize::from(*form)],
            if odd {
                "ambient.istio.io/waypoint-inbound-binding: PROXY/80"
            } else {
                "istio.io/x: y"
            },
            form % 2,
            pick("All", "Same"),
            if *form == 4 {
                ""
            } else {
                "{type: Hostname, value: g.svc}"
            },
        ),
        6 => write!(
            out,
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {{name: c{number}, labels: \
             {{istio.io/waypoint-for: all}}, annotations: {{ambient.istio.io/waypoint-inbound-binding: NONE/9{form}}}}}, \
             spec: {{controllerName: x}}}}",
        ),
        7 => write!(
            out,
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{{}, labels: {{{waypoint}}}}}, spec: \
             {{hosts: [{}, x.example], resolution: {}, ports: [{{number: 443, name: http, protocol: TLS}}], {}}}}}",
            meta(&format!("x{number}")),
            [
                "h.example",
                "s0.a.svc.cluster.local",
                "s1.b.svc.cluster.local",
                "h.example",
                "y.example",
                "z.example"
            ][usize::from(*form)],
            ["NONE", "STATIC", "DNS", "STATIC", "NONE", "STATIC"][usize::from(*form)],
            match form {
                1 => "workloadSelector: {labels: {app: a}}",
                3 => "endpoints: [{address: 10.3.0.1, labels: {app: a}}, {address: e.example}]",
                _ => "addresses: [10.4.0.0/16]",
            },
        ),
        8 => write!(
            out,
            "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{{}, labels: {{{waypoint}}}}}, spec: \
             {{address: 10.5.{namespace}.{number}, labels: {{app: {}}}, ports: {{http: 7{form}}}, weight: {form}}}}}",
            meta(&format!("w{number}")),
            pick("a", "b"),
        ),
        9 => write!(
            out,
            "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{{}}}, spec: {{action: {}, {}, \
             rules: [{{from: [{{source: {{namespaces: [a]}}}}], to: [{{operation: {{{}}}}}]}}]}}}}",
            meta(&format!("z{number}")),
            ["ALLOW", "DENY", "AUDIT", "ALLOW", "CUSTOM", "DENY"][usize::from(*form)],
            match form {
                1 | 4 => "selector: {matchLabels: {app: a}}",
                3 => "targetRefs: [{kind: Service, group: '', name: s0}]",
                5 => "targetRefs: [{kind: ServiceEntry, group: networking.istio.io, name: x1}]",
                _ => "selector: null",
            },
            pick("ports: ['80']", "methods: [GET]"),
        ),
        _ => write!(
            out,
            "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{{}}}, spec: {{{} mtls: {{mode: \
             {}}}, portLevelMtls: {{80: {{mode: {}}}}}}}}}",
            meta(&format!("q{number}")),
            if *form > 2 {
                "selector: {matchLabels: {app: a}},"
            } else {
                ""
            },
            ["UNSET", "STRICT", "PERMISSIVE", "UNSET", "STRICT", "DISABLE"][usize::from(*form)],
            pick("STRICT", "PERMISSIVE"),
        ),
    };
    result.expect("strings take everything");
    out
}

fn event(step: &Step) -> Event {
    let object = objects(&text(step)).remove(0);
    if step.form == 0 {
        Event::Gone(object.key())
    } else {
        Event::Put(object)
    }
}

proptest! {
    #[test]
    fn the_order_of_events_makes_no_difference(
        steps in prop::collection::vec(step(), 1..80),
        strict in any::<bool>(),
        every in 1..5_usize,
    ) {
        let settings = Settings {
            mutual_tls: if strict { Mode::Strict } else { Mode::Permissive },
            without_waypoint: if strict { WithoutWaypoint::Deny } else { WithoutWaypoint::Istio },
            ..Settings::default()
        };
        let mut bench = Bench::new(settings.clone());
        let mut state: BTreeMap<Key, Object> = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            let event = event(step);
            match &event {
                Event::Put(object) => drop(state.insert(object.key(), object.clone())),
                Event::Gone(key) => drop(state.remove(key)),
            }
            bench.graph.apply(event);
            if number % every != 0 && number + 1 != steps.len() {
                continue;
            }
            bench.settle();
            let mut fresh = Bench::new(settings.clone());
            for object in state.values().rev() {
                fresh.graph.apply(Event::Put(object.clone()));
            }
            fresh.settle();
            prop_assert_eq!(versions(&bench.made), versions(&fresh.made), "after step {}: {:?}", number, step);
            prop_assert_eq!(bench.graph.conditions(), fresh.graph.conditions(), "after step {}", number);
            prop_assert!(!bench.graph.is_dirty());
            // A tunnel understands all of it.
            prop_assert_eq!(bench.registry().tombstones().count(), 0);
        }
        for key in state.keys() {
            bench.graph.apply(Event::Gone(key.clone()));
        }
        bench.settle();
        let empty = Bench::with(settings, "");
        prop_assert_eq!(versions(&bench.made), versions(&empty.made));
        prop_assert!(bench.graph.index.is_empty(), "{:?}", bench.graph.index);
    }
}
