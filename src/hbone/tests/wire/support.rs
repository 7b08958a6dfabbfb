//! What the tests share: a runtime like a worker's, certificates, a server, a pool towards it, and helpers that use
//! a [`Stream`] as a relay does.

pub mod certificates;
pub mod script;
pub mod server;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adit_hbone::client::Connection;
use adit_hbone::pool::{Key, Opened, Pool};
use adit_hbone::settings::Deadlines;
use adit_hbone::{Failure, Settings, Stream};
use adit_mesh::Outcome;
use adit_pki::Credentials;
use bytes::Bytes;
use http::{Method, Request};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::timeout;

/// Longer than anything here takes; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a relay asks for at once.
pub const CHUNK: usize = 128 * 1024;

/// Runs a test in a runtime like a worker's.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, test).await.expect("the test ends in time") })
}

/// Settings whose deadlines are long, so that only a test about them meets one.
pub fn settings() -> Settings {
    Settings {
        deadlines: Deadlines {
            connect: PATIENCE,
            tls: PATIENCE,
            http2: PATIENCE,
            answer: PATIENCE,
        },
        ..Settings::default()
    }
}

/// A CONNECT like the tunnel's.
pub fn connect() -> Request<()> {
    Request::builder()
        .method(Method::CONNECT)
        .uri("10.0.0.2:8080")
        .header("forwarded", "for=\"10.0.0.1:4000\"")
        .body(())
        .expect("a request")
}

/// Connects to `address` as `credentials`, expecting the identities of `key`.
pub async fn dial(
    key: Key,
    credentials: Arc<Credentials>,
    settings: &Settings,
) -> Result<Connection, Failure> {
    let socket = TcpStream::connect(key.address)
        .await
        .map_err(|error| Failure::new(Outcome::ConnectFailed, error))?;
    socket
        .set_nodelay(true)
        .map_err(|error| Failure::new(Outcome::ConnectFailed, error))?;
    let config = credentials.client_config(&key.expected);
    Connection::establish(socket, Duration::ZERO, config, settings).await
}

/// A pool, and how often it dialled.
pub struct Client {
    pub pool: Pool,
    pub key: Key,
    pub dials: Rc<Cell<usize>>,
}

impl Client {
    /// Towards `address`, where `server` is expected, as `client`.
    pub fn new(
        address: SocketAddr,
        client: &Arc<Credentials>,
        server: &Credentials,
        settings: Settings,
    ) -> Self {
        let key = Key {
            source: client.identity().clone(),
            expected: [server.identity().clone()].into(),
            address,
        };
        let dials = Rc::new(Cell::new(0));
        let settings = Rc::new(settings);
        let (counter, credentials, own) = (dials.clone(), client.clone(), settings.clone());
        let pool = Pool::new(
            Box::new(move |key| {
                counter.set(counter.get() + 1);
                let (credentials, settings) = (credentials.clone(), own.clone());
                Box::pin(async move { dial(key, credentials, &settings).await })
            }),
            settings,
        );
        Self { pool, key, dials }
    }

    pub async fn open(&self) -> Result<Opened, Failure> {
        self.pool.open(&self.key, &connect()).await
    }

    pub async fn stream(&self) -> Stream {
        self.open().await.expect("a stream").stream
    }
}

/// Sends all of `data` as a relay does: reserves with something to send, lets go afterwards.
pub async fn write(stream: &mut Stream, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        let room = poll_fn(|cx| stream.poll_capacity(cx, CHUNK)).await?;
        stream.send(data.split_to(room.min(data.len())))?;
    }
    stream.release_capacity();
    Ok(())
}

/// The next bytes, given to an application that takes them at once.
pub async fn read(stream: &mut Stream) -> Result<Option<Bytes>, h2::Error> {
    let data = poll_fn(|cx| stream.poll_data(cx)).await?;
    stream.taken(data.as_ref().map_or(0, Bytes::len));
    Ok(data)
}

/// Everything until the end.
pub async fn read_all(stream: &mut Stream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = read(stream).await? {
        all.extend_from_slice(&data);
    }
    Ok(all)
}

/// Exactly `count` bytes or more, as they come.
pub async fn read_some(stream: &mut Stream, count: usize) -> Vec<u8> {
    let mut some = Vec::new();
    while some.len() < count {
        some.extend_from_slice(&read(stream).await.expect("data").expect("more data"));
    }
    some
}

/// Serves a stream by sending back what comes, with both half closes.
pub async fn echo(mut stream: Stream) {
    while let Ok(Some(data)) = read(&mut stream).await {
        if write(&mut stream, data).await.is_err() {
            return;
        }
    }
    let _ = stream.finish();
}

/// Bytes that are not all the same.
pub fn pattern(length: usize) -> Bytes {
    (0..length).map(|n| (n * 31 + n / 255) as u8).collect()
}
