use std::collections::HashSet;
use std::convert::Infallible;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::client::{self, Pods};
use crate::failure::ConnectionFailure;
use crate::message::Request;

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("zds.sock");
    (directory, path)
}

fn pod(uid: &str) -> Pod {
    let (_, writer) = io::pipe().expect("a pipe");
    Pod {
        uid: uid.into(),
        workload: WorkloadInfo {
            name: format!("{uid}-name"),
            namespace: "bank".into(),
            service_account: "web".into(),
        },
        namespace: Arc::new(writer.into()),
    }
}

/// A tunnel that says what the test wants.
struct Tunnel(Connection);

impl Tunnel {
    async fn connect(path: &Path) -> Self {
        let connection = Connection::connect(path).expect("an agent");
        connection.send(&message::hello(), None).await.expect("sent");
        Self(connection)
    }

    async fn expect(&self) -> Request {
        let packet = self.0.receive().await.expect("a request");
        Request::try_from(packet).expect("well formed")
    }

    async fn answer(&self, outcome: Result<(), &str>) {
        let answer = message::answer(&outcome.map_err(str::to_owned));
        self.0.send(&answer, None).await.expect("sent");
    }

    /// Acknowledges requests until the snapshot is complete, and returns the pods that were added.
    async fn synchronise(&self) -> Vec<String> {
        let mut added = Vec::new();
        loop {
            let request = self.expect().await;
            self.answer(Ok(())).await;
            match request {
                Request::Add { uid, .. } => added.push(uid),
                Request::SnapshotSent => return added,
                Request::Keep { .. } | Request::Delete { .. } => {}
            }
        }
    }

    async fn expect_add(&self, expected: &str) {
        let request = self.expect().await;
        assert!(
            matches!(&request, Request::Add { uid, .. } if uid == expected),
            "{request:?}"
        );
    }

    async fn expect_delete(&self, expected: &str) {
        let request = self.expect().await;
        assert!(
            matches!(&request, Request::Delete { uid } if uid == expected),
            "{request:?}"
        );
    }
}

async fn synchronised(agent: &Agent, tunnels: usize) {
    let mut connections = agent.connections();
    connections
        .wait_for(|connections| connections.synchronised == tunnels)
        .await
        .expect("the agent lives");
}

#[tokio::test]
async fn a_new_tunnel_gets_every_pod_and_the_end_of_the_snapshot() {
    let (_directory, path) = directory();
    let agent = Agent::listen(&path).expect("listening");
    let first = pod("a");
    assert_eq!(agent.add(first.clone()).await, Ok(Delivery::Deferred));
    agent.keep("b");

    let tunnel = Tunnel::connect(&path).await;
    let Request::Add {
        uid,
        workload,
        namespace,
    } = tunnel.expect().await
    else {
        panic!("not an add");
    };
    assert_eq!((uid.as_str(), &workload), ("a", &first.workload));
    let (sent, got) = (&first.namespace, namespace);
    assert_eq!(inode(sent.as_fd()), inode(got.as_fd()));
    tunnel.answer(Ok(())).await;
    assert!(matches!(tunnel.expect().await, Request::Keep { uid } if uid == "b"));
    tunnel.answer(Ok(())).await;
    assert!(matches!(tunnel.expect().await, Request::SnapshotSent));
    assert_eq!(agent.connections().borrow().synchronised, 0);
    tunnel.answer(Ok(())).await;
    synchronised(&agent, 1).await;
}

#[tokio::test]
async fn the_newest_tunnel_gets_new_pods_and_every_tunnel_hears_of_those_that_go() {
    let (_directory, path) = directory();
    let agent = Arc::new(Agent::listen(&path).expect("listening"));
    let older = Tunnel::connect(&path).await;
    older.synchronise().await;
    let newer = Tunnel::connect(&path).await;
    newer.synchronise().await;

    let adding = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.add(pod("a")).await }
    });
    newer.expect_add("a").await;
    newer.answer(Ok(())).await;
    assert_eq!(adding.await.expect("no panic"), Ok(Delivery::Served));

    let removing = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.remove("a").await }
    });
    older.expect_delete("a").await;
    newer.expect_delete("a").await;
    older.answer(Ok(())).await;
    newer.answer(Err("it was not there")).await;
    removing.await.expect("no panic");
    let next = Tunnel::connect(&path).await;
    assert!(next.synchronise().await.is_empty());
}

#[tokio::test]
async fn a_refused_pod_is_reported_and_stays_enrolled() {
    let (_directory, path) = directory();
    let agent = Arc::new(Agent::listen(&path).expect("listening"));
    let tunnel = Tunnel::connect(&path).await;
    tunnel.synchronise().await;
    let adding = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.add(pod("a")).await }
    });
    tunnel.expect_add("a").await;
    tunnel.answer(Err("port 15001 is taken")).await;
    let nack = adding.await.expect("no panic").expect_err("refused");
    assert_eq!(
        nack.to_string(),
        "the tunnel cannot serve pod a: port 15001 is taken"
    );
    assert_eq!(Tunnel::connect(&path).await.synchronise().await, ["a"]);
}

#[tokio::test]
async fn the_tunnel_before_takes_over_when_the_newest_is_lost() {
    let (_directory, path) = directory();
    let agent = Arc::new(Agent::listen(&path).expect("listening"));
    let older = Tunnel::connect(&path).await;
    older.synchronise().await;
    let newer = Tunnel::connect(&path).await;
    newer.synchronise().await;
    let adding = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.add(pod("a")).await }
    });
    newer.expect_add("a").await;
    drop(newer);
    assert_eq!(adding.await.expect("no panic"), Ok(Delivery::Deferred));
    older.expect_add("a").await;
    older.answer(Ok(())).await;
}

