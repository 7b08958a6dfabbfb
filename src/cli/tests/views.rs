//! What the operator's commands write about dumps: our own, stock ztunnel's, and an older one's.

use clap::Parser;
use time::macros::datetime;

use super::{Cli, Command};
use crate::cli::dump::Dump;
use crate::cli::operator;

const ADIT: &str = include_str!("adit.json");
const ZTUNNEL: &str = include_str!("ztunnel.json");
const OLD_ZTUNNEL: &str = include_str!("old-ztunnel.json");

/// What the command line writes about a dump at noon of 2026-05-01.
fn answer(dump: &str, arguments: &str) -> anyhow::Result<String> {
    let words = std::iter::once("adit").chain(arguments.split(' '));
    let cli = Cli::try_parse_from(words)?;
    let Command::Operator(operator::Command::List(list)) = cli.command else {
        panic!("{arguments} is no list");
    };
    list.answer(&Dump::parse(dump.as_bytes())?, datetime!(2026-05-01 12:00 UTC))
}

fn table(dump: &str, arguments: &str) -> String {
    answer(dump, arguments).expect("an answer")
}

fn problem(dump: &str, arguments: &str) -> String {
    format!("{:#}", answer(dump, arguments).expect_err("an error"))
}

#[test]
fn workloads_of_a_stock_ztunnel() {
    let all = "\
NAMESPACE     POD NAME           ADDRESS                       NODE       WAYPOINT   PROTOCOL
kube-system   kube-proxy-4xkcd   172.18.0.3                    worker-2   None       TCP
shop          cart-6f7c-x2x9z    10.244.1.7                    worker-1   waypoint   HBONE
shop          front-5b4d-kkq2p   10.244.2.4,fd00:10:244:2::4   worker-2   None       HBONE
shop          partner            api.example.org               -          None       TCP
";
    assert_eq!(table(ZTUNNEL, "workloads"), all);
    let cart = "\
NAMESPACE   POD NAME          ADDRESS      NODE       WAYPOINT   PROTOCOL
shop        cart-6f7c-x2x9z   10.244.1.7   worker-1   waypoint   HBONE
";
    for filter in [
        "workloads cart-6f7c-x2x9z",
        "workloads shop/cart-6f7c-x2x9z",
        "workload cart-6f7c-x2x9z.shop",
        "workloads Kubernetes//Pod/shop/cart-6f7c-x2x9z",
        "workloads --address 10.244.1.7",
        "workloads --node worker-1",
        "workloads -n shop --workload-node worker-1",
    ] {
        assert_eq!(table(ZTUNNEL, filter), cart, "{filter}");
    }
    assert_eq!(
        table(ZTUNNEL, "workloads --address fd00:10:244:2:0::4")
            .lines()
            .count(),
        2
    );
    assert_eq!(
        table(ZTUNNEL, "workloads --workload-namespace shop")
            .lines()
            .count(),
        4
    );
}

#[test]
fn services_of_a_stock_ztunnel() {
    let all = "\
NAMESPACE   SERVICE NAME   SERVICE VIP                 WAYPOINT   ENDPOINTS
shop        cart           10.96.0.71,fd00:10:96::71   waypoint   1/2
shop        waypoint       10.96.9.9                   None       0/0
";
    assert_eq!(table(ZTUNNEL, "services"), all);
    assert_eq!(
        table(ZTUNNEL, "svc cart.shop.svc.cluster.local").lines().count(),
        2
    );
    assert_eq!(
        table(ZTUNNEL, "services --service-namespace kube-system")
            .lines()
            .count(),
        1
    );
}

#[test]
fn policies_of_a_stock_ztunnel_and_of_ours() {
    let theirs = "\
NAMESPACE      POLICY NAME    ACTION   SCOPE
istio-system   nobody         Deny     Global
shop           cart-callers   Allow    WorkloadSelector
";
    assert_eq!(table(ZTUNNEL, "policies"), theirs);
    let ours = "\
NAMESPACE   POLICY NAME   ACTION            SCOPE
bank        maybe         Allow (dry run)   WorkloadSelector
bank        strict-mtls   Deny              Namespace
";
    assert_eq!(table(ADIT, "policies --policy-namespace bank"), ours);
}

