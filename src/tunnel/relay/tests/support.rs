//! A runtime like a worker's, pairs of sockets, and a tunnel between two relays.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_hbone::client::Connection;
use adit_hbone::server::{Accepted, Control};
use adit_hbone::{Settings, Stream};
use adit_mesh::Identity;
use adit_pki::manager::ManagerOptions;
use adit_pki::{CertificateManager, LocalCa, TrustOptions, TrustStore};
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::super::{Ended, Sides, run};
use crate::live::Cut;

/// Longer than anything here takes; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test in a runtime like a worker's.
pub fn in_worker<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, test).await.expect("the test ends in time") })
}

/// Both ends of a connection.
pub async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let one = TcpStream::connect(address).await.expect("a connection");
    let (other, _) = listener.accept().await.expect("a connection");
    (one, other)
}

/// A stream's two ends, and the connection under it.
pub struct Tunnel {
    pub near: Stream,
    pub far: Stream,
    pub connection: Connection,
    pub control: Control,
}

pub async fn tunnel() -> Tunnel {
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = LocalCa::open_or_create(directory.path(), Duration::from_secs(3600), SystemTime::now())
        .expect("an authority");
    let trust = TrustStore::open(&TrustOptions::default()).expect("trust");
    let manager = CertificateManager::new(Arc::new(issuer), &trust, ManagerOptions::default());
    let identity: Identity = "spiffe://cluster.local/ns/bank/sa/web"
        .parse()
        .expect("an identity");
    let held = manager.hold(&identity);
    let credentials = held.wait(PATIENCE).await.expect("a certificate");
    let (ours, theirs) = sockets().await;
    let settings = Rc::new(Settings::default());
    let control = Control::default();
    let (accepted, mut streams) = mpsc::unbounded_channel();
    let (config, own, steering) = (credentials.server_config(), settings.clone(), control.clone());
    spawn_local(async move {
        let connection = Accepted::handshake(theirs, config, &own)
            .await
            .expect("a handshake");
        let serve = connection.serve(&own, &steering, |incoming| {
            let stream = incoming.accept(None).expect("the client is there");
            accepted.send(stream).expect("the test is there");
        });
        // How it ends is what the relays tell.
        let _ = serve.await;
    });
    let config = credentials.client_config(&[identity].into());
    let connection = Connection::establish(ours, Duration::ZERO, config, &settings)
        .await
        .expect("a tunnel");
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("10.0.0.2:80")
        .body(());
    let request = request.expect("a request");
    let (near, _) = connection.open(request, PATIENCE).await.expect("a stream");
    let far = streams.recv().await.expect("a stream");
    Tunnel {
        near,
        far,
        connection,
        control,
    }
}

/// A relay as a task.
pub struct Relaying {
    pub cut: Rc<Cut>,
    pub task: JoinHandle<(Ended, u64, u64)>,
}

impl Relaying {
    pub fn start(mut sides: Sides) -> Self {
        let cut = Rc::new(Cut::default());
        let own = cut.clone();
        let task = spawn_local(async move {
            let (mut forth, mut back) = (0, 0);
            let ended = run(&mut sides, &own, |more_forth, more_back| {
                forth += more_forth;
                back += more_back;
            });
            (ended.await, forth, back)
        });
        Self { cut, task }
    }

    pub async fn ended(self) -> (Ended, u64, u64) {
        self.task.await.expect("no panic")
    }
}

/// A client and a server with two relays and a tunnel between them.
pub struct Path {
    pub client: TcpStream,
    pub server: TcpStream,
    pub outbound: Relaying,
    pub inbound: Relaying,
    pub connection: Connection,
    pub control: Control,
}

pub async fn path() -> Path {
    let Tunnel {
        near,
        far,
        connection,
        control,
    } = tunnel().await;
    let (client, accepted) = sockets().await;
    let (dialled, server) = sockets().await;
    Path {
        client,
        server,
        outbound: Relaying::start(Sides::outbound(accepted, near)),
        inbound: Relaying::start(Sides::inbound(far, dialled)),
        connection,
        control,
    }
}

/// Bytes that are not all the same.
pub fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 255 + seed) as u8).collect()
}

/// Sends everything, then the end.
pub async fn send(socket: &mut (impl AsyncWriteExt + Unpin), data: &[u8]) {
    socket.write_all(data).await.expect("sent");
    socket.shutdown().await.expect("an end");
}

/// Everything until the end.
pub async fn receive(socket: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).await.expect("an end, not a reset");
    all
}

/// Whether the socket was reset; anything that comes before that is skipped.
pub async fn is_reset(socket: &mut TcpStream) -> bool {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match socket.read(&mut buffer).await {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Writes until the far end takes nothing any more; how many bytes that were.
pub async fn fill(socket: &mut TcpStream) -> usize {
    let chunk = vec![7; 1 << 16];
    let mut sent = 0;
    // Longer than a turn of anything between; bytes that the path still takes come without a pause.
    while let Ok(written) = timeout(Duration::from_millis(200), socket.write(&chunk)).await {
        sent += written.expect("the connection lives");
    }
    sent
}
