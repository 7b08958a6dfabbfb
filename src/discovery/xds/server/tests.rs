//! The server as clients of all kinds see it: our own source of configuration over real TLS, and requests made by hand.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

use adit_mesh::policy::{Action, PolicyScope};
use adit_mesh::registry::LocalNode;
use adit_mesh::{Policy, PolicyKey, Service, ServiceKey, Store, Text};
use adit_proto::discovery::Node;
use adit_proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use http::HeaderMap;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::auth::{Authenticating, Proof};
use crate::channel::{ControlPlane, Roots, Token};
use crate::kept::Kept;
use crate::listen;
use crate::remote::{Memory, RemoteSource};
use crate::xds::catalog::Change;
use crate::xds::node::metadata;
use crate::xds::{Resource, catalog::Table};

const NAME: &str = "adit-control.adit-system.svc";
const TOKEN: &str = "a good token";
const PATIENCE: Duration = Duration::from_secs(10);

/// Knows one token.
struct OneToken;

impl Authenticator for OneToken {
    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Authenticating<'a> {
        let good = presented.token == Some(TOKEN);
        let identity = "spiffe://cluster.local/ns/adit-system/sa/adit-tunnel".parse();
        Box::pin(async move {
            if !good {
                return Err(Denied::Unauthenticated("another token".to_owned()));
            }
            Ok(Caller {
                identity: identity.expect("valid"),
                pod: None,
                proof: Proof::Token,
            })
        })
    }
}

#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    fn note(&self, what: String) {
        *self.0.lock().expect("no panic").entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.lock().expect("no panic").get(what).copied().unwrap_or(0)
    }
}

impl Observer for Counts {
    fn sent(&self, kind: Kind, _: &DeltaDiscoveryResponse, _: Duration) {
        self.note(format!("sent {}", kind.name()));
    }

    fn accepted(&self, kind: Kind, _: Duration) {
        self.note(format!("accepted {}", kind.name()));
    }

    fn refused(&self, kind: Kind) {
        self.note(format!("refused {}", kind.name()));
    }

    fn denied(&self, reason: &'static str) {
        self.note(format!("denied {reason}"));
    }
}

struct Stage {
    catalog: watch::Sender<Option<Catalog>>,
    clients: Clients,
    counts: Arc<Counts>,
    control_plane: ControlPlane,
}

impl Stage {
    async fn new(settings: Settings) -> Self {
        let (catalog, receiver) = watch::channel(None);
        let counts = Arc::new(Counts::default());
        let server = Server::new(receiver, Arc::new(OneToken), counts.clone(), settings);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let (_, tls) = watch::channel(Arc::new(tls));
        let clients = server.clients();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(server.service())
                .serve_with_incoming(listen::accept(listener, Some(tls))),
        );
        Self {
            catalog,
            clients,
            counts,
            control_plane: ControlPlane {
                address: format!("https://127.0.0.1:{port}").parse().expect("an address"),
                roots: Roots::Pem(certificate.pem()),
                alternative: Some(ServerName::try_from(NAME).expect("a name")),
                token: Some(Token::Literal(TOKEN.to_owned())),
                headers: HeaderMap::new(),
                cluster: "c".into(),
            },
        }
    }

    fn publish(&self, changes: impl IntoIterator<Item = Change>) {
        self.catalog.send_modify(|catalog| {
            let now = Instant::now();
            let before = catalog.take().unwrap_or_else(|| Catalog::new(now));
            *catalog = Some(before.with(changes, now).unwrap_or(before));
        });
    }

    fn source(&self) -> (Arc<Store>, RemoteSource) {
        self.source_with(None)
    }

    fn source_with(&self, memory: Option<Memory>) -> (Arc<Store>, RemoteSource) {
        let store = Arc::new(Store::new(LocalNode::default()));
        let source = RemoteSource::new(self.control_plane.clone(), node(), store.clone(), memory);
        (store, source)
    }

    async fn client(&self) -> AggregatedDiscoveryServiceClient<Channel> {
        let channel = self.control_plane.connect().await.expect("connected");
        AggregatedDiscoveryServiceClient::new(channel)
    }
}

fn settings() -> Settings {
    Settings {
        longest_stream: None,
        ..Settings::new(2)
    }
}

fn node() -> Node {
    Node {
        id: "ztunnel~10.0.0.1~adit-tunnel-1.adit-system~adit-system.svc.cluster.local".to_owned(),
        cluster: String::new(),
        metadata: Some(metadata([("NODE_NAME", "n1")])),
    }
}

