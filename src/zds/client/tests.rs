use std::collections::BTreeSet;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::*;
use crate::socket::Listener;

#[derive(Debug)]
enum Event {
    Add(String, WorkloadInfo, OwnedFd),
    Keep(String),
    Remove(String),
    Retain(BTreeSet<String>),
    Disconnected(ConnectionFailure),
}

/// Records what it is told, and answers an add with `refusal`.
struct Recorder {
    events: mpsc::UnboundedSender<Event>,
    refusal: Option<String>,
}

impl Recorder {
    fn record(&self, event: Event) {
        // The test may have seen enough.
        let _unheard = self.events.send(event);
    }
}

impl Pods for Recorder {
    async fn add(&mut self, uid: String, workload: WorkloadInfo, namespace: OwnedFd) -> Result<(), String> {
        self.record(Event::Add(uid, workload, namespace));
        self.refusal.clone().map_or(Ok(()), Err)
    }

    fn keep(&mut self, uid: &str) -> Result<(), String> {
        self.record(Event::Keep(uid.to_owned()));
        Ok(())
    }

    async fn remove(&mut self, uid: &str) {
        self.record(Event::Remove(uid.to_owned()));
    }

    async fn retain(&mut self, enrolled: &HashSet<String>) {
        self.record(Event::Retain(enrolled.iter().cloned().collect()));
    }

    fn disconnected(&mut self, failure: &ConnectionFailure) {
        self.record(Event::Disconnected(failure.clone()));
    }
}

/// A tunnel under test, and an agent that says what the test wants.
struct Setup {
    listener: Listener,
    events: mpsc::UnboundedReceiver<Event>,
    tunnel: AbortHandle,
    _directory: TempDir,
}

impl Setup {
    fn new(refusal: Option<&str>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("zds.sock");
        let listener = Listener::bind(&path, 16).expect("binding");
        let (sender, events) = mpsc::unbounded_channel();
        let mut pods = Recorder {
            events: sender,
            refusal: refusal.map(str::to_owned),
        };
        let tunnel = tokio::spawn(async move { run(&path, &mut pods).await }).abort_handle();
        Self {
            listener,
            events,
            tunnel,
            _directory: directory,
        }
    }

    async fn accept(&self) -> Connection {
        let connection = self.listener.accept().await.expect("a tunnel");
        let hello = connection.receive().await.expect("a hello");
        assert_eq!(hello.bytes, b"\x08\x01");
        connection
    }

    async fn event(&mut self) -> Event {
        self.events.recv().await.expect("the tunnel runs")
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.tunnel.abort();
    }
}

fn info() -> WorkloadInfo {
    WorkloadInfo {
        name: "web-0".into(),
        namespace: "bank".into(),
        service_account: "web".into(),
    }
}

async fn ask(connection: &Connection, bytes: &[u8], descriptor: Option<&OwnedFd>) -> Result<(), String> {
    let descriptor = descriptor.map(AsFd::as_fd);
    connection.send(bytes, descriptor).await.expect("sent");
    let answer = connection.receive().await.expect("an answer");
    message::read_answer(&answer).expect("well formed")
}

/// Both ends of a pipe: reading tells whether every duplicate of the other end has been closed.
fn witness() -> (io::PipeReader, OwnedFd) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (reader, writer.into())
}

/// Blocks, and with it fails the test run, for as long as somebody holds the other end.
fn assert_closed(mut reader: io::PipeReader) {
    assert_eq!(reader.read(&mut [0]).expect("reading"), 0);
}

#[tokio::test]
async fn hands_over_a_pod_with_its_namespace() {
    let mut setup = Setup::new(None);
    let agent = setup.accept().await;
    let (reader, writer) = witness();

    assert_eq!(
        ask(&agent, &message::add("pod-1", &info()), Some(&writer)).await,
        Ok(())
    );

    let Event::Add(uid, workload, namespace) = setup.event().await else {
        panic!("not an add");
    };
    assert_eq!((uid.as_str(), workload), ("pod-1", info()));
    let flags = rustix::io::fcntl_getfd(&namespace).expect("an open descriptor");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    drop((writer, namespace));
    assert_closed(reader);
}

