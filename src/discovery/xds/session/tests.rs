use std::collections::BTreeMap;

use adit_mesh::policy::{Action, PolicyScope};
use adit_mesh::service::PortMap;
use adit_mesh::workload::NetworkAddress;
use adit_mesh::{Interner, Policy, PolicyKey, Service, ServiceKey, TrustDomain, Workload};
use adit_proto::discovery::{self, Status};
use proptest::prelude::*;
use prost::Message;

use super::super::catalog::{Change, Table};
use super::*;

fn key(name: &str) -> ServiceKey {
    ServiceKey {
        namespace: "bank".into(),
        hostname: name.into(),
    }
}

fn workload(name: &str, ip: u8, node: &str, services: &[&str]) -> Change {
    let uid = Text::from(format!("c//Pod/bank/{name}"));
    let made = Workload::new(
        uid,
        name.into(),
        TrustDomain::default(),
        "bank".into(),
        "sa".into(),
    );
    let mut workload = made.expect("valid");
    workload.addresses = [[10, 0, 0, ip].into()].into();
    workload.node = node.into();
    workload.services = services
        .iter()
        .map(|name| (key(name), PortMap::default()))
        .collect();
    Change::Put(Resource::workload(&workload, &mut Interner::default()))
}

fn service(name: &str, ip: u8) -> Change {
    let mut service = Service::new(key(name), name.into());
    service.addresses = [NetworkAddress::new(Text::empty(), [10, 1, 0, ip].into())].into();
    Change::Put(Resource::service(&service))
}

fn policy(name: &str, action: Action) -> Change {
    Change::Put(Resource::policy(&Policy {
        key: PolicyKey {
            namespace: "bank".into(),
            name: name.into(),
        },
        scope: PolicyScope::Namespace,
        action,
        groups: Box::default(),
        dry_run: false,
    }))
}

fn gone(name: &str) -> Change {
    Change::Remove(Table::Addresses, name.into())
}

fn catalog(changes: impl IntoIterator<Item = Change>) -> Catalog {
    let now = Instant::now();
    let empty = Catalog::new(now);
    empty.with(changes, now).unwrap_or(empty)
}

fn next(catalog: &Catalog, changes: impl IntoIterator<Item = Change>) -> Catalog {
    catalog.with(changes, Instant::now()).expect("a change")
}