#[tokio::test]
async fn a_tunnel_that_breaks_the_protocol_costs_only_its_own_connection() {
    let (_directory, path) = directory();
    let agent = Arc::new(Agent::listen(&path).expect("listening"));
    let good = Tunnel::connect(&path).await;
    good.synchronise().await;

    let version_two = Connection::connect(&path).expect("an agent");
    version_two.send(b"\x08\x02", None).await.expect("sent");
    assert_closed(&version_two).await;

    let with_descriptor = Connection::connect(&path).expect("an agent");
    let extra = pod("x");
    with_descriptor
        .send(&message::hello(), Some(extra.namespace.as_fd()))
        .await
        .expect("sent");
    assert_closed(&with_descriptor).await;

    let talkative = Tunnel::connect(&path).await;
    talkative.synchronise().await;
    talkative.answer(Ok(())).await;
    assert_closed(&talkative.0).await;

    let senseless = Tunnel::connect(&path).await;
    assert!(matches!(senseless.expect().await, Request::SnapshotSent));
    senseless.0.send(b"\x0a\xff", None).await.expect("sent");
    assert_closed(&senseless.0).await;

    synchronised(&agent, 1).await;
    let adding = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.add(pod("a")).await }
    });
    good.expect_add("a").await;
    good.answer(Ok(())).await;
    assert_eq!(adding.await.expect("no panic"), Ok(Delivery::Served));
}

#[tokio::test]
async fn a_tunnel_that_stalls_is_given_up_at_the_deadline_and_holds_nobody_back() {
    let (_directory, path) = directory();
    let agent = Arc::new(Agent::listen(&path).expect("listening"));
    let good = Tunnel::connect(&path).await;
    good.synchronise().await;
    let silent = Connection::connect(&path).expect("an agent");
    let stalled = Tunnel::connect(&path).await;
    stalled.synchronise().await;

    let removing = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.remove("a").await }
    });
    stalled.expect_delete("a").await;
    good.expect_delete("a").await;
    good.answer(Ok(())).await;
    // From here on only deadlines can end the waiting; with time paused they are reached at once.
    tokio::time::pause();
    removing.await.expect("no panic");
    assert_closed(&stalled.0).await;
    assert_closed(&silent).await;
    synchronised(&agent, 1).await;
}

#[tokio::test]
async fn pods_that_no_message_can_describe_are_refused_at_once() {
    let (_directory, path) = directory();
    let agent = Agent::listen(&path).expect("listening");
    let mut long = pod("a");
    long.workload.name = "n".repeat(LONGEST_MESSAGE);
    agent.add(long).await.expect_err("too long");
    agent.add(pod("")).await.expect_err("no uid");
    assert!(Tunnel::connect(&path).await.synchronise().await.is_empty());
}

#[tokio::test]
async fn the_socket_is_its_owners_replaces_a_dead_one_and_never_a_live_one() {
    let (_directory, path) = directory();
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket that nobody listens on"));
    let agent = Agent::listen(&path).expect("listening");
    assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
    let error = Agent::listen(&path).expect_err("taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(agent);
    assert!(!path.exists());

    fs::write(&path, "precious").expect("written");
    let error = Agent::listen(&path).expect_err("not a socket");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
}

/// Serves pods by remembering them.
struct Remembering {
    pods: HashSet<String>,
    seen: mpsc::UnboundedSender<HashSet<String>>,
}

impl Pods for Remembering {
    async fn add(&mut self, uid: String, _: WorkloadInfo, _: OwnedFd) -> Result<(), String> {
        self.pods.insert(uid);
        Ok(())
    }

    fn keep(&mut self, uid: &str) -> Result<(), String> {
        self.pods.get(uid).map(drop).ok_or("unknown".to_owned())
    }

    async fn remove(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    async fn retain(&mut self, enrolled: &HashSet<String>) {
        self.pods.retain(|uid| enrolled.contains(uid));
        self.seen.send(self.pods.clone()).expect("the test listens");
    }

    fn disconnected(&mut self, _: &ConnectionFailure) {}
}

#[tokio::test]
async fn both_ends_agree_again_after_the_agent_was_restarted() {
    let (_directory, path) = directory();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let mut pods = Remembering {
        pods: HashSet::new(),
        seen: sender,
    };
    let socket = path.clone();
    let tunnel: JoinHandle<Infallible> = tokio::spawn(async move { client::run(&socket, &mut pods).await });

    let agent = Agent::listen(&path).expect("listening");
    synchronised(&agent, 1).await;
    assert_eq!(seen.recv().await, Some(HashSet::new()));
    for uid in ["a", "b", "c"] {
        assert_eq!(agent.add(pod(uid)).await, Ok(Delivery::Served));
    }
    agent.remove("c").await;
    drop(agent);

    let agent = Agent::listen(&path).expect("listening again");
    assert_eq!(agent.add(pod("b")).await, Ok(Delivery::Deferred));
    agent.keep("a");
    synchronised(&agent, 1).await;
    assert_eq!(seen.recv().await, Some(["a".into(), "b".into()].into()));
    tunnel.abort();
}

async fn assert_closed(connection: &Connection) {
    let failure = connection.receive().await.expect_err("nothing more");
    assert_eq!(failure, ConnectionFailure::Closed);
}

fn inode(descriptor: std::os::fd::BorrowedFd<'_>) -> u64 {
    let file = fs::File::from(descriptor.try_clone_to_owned().expect("a duplicate"));
    file.metadata().expect("its metadata").ino()
}