#[test]
fn certificates_of_a_stock_ztunnel_and_of_ours() {
    let theirs = "\
CERTIFICATE NAME                          TYPE           STATUS         VALID CERT   SERIAL NUMBER                      NOT AFTER              NOT BEFORE
spiffe://cluster.local/ns/shop/sa/cart    NA             Unavailable    false        NA                                 NA                     NA
spiffe://cluster.local/ns/shop/sa/front   Leaf           Available      true         234d465b4d604a84ed219e359ff2efad   2026-05-02T10:02:00Z   2026-05-01T10:00:00Z
spiffe://cluster.local/ns/shop/sa/front   Intermediate   Available      true         a0b                                2027-01-01T00:00:00Z   2026-01-01T00:00:00Z
spiffe://cluster.local/ns/shop/sa/front   Root           Available      true         1                                  2030-01-01T00:00:00Z   2020-01-01T00:00:00Z
spiffe://cluster.local/ns/shop/sa/late    NA             Initializing   false        NA                                 NA                     NA
";
    assert_eq!(table(ZTUNNEL, "certificates"), theirs);
    let ours = "\
CERTIFICATE NAME                           TYPE   STATUS      VALID CERT   SERIAL NUMBER   NOT AFTER              NOT BEFORE
spiffe://cluster.local/ns/bank/sa/ledger   Leaf   Available   true         4d              2026-05-02T11:00:00Z   2026-05-01T11:00:00Z
spiffe://cluster.local/ns/bank/sa/ledger   Root   Available   true         ff              2036-01-01T00:00:00Z   2026-01-01T00:00:00Z
";
    for filter in [
        "certs",
        "cert ledger",
        "certs bank/ledger",
        "certs spiffe://cluster.local/ns/bank/sa/ledger",
    ] {
        assert_eq!(table(ADIT, filter), ours, "{filter}");
    }
}

#[test]
fn connections_of_a_stock_ztunnel() {
    let named = "\
WORKLOAD                DIRECTION   LOCAL                         REMOTE                         REMOTE TARGET                    PROTOCOL
cart-6f7c-x2x9z.shop    Inbound     cart-6f7c-x2x9z.shop:8080     front-5b4d-kkq2p.shop:51002    cart.shop.svc.cluster.local      HBONE
front-5b4d-kkq2p.shop   Outbound    front-5b4d-kkq2p.shop:50994   203.0.113.9:443                203.0.113.9:443                  TCP
front-5b4d-kkq2p.shop   Outbound    front-5b4d-kkq2p.shop:51002   cart-6f7c-x2x9z.shop:15008     cart.shop.svc.cluster.local:80   HBONE
";
    assert_eq!(squeezed(&table(ZTUNNEL, "connections")), squeezed(named));
    let raw = "\
WORKLOAD               DIRECTION  LOCAL             REMOTE            REMOTE TARGET    PROTOCOL
front-5b4d-kkq2p.shop  Outbound   10.244.2.4:50994  203.0.113.9:443   203.0.113.9:443  TCP
front-5b4d-kkq2p.shop  Outbound   10.244.2.4:51002  10.244.1.7:15008  10.96.0.71:80    HBONE
";
    let filtered = table(ZTUNNEL, "cons --raw --direction outbound front-5b4d-kkq2p.shop");
    assert_eq!(squeezed(&filtered), squeezed(raw));
}

#[test]
fn connections_of_ours_are_in_the_order_of_addresses_and_never_misnamed() {
    let expected = "\
WORKLOAD       DIRECTION  LOCAL               REMOTE           REMOTE TARGET  PROTOCOL
ledger-1.bank  Inbound    ledger-1.bank:8080  web.bank:4000    -              HBONE
ledger-1.bank  Inbound    ledger-1.bank:8080  web.bank:40010   -              HBONE
ledger-1.bank  Inbound    ledger-1.bank:8080  192.0.2.1:900    -              TCP
";
    assert_eq!(squeezed(&table(ADIT, "connections -n bank")), squeezed(expected));
}