fn subscribe(names: &[&str], unsubscribe: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        resource_names_unsubscribe: unsubscribe.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn session(kind: Kind, first: &DeltaDiscoveryRequest) -> Session {
    Session::new(kind, "node-1".into(), first)
}

/// A client as it should be: it applies every response, and answers it.
#[derive(Default)]
struct Client {
    has: BTreeMap<String, String>,
    removed: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
}

impl Client {
    fn take(&mut self, response: &DeltaDiscoveryResponse) {
        for bytes in &response.resources {
            let resource = discovery::Resource::decode(bytes.clone()).expect("a resource");
            let content = resource.resource.expect("content");
            assert_eq!(content.type_url, response.type_url);
            self.aliases.insert(resource.name.clone(), resource.aliases);
            self.has.insert(resource.name, resource.version);
        }
        self.removed.clone_from(&response.removed_resources);
        for name in &response.removed_resources {
            self.has.remove(name);
        }
    }

    /// Takes what there is, and accepts it; whether there was anything.
    fn turn(&mut self, session: &mut Session, catalog: &Catalog) -> bool {
        let Some(response) = session.response(catalog, Removals::Told, Instant::now()) else {
            return false;
        };
        self.take(&response);
        let answer = session.request(&ack(&response), Instant::now());
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        true
    }

    fn names(&self) -> Vec<&str> {
        self.has.keys().map(String::as_str).collect()
    }
}

#[test]
fn a_client_that_names_nothing_gets_everything_and_then_what_changes() {
    let first = catalog([workload("a", 1, "n", &["s"]), service("s", 1)]);
    let mut client = Client::default();
    for request in [subscribe(&[], &[]), subscribe(&["*"], &[])] {
        client = Client::default();
        let mut session = session(Kind::Address, &request);
        assert!(client.turn(&mut session, &first));
        assert_eq!(client.names(), ["bank/s", "c//Pod/bank/a"]);
        assert!(!client.turn(&mut session, &first), "it has everything");
        let second = next(&first, [workload("b", 2, "n", &[]), gone("bank/s")]);
        assert!(client.turn(&mut session, &second));
        assert_eq!(client.names(), ["c//Pod/bank/a", "c//Pod/bank/b"]);
        assert_eq!(client.removed, ["bank/s"]);
    }
    assert_eq!(client.aliases["c//Pod/bank/a"], Vec::<String>::new());
}

#[test]
fn the_first_request_is_answered_even_by_nothing() {
    let mut session = session(Kind::Authorization, &subscribe(&[], &[]));
    let response = session
        .response(&catalog([]), Removals::Told, Instant::now())
        .expect("an answer");
    assert_eq!(
        (response.resources.len(), response.removed_resources.len()),
        (0, 0)
    );
    assert_eq!(response.type_url, Kind::Authorization.url());
}

#[test]
fn while_a_response_is_out_changes_gather() {
    let first = catalog([workload("a", 1, "n", &[])]);
    let mut session = session(Kind::Address, &subscribe(&[], &[]));
    let mut client = Client::default();
    let out = session
        .response(&first, Removals::Told, Instant::now())
        .expect("a response");
    client.take(&out);
    let second = next(&first, [workload("b", 2, "n", &[]), workload("c", 3, "n", &[])]);
    let third = next(&second, [gone("c//Pod/bank/c"), workload("d", 4, "n", &[])]);
    assert_eq!(
        session.response(&third, Removals::Told, Instant::now()),
        None,
        "it has not answered"
    );
    session.request(&ack(&out), Instant::now());
    assert!(client.turn(&mut session, &third));
    assert_eq!(
        client.names(),
        ["c//Pod/bank/a", "c//Pod/bank/b", "c//Pod/bank/d"]
    );
    assert_eq!(client.removed, Vec::<String>::new(), "it has never heard of it");
}

#[test]
fn a_late_answer_is_no_answer() {
    let first = catalog([workload("a", 1, "n", &[])]);
    let mut session = session(Kind::Address, &subscribe(&[], &[]));
    let mut old = session
        .response(&first, Removals::Told, Instant::now())
        .expect("a response");
    old.nonce = "0".to_owned();
    assert_eq!(session.request(&ack(&old), Instant::now()), Answer::None);
    let second = next(&first, [gone("c//Pod/bank/a")]);
    assert_eq!(
        session.response(&second, Removals::Told, Instant::now()),
        None,
        "it is still out"
    );
}

#[test]
fn a_refusal_is_kept_and_nothing_is_sent_again() {
    let first = catalog([policy("p", Action::Allow)]);
    let mut session = session(Kind::Authorization, &subscribe(&[], &[]));
    let out = session
        .response(&first, Removals::Told, Instant::now())
        .expect("a response");
    let mut nack = ack(&out);
    nack.error_detail = Some(Status {
        code: 3,
        message: "bank/p: no".to_owned(),
    });
    let reason = "bank/p: no".to_owned();
    assert_eq!(
        session.request(&nack, Instant::now()),
        Answer::Refused {
            reason: reason.clone()
        }
    );
    assert_eq!(session.progress().refused, Some(reason));
    assert_eq!(session.progress().accepted, None);
    assert_eq!(session.response(&first, Removals::Told, Instant::now()), None);
    let second = next(&first, [policy("p", Action::Deny)]);
    assert!(Client::default().turn(&mut session, &second));
    assert_eq!(session.progress().refused, None);
    assert_eq!(session.progress().accepted, Some(2));
    assert_eq!(session.progress().refusals, 1);
}

#[test]
fn whoever_comes_back_is_told_the_difference() {
    let first = catalog([
        workload("a", 1, "n", &[]),
        workload("b", 2, "n", &[]),
        service("s", 1),
    ]);
    let mut client = Client::default();
    client.turn(&mut session(Kind::Address, &subscribe(&[], &[])), &first);
    let mut back = subscribe(&[], &[]);
    back.initial_resource_versions.clone_from(&client.has);
    let second = next(&first, [workload("a", 9, "n", &[]), gone("bank/s")]);
    let response = session(Kind::Address, &back).response(&second, Removals::Told, Instant::now());
    let response = response.expect("a response");
    assert_eq!(response.resources.len(), 1);
    assert_eq!(response.removed_resources, ["bank/s"]);
    client.take(&response);
    assert_eq!(client.names(), ["c//Pod/bank/a", "c//Pod/bank/b"]);
}

#[test]
fn versions_of_another_server_are_never_taken_for_ours() {
    let first = catalog([service("s", 1)]);
    let mut back = subscribe(&[], &[]);
    back.initial_resource_versions = [("bank/s".to_owned(), "17".to_owned())].into();
    let response = session(Kind::Address, &back).response(&first, Removals::Told, Instant::now());
    assert_eq!(response.expect("a response").resources.len(), 1);
}

#[test]
fn the_first_kind_of_the_protocol_is_workloads_alone() {
    let first = catalog([workload("a", 1, "n", &["s"]), service("s", 1)]);
    let mut session = session(Kind::Workload, &subscribe(&[], &[]));
    let response = session
        .response(&first, Removals::Told, Instant::now())
        .expect("a response");
    assert_eq!(response.resources.len(), 1);
    let resource = discovery::Resource::decode(response.resources[0].clone()).expect("a resource");
    let content = resource.resource.expect("content");
    let workload = adit_proto::workload::Workload::decode(content.value).expect("a workload");
    assert_eq!(workload.uid, "c//Pod/bank/a");
    session.request(&ack(&response), Instant::now());
    let second = next(&first, [gone("bank/s")]);
    assert_eq!(session.response(&second, Removals::Told, Instant::now()), None);
}

#[test]
fn who_asks_by_key_gets_what_the_key_stands_for() {
    let all = catalog([
        workload("a", 1, "n", &["s", "t"]),
        workload("b", 2, "n", &["s"]),
        workload("other", 3, "n", &[]),
        workload("own", 4, "node-1", &[]),
        service("s", 1),
        service("t", 2),
    ]);
    let mut session = session(Kind::Address, &subscribe(&["*"], &["*"]));
    let mut client = Client::default();
    assert!(client.turn(&mut session, &all));
    assert_eq!(client.names(), ["c//Pod/bank/own"], "those of its own node");
    for (asked, expected) in [
        ("/10.0.0.3", vec!["c//Pod/bank/other"]),
        ("/10.1.0.1", vec!["bank/s", "c//Pod/bank/a", "c//Pod/bank/b"]),
        ("bank/t", vec!["bank/t", "c//Pod/bank/a"]),
        ("c//Pod/bank/b", vec!["c//Pod/bank/b"]),
    ] {
        client.has.clear();
        session.request(&subscribe(&[asked], &[]), Instant::now());
        assert!(client.turn(&mut session, &all), "{asked}");
        assert_eq!(client.names(), expected, "{asked}");
    }
    assert_eq!(client.aliases["bank/s"], ["/10.1.0.1"]);
    session.request(&subscribe(&["/10.9.9.9"], &[]), Instant::now());
    assert!(
        client.turn(&mut session, &all),
        "nobody's address is answered too"
    );
    assert_eq!(client.removed, ["/10.9.9.9"]);
}

#[test]
fn who_asked_by_key_is_told_what_becomes_of_it() {
    let first = catalog([workload("a", 1, "n", &["s"]), service("s", 1)]);
    let mut session = session(Kind::Address, &subscribe(&["bank/s", "/10.0.0.7"], &[]));
    let mut client = Client::default();
    assert!(client.turn(&mut session, &first));
    assert_eq!(client.names(), ["bank/s", "c//Pod/bank/a"]);
    let second = next(
        &first,
        [workload("late", 7, "n", &[]), workload("b", 2, "n", &["s"])],
    );
    assert!(client.turn(&mut session, &second));
    assert_eq!(
        client.names(),
        ["bank/s", "c//Pod/bank/a", "c//Pod/bank/b", "c//Pod/bank/late"]
    );
    let third = next(&second, [workload("a", 1, "n", &[]), workload("c", 8, "n", &[])]);
    assert!(client.turn(&mut session, &third));
    assert_eq!(client.removed, ["c//Pod/bank/a"], "it is no endpoint any more");
    session.request(&subscribe(&[], &["bank/s"]), Instant::now());
    let fourth = next(&third, [gone("c//Pod/bank/c")]);
    assert!(client.turn(&mut session, &fourth));
    assert_eq!(client.names(), ["c//Pod/bank/late"]);
}

#[test]
fn what_is_gone_may_be_told_later_and_what_came_back_is_not_gone() {
    let first = catalog([policy("p", Action::Allow), policy("q", Action::Allow)]);
    let mut session = session(Kind::Authorization, &subscribe(&[], &[]));
    let mut client = Client::default();
    client.turn(&mut session, &first);
    let gone = |name: &str| Change::Remove(Table::Authorizations, name.into());
    let second = next(
        &first,
        [gone("bank/p"), gone("bank/q"), policy("r", Action::Allow)],
    );
    assert!(!session.has(&second));
    let response = session
        .response(&second, Removals::Kept, Instant::now())
        .expect("what is new");
    client.take(&response);
    session.request(&ack(&response), Instant::now());
    assert!(session.has(&second));
    assert_eq!(client.names(), ["bank/p", "bank/q", "bank/r"]);
    assert_eq!(session.response(&second, Removals::Kept, Instant::now()), None);
    let third = next(&second, [policy("q", Action::Deny)]);
    assert!(client.turn(&mut session, &third));
    assert_eq!(client.names(), ["bank/q", "bank/r"]);
    assert_eq!(client.removed, ["bank/p"]);
}

#[derive(Clone, Debug)]
enum Event {
    Workload(u8, u8, Vec<u8>),
    Service(u8, u8),
    Gone(bool, u8),
    Turn,
    Reconnect,
    Ask(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6_u8, 0..4_u8, prop::collection::vec(0..3_u8, 0..3))
            .prop_map(|(a, b, c)| Event::Workload(a, b, c)),
        (0..3_u8, 0..4_u8).prop_map(|(a, b)| Event::Service(a, b)),
        (any::<bool>(), 0..6_u8).prop_map(|(a, b)| Event::Gone(a, b)),
        Just(Event::Turn),
        Just(Event::Reconnect),
        (0..8_u8).prop_map(Event::Ask),
    ]
}