fn service(name: &str) -> Change {
    let key = ServiceKey {
        namespace: "bank".into(),
        hostname: name.into(),
    };
    Change::Put(Resource::service(&Service::new(key, name.into())))
}

fn policy(name: &str) -> Change {
    Change::Put(Resource::policy(&Policy {
        key: PolicyKey {
            namespace: "bank".into(),
            name: name.into(),
        },
        scope: PolicyScope::Namespace,
        action: Action::Allow,
        groups: Box::default(),
        dry_run: false,
    }))
}

async fn eventually(what: &str, mut seen: impl FnMut() -> bool) {
    let seen: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    tokio::time::timeout(PATIENCE, seen).await.expect(what);
}

fn names(store: &Store) -> Vec<String> {
    let snapshot = store.snapshot();
    let services = snapshot.services().map(|service| service.name.to_string());
    let policies = snapshot.policies().map(|policy| policy.key.name.to_string());
    services.chain(policies).collect()
}

#[tokio::test]
async fn a_source_has_what_the_catalog_has() {
    let stage = Stage::new(settings()).await;
    let (store, source) = stage.source();
    let mut status = source.status();
    tokio::spawn(source.run());
    eventually("a client", || stage.clients.len() == 1).await;
    assert!(!store.is_complete(), "there is no catalog yet");
    stage.publish([service("ledger"), policy("p")]);
    eventually("everything", || {
        store.is_complete() && names(&store) == ["ledger", "p"]
    })
    .await;
    stage.publish([
        service("audit"),
        Change::Remove(Table::Authorizations, Text::from("bank/p")),
    ]);
    eventually("the changes", || names(&store) == ["audit", "ledger"]).await;
    eventually("acceptance", || {
        stage.clients.accepted_by_all(Kind::Address) == Some(2)
            && stage.clients.accepted_by_all(Kind::Authorization) == Some(2)
    })
    .await;
    let told = status.borrow_and_update().clone();
    assert_eq!((told.services, told.policies, told.error), (2, 0, None));
    assert_eq!(stage.counts.of("accepted Address"), 2);
    let client = stage.clients.list().remove(0);
    assert_eq!((&*client.node.node, client.proof), ("n1", Proof::Token));
}

#[tokio::test]
async fn a_mesh_without_anything_in_it_is_complete_and_says_so() {
    let stage = Stage::new(settings()).await;
    stage.publish([]);
    let (store, source) = stage.source();
    let mut changes = source.changed();
    tokio::spawn(source.run());
    let complete = async {
        loop {
            changes.borrow_and_update();
            if store.is_complete() {
                return;
            }
            changes.changed().await.expect("the source lives");
        }
    };
    tokio::time::timeout(PATIENCE, complete).await.expect("woken");
}

#[tokio::test]
async fn a_stream_that_ends_in_order_is_resumed_with_what_is_there() {
    let stage = Stage::new(Settings {
        longest_stream: Some(Duration::from_millis(50)),
        ..settings()
    })
    .await;
    stage.publish([service("ledger")]);
    let (store, source) = stage.source();
    tokio::spawn(source.run());
    eventually("several streams", || stage.counts.of("accepted Address") > 2).await;
    assert_eq!(names(&store), ["ledger"]);
    stage.publish([
        Change::Remove(Table::Addresses, Text::from("bank/ledger")),
        service("audit"),
    ]);
    eventually("the change", || names(&store) == ["audit"]).await;
}

#[tokio::test]
async fn when_the_control_plane_ends_what_it_said_stays() {
    let mut stage = Stage::new(settings()).await;
    stage.publish([service("ledger")]);
    let (store, source) = stage.source();
    let status = source.status();
    tokio::spawn(source.run());
    eventually("everything", || store.is_complete()).await;
    stage.catalog = watch::channel(None).0;
    eventually("an error", || status.borrow().error.is_some()).await;
    assert!(store.is_complete() && names(&store) == ["ledger"]);
    assert_eq!(stage.clients.len(), 0);
}

