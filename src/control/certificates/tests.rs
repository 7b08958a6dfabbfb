//! Who gets whose certificate, over real gRPC and TLS.

use std::sync::Mutex;
use std::time::SystemTime;

use adit_discovery::auth::{Authenticating, CallerPod, Denied, Proof};
use adit_discovery::channel::{ControlPlane, Roots};
use adit_discovery::{RemoteAuthority, listen};
use adit_mesh::Interner;
use adit_pki::{IssueError, Issuer, peer_identity};
use rustls_pki_types::ServerName;
use tokio::net::TcpListener;

use super::*;
use crate::graph::Event;
use crate::source::manifest::{self, Document};

const NAME: &str = "adit-control.adit-system.svc";

/// Takes everybody for whom it is told.
struct Always(Mutex<Caller>);

impl Authenticator for Always {
    fn authenticate<'a>(&'a self, _: &'a Presented<'a>) -> Authenticating<'a> {
        let caller = self.0.lock().expect("no panic").clone();
        Box::pin(async { Ok::<_, Denied>(caller) })
    }
}

/// A tunnel on node n1, beside a pod of payments; ledger runs on n2.
const PODS: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: t1, namespace: adit-system, uid: u-t1}, spec: {serviceAccountName: adit-tunnel, nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: bank, uid: u-p}, spec: {serviceAccountName: payments, nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: l, namespace: bank, uid: u-l}, spec: {serviceAccountName: ledger, nodeName: n2}}
";

fn identity(path: &str) -> Identity {
    format!("spiffe://cluster.local/{path}").parse().expect("valid")
}

fn tunnel() -> Caller {
    Caller {
        identity: identity("ns/adit-system/sa/adit-tunnel"),
        pod: Some(CallerPod {
            name: "t1".into(),
            uid: "u-t1".into(),
        }),
        proof: Proof::Token,
    }
}

fn placement() -> Placement {
    let placement = Placement::default();
    for document in manifest::read(PODS, &mut Interner::default()) {
        let Document::Object(read) = document else {
            panic!("{document:?}");
        };
        placement.apply(&Event::Put(read.object));
    }
    placement
}

struct Stage {
    caller: Arc<Always>,
    client: RemoteAuthority,
    metrics: Arc<Metrics>,
}

async fn stage(ttl: Duration) -> Stage {
    let authority = Authority::self_signed(SystemTime::now()).expect("an authority");
    let root = adit_pki::certificate::to_pem(authority.roots());
    let tls = serving::config(&authority, &[NAME.to_owned()], SystemTime::now()).expect("a certificate");
    let caller = Arc::new(Always(Mutex::new(tunnel())));
    let metrics = Arc::new(Metrics::new());
    let service = Certificates::new(
        watch::channel(Arc::new(authority)).1,
        caller.clone(),
        placement(),
        vec!["adit-system/adit-tunnel".parse().expect("valid")],
        adit_mesh::TrustDomain::default(),
        metrics.clone(),
    );
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (_, tls) = watch::channel(Arc::new(tls));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service.service())
            .serve_with_incoming(listen::accept(listener, Some(tls))),
    );
    let control_plane = ControlPlane {
        address: format!("https://127.0.0.1:{port}").parse().expect("an address"),
        roots: Roots::Pem(root),
        alternative: Some(ServerName::try_from(NAME).expect("a name")),
        token: None,
        headers: Default::default(),
        cluster: "c".into(),
    };
    Stage {
        caller,
        client: RemoteAuthority::new(control_plane, ttl),
        metrics,
    }
}