#[tokio::test]
async fn a_refusal_reaches_the_agent_cut_to_the_size_of_a_message() {
    let long = "ß".repeat(2000);
    for (refusal, expected) in [
        ("port 15001 is taken", "port 15001 is taken"),
        ("", "failed"),
        (&long, &long[..1018]),
    ] {
        let setup = Setup::new(Some(refusal));
        let agent = setup.accept().await;
        let (_reader, writer) = witness();
        let answer = ask(&agent, &message::add("pod-1", &info()), Some(&writer)).await;
        assert_eq!(answer, Err(expected.to_owned()));
    }
}

#[tokio::test]
async fn the_snapshot_holds_what_was_added_or_kept_and_not_deleted_before_its_end() {
    let mut setup = Setup::new(Some("not now"));
    let agent = setup.accept().await;
    let (_reader, writer) = witness();

    // A pod that cannot be served yet is enrolled all the same.
    assert_eq!(
        ask(&agent, &message::add("refused", &info()), Some(&writer)).await,
        Err("not now".to_owned())
    );
    assert_eq!(ask(&agent, &message::keep("kept"), None).await, Ok(()));
    assert_eq!(ask(&agent, &message::keep("deleted"), None).await, Ok(()));
    assert_eq!(ask(&agent, &message::delete("deleted"), None).await, Ok(()));
    assert_eq!(ask(&agent, &message::snapshot_sent(), None).await, Ok(()));

    assert!(matches!(setup.event().await, Event::Add(uid, ..) if uid == "refused"));
    assert!(matches!(setup.event().await, Event::Keep(uid) if uid == "kept"));
    assert!(matches!(setup.event().await, Event::Keep(uid) if uid == "deleted"));
    assert!(matches!(setup.event().await, Event::Remove(uid) if uid == "deleted"));
    let Event::Retain(enrolled) = setup.event().await else {
        panic!("not the snapshot");
    };
    assert_eq!(enrolled, BTreeSet::from(["kept".into(), "refused".into()]));
}

#[tokio::test]
async fn a_malformed_message_is_answered_and_costs_only_the_connection_and_leaks_nothing() {
    let mut oversized = message::keep("k");
    oversized.resize(crate::LONGEST_MESSAGE + 1, 0);
    let no_info = b"\x0a\x03\x0a\x01u".to_vec();
    let no_uid = b"\x0a\x02\x12\x00".to_vec();
    let missing = |uid: &str| Malformed::WorkloadInfoMissing { uid: uid.into() };
    let unexpected = |message| Malformed::UnexpectedDescriptor { message };
    let cases: Vec<(Vec<u8>, usize, Malformed)> = vec![
        (oversized, 1, Malformed::TooLong),
        (
            message::add("u", &info()),
            2,
            Malformed::SeveralDescriptors { found: 2 },
        ),
        (
            message::add("u", &info()),
            0,
            Malformed::NamespaceMissing { uid: "u".into() },
        ),
        (no_info, 1, missing("u")),
        (no_uid, 1, Malformed::UidEmpty { message: "add" }),
        (message::keep(""), 0, Malformed::UidEmpty { message: "keep" }),
        (message::delete(""), 0, Malformed::UidEmpty { message: "del" }),
        (message::keep("u"), 1, unexpected("keep")),
        (message::delete("u"), 1, unexpected("del")),
        (message::snapshot_sent(), 1, unexpected("snapshot_sent")),
        (
            b"\x22\x00".to_vec(),
            1,
            Malformed::PayloadMissing {
                expected: "WorkloadRequest",
            },
        ),
    ];
    for (bytes, descriptors, expected) in cases {
        // A tunnel of its own each: the waits of one would grow.
        let mut setup = Setup::new(None);
        let agent = setup.accept().await;
        let (reader, writer) = witness();
        send_raw(&agent, &bytes, &writer, descriptors);
        drop(writer);

        let answer = agent.receive().await.expect("an answer");
        assert_eq!(message::read_answer(&answer), Ok(Err(expected.to_string())));
        let Event::Disconnected(failure) = setup.event().await else {
            panic!("no disconnection for {expected}");
        };
        assert_eq!(failure, ConnectionFailure::Malformed(expected));
        assert_closed(reader);
        setup.accept().await;
    }
}