#[test]
fn an_older_dump_with_maps_is_read_too() {
    let workloads = "\
NAMESPACE   POD NAME   ADDRESS      NODE       WAYPOINT     PROTOCOL
shop        cart       10.244.1.7   worker-1   /10.96.9.9   HBONE
";
    assert_eq!(table(OLD_ZTUNNEL, "workloads"), workloads);
    assert!(table(OLD_ZTUNNEL, "services").contains("10.96.0.71"));
    assert_eq!(table(OLD_ZTUNNEL, "policies").lines().count(), 1);
    let certificates = table(OLD_ZTUNNEL, "certificates");
    let types: Vec<_> = certificates
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(types, ["NAME", "Leaf", "Root"]);
    assert!(problem(OLD_ZTUNNEL, "connections").contains("no workloadState"));
}

#[test]
fn programs_get_the_dumps_own_objects() {
    let text = table(ZTUNNEL, "workloads -o json front-5b4d-kkq2p cart-6f7c-x2x9z");
    let objects: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let dump: serde_json::Value = serde_json::from_str(ZTUNNEL).expect("JSON");
    assert_eq!(
        objects,
        serde_json::json!([dump["workloads"][0], dump["workloads"][1]])
    );
    let yaml = table(ZTUNNEL, "workloads -o yaml");
    let back: serde_json::Value = serde_saphyr::from_str(&yaml).expect("YAML");
    let json: serde_json::Value = serde_json::from_str(&table(ZTUNNEL, "workloads -o json")).expect("JSON");
    assert_eq!(back, json);
    let text = table(ADIT, "connections -o json --direction outbound");
    let pods: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        pods[0]["connections"],
        serde_json::json!({"inbound": [], "outbound": []})
    );
    assert_eq!(pods[0]["state"], "Draining");
}

#[test]
fn what_is_not_there_is_an_error_with_a_hint() {
    for (arguments, expected) in [
        (
            "workloads ledgre-1",
            "no workload \"ledgre-1\" in this tunnel's configuration; did you mean ledger-1?",
        ),
        (
            "services leger",
            "no service \"leger\" in this tunnel's configuration; did you mean ledger?",
        ),
        (
            "policies nothing",
            "no policy \"nothing\" in this tunnel's configuration; there are maybe, strict-mtls",
        ),
        (
            "certificates web",
            "no certificate of \"web\" in this tunnel's configuration; there are ledger",
        ),
        (
            "connections web",
            "no pod \"web\" in this tunnel's configuration; there are ledger-1",
        ),
        (
            "policies -n bakn",
            "no namespace \"bakn\" in this tunnel's configuration; did you mean bank?",
        ),
        (
            "workloads --node node-2",
            "no workload on the node \"node-2\" in this tunnel's configuration; did you mean node-1?",
        ),
        (
            "workloads --address 10.0.0.1",
            "no workload with the address \"10.0.0.1\" in this tunnel's configuration; \
             there are 10.244.0.2, 10.244.0.4, 192.0.2.1",
        ),
    ] {
        assert_eq!(problem(ADIT, arguments), expected, "{arguments}");
    }
}

#[test]
fn what_is_no_dump_is_not_taken_for_an_empty_one() {
    for (text, expected) in [
        ("<html>", "this is not JSON"),
        ("{}", "no config_dump"),
        ("[]", "no config_dump"),
        ("{\"configs\": []}", "no config_dump"),
        ("{\"services\": 7}", "has no services"),
    ] {
        let found = problem(text, "services");
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn one_place_is_asked() {
    for arguments in ["--file a --lab node-1", "--file a --admin 127.0.0.1:1"] {
        let words = format!("adit services {arguments}");
        Cli::try_parse_from(words.split(' ')).expect_err(arguments);
    }
    for arguments in [
        "--file -",
        "--lab node-1 --admin 127.0.0.1:1",
        "-n bank -o yaml ledger",
    ] {
        let words = format!("adit services {arguments}");
        Cli::try_parse_from(words.split(' ')).expect(arguments);
    }
    Cli::try_parse_from(["adit", "explain", "web"]).expect_err("a destination is missing");
}

/// How wide columns are is the table's own test.
fn squeezed(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines();
    rows.map(|row| {
        row.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect()
    })
    .collect()
}
