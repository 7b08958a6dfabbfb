//! Peers that follow a script: servers on a pod's HBONE port that stall, refuse or misbehave, and clients that do.
//!
//! They are made of the same room as the tunnel, so that whatever is wrong with them is what the script says.

use std::future::{pending, poll_fn};
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use adit_hbone::client::{Connection, OpenError};
use adit_hbone::server::{Accepted, Control, Incoming};
use adit_hbone::{Failure, Settings, Stream};
use adit_mesh::{Identity, Outcome};
use adit_net::Namespace;
use adit_pki::Credentials;
use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use rustls::client::ResolvesClientCert;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

/// How long a scripted client waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// The page of [`Manner::Serves`]: what the lab's application answers.
const ANSWER: &[u8] =
    b"HTTP/1.0 200 OK\r\n\r\n{\"app\":\"scripted\",\"peer\":\"0.0.0.0:0\",\"target\":\"/\"}";

/// What a scripted server does with those who connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// It accepts and says nothing.
    Silent,
    /// It finishes the TLS handshake and says nothing more.
    OnlyTls,
    /// It speaks HTTP/2 and answers no CONNECT.
    NoAnswer,
    /// It refuses every CONNECT with the status of this outcome.
    Refuses(Outcome),
    /// It accepts every CONNECT and never reads.
    NeverReads,
    /// It answers the first bytes of every stream with a page of HTTP.
    Serves,
}

/// A scripted server. It ends when the value is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    /// Listens on a port in a namespace.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(
        namespace: &Namespace,
        port: u16,
        credentials: Arc<Credentials>,
        manner: Manner,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = namespace.run(|| std::net::TcpListener::bind(address)).flatten()?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        let thread = std::thread::Builder::new()
            .name("scripted server".to_owned())
            .spawn(move || {
                let serving = async {
                    let listener = TcpListener::from_std(listener).expect("a listener that does not block");
                    tokio::select! {
                        () = serve(listener, credentials, manner, &counter) => {}
                        _ = stopped => {}
                    }
                };
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                LocalSet::new().block_on(&runtime.expect("a runtime"), serving);
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            accepted,
        })
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody listens to it if the thread has panicked, which the scenario shows otherwise.
        let _ended = self.stop.take().map(|stop| stop.send(()));
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(listener: TcpListener, credentials: Arc<Credentials>, manner: Manner, accepted: &AtomicUsize) {
    while let Ok((socket, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::Relaxed);
        spawn_local(converse(socket, credentials.clone(), manner));
    }
}

/// Ends when the peer leaves. What fails is the script's own business.
async fn converse(socket: TcpStream, credentials: Arc<Credentials>, manner: Manner) {
    if manner == Manner::Silent {
        let _held = socket;
        return pending().await;
    }
    let settings = Settings::default();
    let Ok(accepted) = Accepted::handshake(socket, credentials.server_config(), &settings).await else {
        return;
    };
    if manner == Manner::OnlyTls {
        let _held = accepted;
        return pending().await;
    }
    let _ended = accepted
        .serve(&settings, &Control::default(), |incoming| {
            drop(spawn_local(answer(incoming, manner)))
        })
        .await;
}

async fn answer(incoming: Incoming, manner: Manner) {
    match manner {
        Manner::Refuses(outcome) => incoming.refuse(outcome),
        Manner::NeverReads => {
            let _held = incoming.accept(None);
            pending().await
        }
        Manner::Serves => {
            if let Ok(stream) = incoming.accept(None) {
                let _ended = page(stream).await;
            }
        }
        Manner::Silent | Manner::OnlyTls | Manner::NoAnswer => {
            let _held = incoming;
            pending().await
        }
    }
}

async fn page(mut stream: Stream) -> anyhow::Result<()> {
    if let Some(data) = poll_fn(|cx| stream.poll_data(cx)).await? {
        stream.taken(data.len());
    }
    poll_fn(|cx| stream.poll_capacity(cx, ANSWER.len())).await?;
    stream.send(Bytes::from_static(ANSWER))?;
    stream.finish()?;
    while let Some(data) = poll_fn(|cx| stream.poll_data(cx)).await? {
        stream.taken(data.len());
    }
    Ok(())
}

/// A scripted client: one HBONE connection, made in a pod's namespace. It only moves while it is asked something.
pub struct Client {
    runtime: Runtime,
    local: LocalSet,
    connection: Connection,
}