#[tokio::test]
async fn a_successor_uses_what_was_kept_until_it_hears_the_control_plane() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = || {
        Some(Memory {
            kept: Kept::open(&folder.path().join("state")).expect("a directory"),
            longest: Duration::from_secs(3600),
        })
    };
    let mut stage = Stage::new(settings()).await;
    stage.publish([service("ledger"), policy("p")]);
    let (store, source) = stage.source_with(memory());
    let first = tokio::spawn(source.run());
    eventually("everything", || store.is_complete()).await;
    eventually("it to be kept", || {
        memory().expect("one").kept.names() == ["mesh"]
    })
    .await;
    first.abort();
    // Somebody listens, and nobody answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let there = std::mem::replace(
        &mut stage.control_plane.address,
        format!("https://127.0.0.1:{port}").parse().expect("an address"),
    );
    let (store, source) = stage.source_with(memory());
    let (mut status, second) = (source.status(), tokio::spawn(source.run()));
    eventually("what was kept", || store.is_complete()).await;
    assert_eq!(names(&store), ["ledger", "p"]);
    assert_eq!(status.borrow_and_update().services, 1);
    second.abort();
    // One that is there is asked for the difference, and has the last word.
    stage.control_plane.address = there;
    stage.publish([service("audit")]);
    let before = stage.counts.of("sent Address");
    let (store, source) = stage.source_with(memory());
    tokio::spawn(source.run());
    eventually("the present mesh", || names(&store) == ["audit", "ledger", "p"]).await;
    assert_eq!(stage.counts.of("sent Address"), before + 1);
}

#[tokio::test]
async fn who_is_not_known_is_not_served() {
    let stage = Stage::new(settings()).await;
    stage.publish([service("ledger")]);
    let mut client = stage.client().await;
    for token in [None, Some("Bearer another"), Some("Basic a good token")] {
        let mut request = Request::new(tokio_stream::pending());
        if let Some(token) = token {
            let value = token.parse().expect("a value");
            request.metadata_mut().insert("authorization", value);
        }
        let answer = client.delta_aggregated_resources(request).await;
        assert_eq!(answer.expect_err("refused").code(), Code::Unauthenticated);
    }
    assert_eq!(stage.counts.of("denied unauthenticated"), 3);
}

#[tokio::test]
async fn who_says_that_it_is_somebody_else_is_not_served() {
    let stage = Stage::new(settings()).await;
    stage.publish([service("ledger")]);
    let mut client = stage.client().await;
    let first = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "ztunnel~10.0.0.1~x.bank~bank.svc.cluster.local".to_owned(),
            ..node()
        }),
        type_url: Kind::Address.url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let request = stage.control_plane.request(tokio_stream::once(first)).await;
    let answer = client
        .delta_aggregated_resources(request.expect("a request"))
        .await;
    let mut stream = answer.expect("a stream").into_inner();
    let refused = stream.message().await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("\"bank\""), "{refused:?}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_owed_one_response() {
    let stage = Stage::new(settings()).await;
    stage.publish([service("ledger")]);
    let mut client = stage.client().await;
    let (requests, outbound) = mpsc::channel(4);
    let first = DeltaDiscoveryRequest {
        node: Some(node()),
        type_url: Kind::Address.url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(first).await.expect("room");
    let request = stage.control_plane.request(ReceiverStream::new(outbound)).await;
    let answer = client
        .delta_aggregated_resources(request.expect("a request"))
        .await;
    let mut stream = answer.expect("a stream").into_inner();
    let response = stream.message().await.expect("a stream").expect("a response");
    for round in 0..50 {
        stage.publish([service(&format!("s{round}"))]);
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.counts.of("sent Address"), 1, "it has not answered");
    let answer = DeltaDiscoveryRequest {
        type_url: response.type_url,
        response_nonce: response.nonce,
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(answer).await.expect("room");
    let response = stream.message().await.expect("a stream").expect("a response");
    assert_eq!(response.resources.len(), 50);
    assert_eq!(stage.counts.of("sent Address"), 2);
}

#[tokio::test]
async fn a_control_plane_with_another_name_or_root_is_not_believed() {
    let stage = Stage::new(settings()).await;
    let mut other_name = stage.control_plane.clone();
    other_name.alternative = None;
    let mut other_root = stage.control_plane.clone();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    other_root.roots = Roots::Pem(params.self_signed(&key).expect("a certificate").pem());
    for control_plane in [other_name, other_root] {
        let error = control_plane.connect().await.expect_err("not believed");
        assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    }
    let mut broken = stage.control_plane.clone();
    broken.roots = Roots::Pem("no PEM".to_owned());
    let error = broken.connect().await.expect_err("no roots");
    assert!(error.to_string().contains("holds no certificate"), "{error}");
}