fn asked(number: u8) -> String {
    match number {
        0..4 => format!("/10.0.0.{number}"),
        4..7 => format!("bank/s{}", number - 4),
        _ => "c//Pod/bank/w1".to_owned(),
    }
}

fn change(event: &Event) -> Option<Change> {
    let name = |number: &u8| format!("s{number}");
    Some(match event {
        Event::Workload(number, ip, services) => {
            let names: Vec<_> = services.iter().map(name).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let node = if number % 3 == 0 { "node-1" } else { "n" };
            workload(&format!("w{number}"), *ip, node, &names)
        }
        Event::Service(number, ip) => service(&name(number), *ip),
        Event::Gone(true, number) => gone(&format!("bank/s{number}")),
        Event::Gone(false, number) => gone(&format!("c//Pod/bank/w{number}")),
        Event::Turn | Event::Reconnect | Event::Ask(_) => return None,
    })
}

proptest! {
    /// Whatever happens, a client that has answered everything has exactly what it wants.
    #[test]
    fn clients_have_what_they_want(events in prop::collection::vec(event(), 1..60)) {
        let mut catalog = catalog([]);
        let everything = subscribe(&[], &[]);
        let (mut all, mut some) = (Client::default(), Client::default());
        let mut wildcard = session(Kind::Address, &everything);
        let mut on_demand = session(Kind::Address, &subscribe(&["*"], &["*"]));
        let mut keys: Vec<String> = Vec::new();
        for event in events.iter().chain([&Event::Turn]) {
            if let Some(change) = change(event) {
                catalog = catalog.with([change], Instant::now()).unwrap_or(catalog);
            }
            match event {
                Event::Ask(number) => {
                    keys.push(asked(*number));
                    on_demand.request(&subscribe(&[&asked(*number)], &[]), Instant::now());
                }
                Event::Reconnect => {
                    let mut back = subscribe(&[], &[]);
                    back.initial_resource_versions.clone_from(&all.has);
                    wildcard = session(Kind::Address, &back);
                }
                Event::Turn => {
                    all.turn(&mut wildcard, &catalog);
                    some.turn(&mut on_demand, &catalog);
                    let expected: BTreeMap<_, _> = catalog
                        .all(Kind::Address)
                        .map(|one| (one.name().to_string(), format!("{:016x}", one.version())))
                        .collect();
                    prop_assert_eq!(&all.has, &expected);
                    let mut wanted: BTreeSet<&str> = keys
                        .iter()
                        .flat_map(|key| catalog.resolve(key))
                        .map(|one| one.name().as_str())
                        .collect();
                    wanted.extend(catalog.on_node("node-1").map(|one| one.name().as_str()));
                    prop_assert_eq!(some.names(), wanted.into_iter().collect::<Vec<_>>());
                    for (name, version) in &some.has {
                        prop_assert_eq!(version, &expected[name]);
                    }
                }
                _ => {}
            }
        }
        // The indexes hold nothing of what is gone.
        let names: Vec<_> = catalog.all(Kind::Address).map(|one| one.name().clone()).collect();
        let changes = names.into_iter().map(|name| Change::Remove(Table::Addresses, name));
        let empty = catalog.with(changes, Instant::now()).unwrap_or(catalog);
        prop_assert!(empty.is_empty() && empty.has_empty_indexes());
    }
}