#[tokio::test]
async fn more_descriptors_than_there_is_room_for_leak_nothing() {
    let mut setup = Setup::new(None);
    let agent = setup.accept().await;
    let (reader, writer) = witness();
    send_raw(&agent, &message::add("u", &info()), &writer, 20);
    drop(writer);
    let Event::Disconnected(ConnectionFailure::Malformed(Malformed::SeveralDescriptors { .. })) =
        setup.event().await
    else {
        panic!("not refused as it should be");
    };
    assert_closed(reader);
}

#[tokio::test]
async fn bytes_that_are_no_protobuf_are_malformed() {
    let mut setup = Setup::new(None);
    let agent = setup.accept().await;
    agent.send(b"\x0a\xff", None).await.expect("sent");
    assert!(matches!(
        setup.event().await,
        Event::Disconnected(ConnectionFailure::Malformed(Malformed::Undecodable {
            expected: "WorkloadRequest",
            ..
        }))
    ));
}

#[tokio::test]
async fn keep_and_a_second_snapshot_after_the_snapshot_cost_the_connection() {
    let mut setup = Setup::new(None);
    for (bytes, expected) in [
        (
            message::keep("late"),
            Malformed::KeepAfterSnapshot { uid: "late".into() },
        ),
        (message::snapshot_sent(), Malformed::SecondSnapshot),
    ] {
        let agent = setup.accept().await;
        assert_eq!(ask(&agent, &message::snapshot_sent(), None).await, Ok(()));
        assert!(matches!(setup.event().await, Event::Retain(_)));
        assert_eq!(ask(&agent, &bytes, None).await, Err(expected.to_string()));
        let Event::Disconnected(failure) = setup.event().await else {
            panic!("no disconnection");
        };
        assert_eq!(failure, ConnectionFailure::Malformed(expected));
    }
}

#[tokio::test]
async fn pods_stay_and_the_tunnel_comes_back_wherever_the_agent_is_lost() {
    let mut setup = Setup::new(None);
    // How many requests the agent sends before it goes.
    for requests in 0..3 {
        let agent = setup.accept().await;
        let (_reader, writer) = witness();
        if requests > 0 {
            ask(&agent, &message::add("pod-1", &info()), Some(&writer))
                .await
                .expect("served");
            assert!(matches!(setup.event().await, Event::Add(..)));
        }
        if requests > 1 {
            ask(&agent, &message::snapshot_sent(), None)
                .await
                .expect("retained");
            assert!(matches!(setup.event().await, Event::Retain(_)));
        }
        drop(agent);
        // The next event is the loss: nothing was removed.
        let Event::Disconnected(failure) = setup.event().await else {
            panic!("a pod was touched after {requests} requests");
        };
        assert_eq!(failure, ConnectionFailure::Closed);
    }
    setup.accept().await;
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_tried_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("zds.sock");
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut pods = Recorder {
        events: sender,
        refusal: None,
    };
    let socket = path.clone();
    let tunnel = tokio::spawn(async move { run(&socket, &mut pods).await });
    assert!(matches!(
        events.recv().await,
        Some(Event::Disconnected(ConnectionFailure::System {
            action: "connecting",
            kind: io::ErrorKind::NotFound,
        }))
    ));
    let listener = Listener::bind(&path, 1).expect("binding");
    listener.accept().await.expect("the tunnel tries again");
    tunnel.abort();
}

#[test]
fn waits_double_to_a_limit_and_differ_between_tunnels() {
    let mut retry = Retry::default();
    let mut ceiling = FIRST_RETRY;
    for _ in 0..30 {
        let wait = retry.next();
        assert!(wait <= ceiling && wait >= ceiling / 2, "{wait:?} of {ceiling:?}");
        ceiling = (ceiling * 2).min(LONGEST_RETRY);
    }
    assert_eq!(ceiling, LONGEST_RETRY);
    assert_ne!(retry.next(), retry.next());
}

fn send_raw(connection: &Connection, bytes: &[u8], descriptor: &OwnedFd, copies: usize) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = vec![descriptor.as_fd(); copies];
    if copies > 0 {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    rustix::net::sendmsg(
        connection,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::empty(),
    )
    .expect("sent");
}