impl Client {
    /// Connects, as `credentials`, to an HBONE port that one of `expected` has to serve.
    ///
    /// # Errors
    /// No TCP connection. What TLS and HTTP/2 say is the inner result.
    pub fn connect(
        namespace: &Namespace,
        address: SocketAddr,
        credentials: &Credentials,
        expected: &str,
    ) -> anyhow::Result<Result<Self, Failure>> {
        let expected: Identity = expected.parse()?;
        Self::connect_with(namespace, address, credentials.client_config(&[expected].into()))
    }

    /// The same without a certificate.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_anonymously(
        namespace: &Namespace,
        address: SocketAddr,
        credentials: &Credentials,
        expected: &str,
    ) -> anyhow::Result<Result<Self, Failure>> {
        let expected: Identity = expected.parse()?;
        let mut config = ClientConfig::clone(&credentials.client_config(&[expected].into()));
        config.client_auth_cert_resolver = Arc::new(Nobody);
        Self::connect_with(namespace, address, Arc::new(config))
    }

    fn connect_with(
        namespace: &Namespace,
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> anyhow::Result<Result<Self, Failure>> {
        let connect = || std::net::TcpStream::connect_timeout(&address, PATIENCE);
        let socket = namespace
            .run(connect)
            .flatten()
            .with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = LocalSet::new();
        let connection = local.block_on(&runtime, async {
            let socket = TcpStream::from_std(socket)?;
            anyhow::Ok(Connection::establish(socket, Duration::ZERO, config, &Settings::default()).await)
        })?;
        Ok(connection.map(|connection| Self {
            runtime,
            local,
            connection,
        }))
    }

    /// Connects and finishes the TLS handshake, and never says anything in it.
    ///
    /// # Errors
    /// It does not succeed.
    pub fn shake_hands(
        namespace: &Namespace,
        address: SocketAddr,
        credentials: &Credentials,
        expected: &str,
    ) -> anyhow::Result<StreamOwned<ClientConnection, std::net::TcpStream>> {
        let expected: Identity = expected.parse()?;
        let connect = || std::net::TcpStream::connect_timeout(&address, PATIENCE);
        let socket = namespace.run(connect).flatten()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let config = credentials.client_config(&[expected].into());
        let mut tls = StreamOwned::new(ClientConnection::new(config, adit_pki::tls::unnamed())?, socket);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        tls.flush()?;
        Ok(tls)
    }

    /// Asks for a tunnel to `authority`.
    ///
    /// # Errors
    /// The refusal.
    pub fn open(&self, authority: &str) -> Result<(Stream, HeaderMap), OpenError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::try_from(authority).expect("an authority");
        self.request(request)
    }

    /// Sends any request.
    ///
    /// # Errors
    /// The refusal.
    pub fn request(&self, request: Request<()>) -> Result<(Stream, HeaderMap), OpenError> {
        self.local
            .block_on(&self.runtime, self.connection.open(request, PATIENCE))
    }

    /// Sends bytes and waits for some in return.
    ///
    /// # Errors
    /// The stream or its connection is over.
    pub fn exchange(&self, stream: &mut Stream, bytes: &'static [u8]) -> anyhow::Result<Bytes> {
        self.local.block_on(&self.runtime, async {
            poll_fn(|cx| stream.poll_capacity(cx, bytes.len())).await?;
            stream.send(Bytes::from_static(bytes))?;
            let received = tokio::time::timeout(PATIENCE, poll_fn(|cx| stream.poll_data(cx))).await??;
            let received = received.context("the stream was closed")?;
            stream.taken(received.len());
            Ok(received)
        })
    }

    /// Waits until the stream ends, and returns whether in order.
    ///
    /// # Errors
    /// It stays open, or something else arrives.
    pub fn wait_end(&self, stream: &mut Stream) -> anyhow::Result<bool> {
        let next = async { tokio::time::timeout(PATIENCE, poll_fn(|cx| stream.poll_data(cx))).await };
        match self.local.block_on(&self.runtime, next)? {
            Ok(None) => Ok(true),
            Ok(Some(data)) => anyhow::bail!("{} bytes came unasked", data.len()),
            Err(_) => Ok(false),
        }
    }

    /// The certificates of the server.
    pub fn peer(&self) -> Rc<[rustls::pki_types::CertificateDer<'static>]> {
        self.connection.peer().clone()
    }

    /// Whether the server has said that it takes no more streams (GOAWAY), which only one that is tried can tell.
    pub fn was_told_to_go(&self, authority: &str) -> bool {
        matches!(self.open(authority), Err(OpenError::Gone(_)))
    }
}

/// The failure behind a refusal, whichever kind.
pub fn failure(error: OpenError) -> Failure {
    match error {
        OpenError::Gone(failure) | OpenError::Full(failure) | OpenError::Refused(failure) => failure,
    }
}

/// A client that has no certificate.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
