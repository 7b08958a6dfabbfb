//! A waypoint in the hands of a scenario: it remembers what it was asked, and answers with its own name.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use adit::lab::observe;
use adit_hbone::server::{Accepted, Control, Incoming};
use adit_hbone::{Settings, Stream};
use adit_net::Namespace;
use adit_pki::Credentials;
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

/// A CONNECT, as it arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// What it asked for.
    pub authority: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
}

type Log = Arc<Mutex<Vec<Asked>>>;

/// A waypoint. It ends when the value is dropped.
#[derive(Debug)]
pub struct Waypoint {
    asked: Log,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Waypoint {
    /// Listens on a port of a namespace. Every tunnel through it gets a page that says `name`.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(
        namespace: &Namespace,
        port: u16,
        credentials: Arc<Credentials>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let address = std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = namespace.run(|| std::net::TcpListener::bind(address)).flatten()?;
        listener.set_nonblocking(true)?;
        let page =
            format!("HTTP/1.0 200 OK\r\n\r\n{{\"app\":\"{name}\",\"peer\":\"0.0.0.0:0\",\"target\":\"/\"}}");
        let (stop, stopped) = oneshot::channel();
        let asked = Log::default();
        let log = asked.clone();
        let thread = std::thread::spawn(move || {
            let serving = async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    () = serve(listener, &credentials, &log, &page) => {}
                    _ = stopped => {}
                }
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            LocalSet::new().block_on(&runtime.expect("a runtime"), serving);
        });
        Ok(Self {
            asked,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it was asked for this, and returns the first such request.
    ///
    /// # Errors
    /// It was not in time.
    pub fn wait_asked(&self, authority: &str) -> anyhow::Result<Asked> {
        observe::eventually(
            format_args!("a CONNECT for {authority}; came: {:?}", self.asked()),
            || {
                Ok(self
                    .asked()
                    .into_iter()
                    .find(|asked| asked.authority == authority))
            },
        )
    }
}

impl Drop for Waypoint {
    fn drop(&mut self) {
        // Nobody listens to it if the thread has panicked, which the scenario shows otherwise.
        let _ended = self.stop.take().map(|stop| stop.send(()));
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(listener: TcpListener, credentials: &Credentials, log: &Log, page: &str) {
    let page = Bytes::from(page.to_owned());
    while let Ok((socket, _)) = listener.accept().await {
        spawn_local(converse(
            socket,
            credentials.server_config(),
            log.clone(),
            page.clone(),
        ));
    }
}

/// Ends when the peer leaves.
async fn converse(socket: TcpStream, config: Arc<rustls::ServerConfig>, log: Log, page: Bytes) {
    let settings = Settings::default();
    let Ok(accepted) = Accepted::handshake(socket, config, &settings).await else {
        return;
    };
    let answer_one = |incoming: Incoming| {
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(asked(&incoming));
        if let Ok(stream) = incoming.accept(None) {
            spawn_local(answer(stream, page.clone()));
        }
    };
    let _ended = accepted.serve(&settings, &Control::default(), answer_one).await;
}

fn asked(incoming: &Incoming) -> Asked {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = incoming
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)));
    Asked {
        authority: incoming.authority().unwrap_or_default().to_owned(),
        headers: headers.collect(),
    }
}

/// The request is read before the page is sent: what a server of HTTP does.
async fn answer(mut stream: Stream, page: Bytes) -> Result<(), adit_hbone::Failure> {
    let lost = |error| adit_hbone::Failure::new(adit_mesh::Outcome::Reset, error);
    if let Some(data) = poll_fn(|cx| stream.poll_data(cx)).await.map_err(lost)? {
        stream.taken(data.len());
    }
    poll_fn(|cx| stream.poll_capacity(cx, page.len()))
        .await
        .map_err(lost)?;
    stream.send(page).map_err(lost)?;
    stream.finish().map_err(lost)?;
    while let Some(data) = poll_fn(|cx| stream.poll_data(cx)).await.map_err(lost)? {
        stream.taken(data.len());
    }
    Ok(())
}