impl Stage {
    async fn refused(&self, wanted: &Identity) -> String {
        match self.client.issue(wanted).await {
            Err(IssueError::Refused { reason }) => reason,
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_tunnel_gets_certificates_for_the_pods_of_its_node() {
    let stage = stage(Duration::from_secs(3600)).await;
    for wanted in [
        identity("ns/bank/sa/payments"),
        identity("ns/adit-system/sa/adit-tunnel"),
    ] {
        let issued = stage.client.issue(&wanted).await.expect("a certificate");
        assert_eq!(peer_identity(&issued.chain[0]), Ok(wanted));
        let certificate = Certificate::parse(&issued.chain[0]).expect("readable");
        let left = certificate
            .not_after
            .duration_since(SystemTime::now())
            .expect("valid");
        assert!(left <= Duration::from_secs(3600), "{left:?}");
        assert_eq!(certificate.serial.len(), 16);
        assert_eq!(issued.roots.len(), 1);
    }
    assert_eq!(stage.metrics.certificates.issued.get(), 2);
}

#[tokio::test]
async fn a_tunnel_gets_no_certificate_of_another_node_or_of_nobody() {
    let stage = stage(Duration::ZERO).await;
    for other in ["ns/bank/sa/ledger", "ns/bank/sa/nobody", "ns/shop/sa/payments"] {
        let reason = stage.refused(&identity(other)).await;
        assert!(
            reason.contains("no pod of that identity runs on node \"n1\""),
            "{reason}"
        );
    }
    let other: Identity = "spiffe://partner.example/ns/bank/sa/payments"
        .parse()
        .expect("valid");
    let reason = stage.refused(&other).await;
    assert!(reason.contains("trust domain"), "{reason}");
    assert_eq!(stage.metrics.certificates.issued.get(), 0);
}

#[tokio::test]
async fn who_is_no_tunnel_gets_only_its_own() {
    let stage = stage(Duration::ZERO).await;
    let payments = identity("ns/bank/sa/payments");
    *stage.caller.0.lock().expect("no panic") = Caller {
        identity: payments.clone(),
        pod: Some(CallerPod {
            name: "p".into(),
            uid: "u-p".into(),
        }),
        proof: Proof::Token,
    };
    assert!(stage.client.issue(&payments).await.is_ok());
    let reason = stage.refused(&identity("ns/adit-system/sa/adit-tunnel")).await;
    assert!(reason.contains("may not ask for other identities"), "{reason}");
}

#[tokio::test]
async fn a_tunnel_is_only_the_pod_that_its_token_is_bound_to() {
    let stage = stage(Duration::ZERO).await;
    let wanted = identity("ns/bank/sa/payments");
    let become_pod = |pod: Option<(&str, &str)>| {
        stage.caller.0.lock().expect("no panic").pod = pod.map(|(name, uid)| CallerPod {
            name: name.into(),
            uid: uid.into(),
        });
    };
    become_pod(None);
    assert!(stage.refused(&wanted).await.contains("not bound to a pod"));
    // One that has gone, one that has the name of another, and one of another account.
    for pod in [("gone", "u-gone"), ("t1", "u-before"), ("p", "u-p")] {
        become_pod(Some(pod));
        let reason = stage.refused(&wanted).await;
        assert!(
            reason.contains("not known, or is another one now"),
            "{pod:?}: {reason}"
        );
    }
}

#[tokio::test]
async fn a_lifetime_has_a_limit() {
    let stage = stage(Duration::from_secs(91 * 24 * 3600)).await;
    let reason = stage.refused(&identity("ns/bank/sa/payments")).await;
    assert!(reason.contains("90 days at most"), "{reason}");
}

#[tokio::test]
async fn who_asks_without_end_is_told_to_wait() {
    let stage = stage(Duration::ZERO).await;
    let wanted = identity("ns/bank/sa/payments");
    let mut slowed = 0;
    for _ in 0..200 {
        match stage.client.issue(&wanted).await {
            Ok(_) => {}
            Err(IssueError::Unavailable { reason }) => {
                assert!(reason.contains("too many certificates"), "{reason}");
                slowed += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(slowed > 0, "200 certificates in a row");
}

#[test]
fn accounts_of_nodes_are_named_by_namespace_and_name() {
    assert!("a/b".parse::<NodeAccount>().is_ok());
    for bad in ["", "a", "/b", "a/", "a/b/c"] {
        assert!(bad.parse::<NodeAccount>().is_err(), "{bad}");
    }
}
