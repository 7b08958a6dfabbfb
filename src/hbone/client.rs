//! The connecting end of a tunnel: one TLS and HTTP/2 connection to a peer, and CONNECT streams in it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use adit_mesh::{Identity, Outcome};
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::flow::adapt_window;
use crate::keepalive::Keepalive;
use crate::meter::Meter;
use crate::settings::{RESET_MEMORY, Settings};
use crate::share::{Ledger, Taken};
use crate::stream::{Counted, Queued, State, Stream};
use crate::transport::{Flush, PeerChain, Role, Transport, handshake, turns};

/// A connection to a peer. It lives as long as somebody holds it or a stream is open.
pub struct Connection {
    requests: Requests,
    state: Rc<State>,
    peer: PeerChain,
    identity: Option<Identity>,
    established: Instant,
    timings: Timings,
}

/// What opens streams; gone once no more may be opened, which is how HTTP/2 learns that it can end.
type Requests = Rc<RefCell<Option<SendRequest<Queued>>>>;

/// How long the stages of a connection took.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Timings {
    /// TCP connect.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
}

/// Why a stream could not be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The connection takes no more streams (GOAWAY, an error): another connection may serve.
    Gone(Failure),
    /// The peer takes no more streams at once on this connection.
    Full(Failure),
    /// The peer, or the time limit, refused this stream.
    Refused(Failure),
}

impl Connection {
    /// TLS and HTTP/2 over a connected socket. The driver runs as a task of the current (local) runtime.
    ///
    /// # Errors
    /// The failure of the stage that failed.
    pub async fn establish(
        socket: TcpStream,
        connect: Duration,
        config: Arc<ClientConfig>,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let (transport, flush, peer) =
            handshake(socket, Role::Client(config), settings.deadlines.tls).await?;
        let established = Instant::now();
        let timings = Timings {
            connect,
            tls: established - started,
        };
        // Writes the preface, which is staged like everything else and leaves with the driver's first turn.
        let (requests, connection) = builder(settings)
            .handshake::<_, Queued>(transport)
            .await
            .map_err(|error| Failure::http2(&error))?;
        let state = Rc::new(State::new(flush.blocked()));
        let requests = Rc::new(RefCell::new(Some(requests)));
        tokio::task::spawn_local(drive(
            connection,
            flush,
            state.clone(),
            requests.clone(),
            settings.clone(),
        ));
        Ok(Self {
            requests,
            state,
            identity: peer.first().and_then(|leaf| adit_pki::peer_identity(leaf).ok()),
            peer,
            established,
            timings,
        })
    }

    /// Tells `meter` what happens on the connection; to be called before the first stream. Only the first call counts.
    pub fn meter(&self, meter: Rc<dyn Meter>) {
        self.state.meter(meter);
    }

    /// Counts bytes that wait in its streams there; to be called before the first stream. Only the first call counts.
    pub fn account(&self, ledger: Rc<Ledger>) {
        self.state.account(ledger);
    }

    /// Keeps what counts its socket for as long as the connection lives. Only the first stays.
    pub fn count(&self, socket: Taken) {
        self.state.count(socket);
    }

    /// Opens a CONNECT stream. The answer must be 200.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        &self,
        request: Request<()>,
        within: Duration,
    ) -> Result<(Stream, HeaderMap), OpenError> {
        let counted = Counted::new(&self.state);
        match timeout(within, self.request(request)).await {
            Err(_) => Err(OpenError::Refused(Failure::new(
                Outcome::ConnectAnswerTimeout,
                format!("no answer to the CONNECT within {within:?}"),
            ))),
            Ok(Err(error)) => Err(error),
            Ok(Ok((send, response))) => {
                let (parts, receive) = response.into_parts();
                match parts.status {
                    StatusCode::OK => Ok((Stream::new(send, receive, counted), parts.headers)),
                    status => Err(OpenError::Refused(refusal(status))),
                }
            }
        }
    }

    async fn request(
        &self,
        request: Request<()>,
    ) -> Result<(h2::SendStream<Queued>, http::Response<h2::RecvStream>), OpenError> {
        let failure = |error| self.state.failure().unwrap_or_else(|| Failure::http2(&error));
        let gone = |error| OpenError::Gone(failure(error));
        let requests = self.requests.borrow().clone();
        let closed = || Failure::new(Outcome::Http2Failed, "the connection is closing");
        let requests =
            requests.ok_or_else(|| OpenError::Gone(self.state.failure().unwrap_or_else(closed)))?;
        let mut requests = requests.ready().await.map_err(gone)?;
        let (response, send) = requests.send_request(request, false).map_err(gone)?;
        drop(requests);
        match response.await {
            Ok(response) => Ok((send, response)),
            Err(error) if error.reason() == Some(Reason::REFUSED_STREAM) => {
                Err(OpenError::Full(failure(error)))
            }
            // Whatever ended the connection says nothing about this stream. A CONNECT that was not answered has
            // carried no byte of the application, so it may be repeated.
            Err(error) if error.is_io() || error.is_go_away() => Err(gone(error)),
            Err(error) => Err(OpenError::Refused(failure(error))),
        }
    }

    /// Open streams, including those that wait for an answer.
    pub fn streams(&self) -> usize {
        self.state.streams()
    }

    /// Streams that the peer allows at once.
    pub fn stream_limit(&self) -> usize {
        self.requests
            .borrow()
            .as_ref()
            .map_or(0, SendRequest::current_max_send_streams)
    }

    /// Whether streams wait for the peer to take more, so that a further connection would help.
    pub fn is_saturated(&self) -> bool {
        self.state.is_saturated()
    }

    /// Whether it takes no more streams.
    pub fn is_closing(&self) -> bool {
        self.state.is_closing()
    }

    /// Whether the peer has sent anything, so that TLS and HTTP/2 are known to work. A server that does not accept our
    /// certificate says so only after the client's handshake.
    pub fn is_alive(&self) -> bool {
        self.state.is_alive()
    }

    /// How often a stream had to wait for the peer's window.
    pub fn stalls(&self) -> u64 {
        self.state.stalls()
    }

    /// The certificates that the peer proved itself with, the leaf first.
    pub fn peer(&self) -> &PeerChain {
        &self.peer
    }

    /// Whom the peer proved to be, read from its certificate once; `None` only where the verifier lets pass who is
    /// nobody.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// When its TLS handshake was over.
    pub fn established(&self) -> Instant {
        self.established
    }

    /// How long it took to make.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Takes no more streams; ends when the last one does.
    pub fn retire(&self) {
        self.state.close();
    }

    /// Ends it now, with all its streams.
    pub fn abort(&self, failure: Failure) {
        self.state.fail(failure);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.state.close();
    }
}

fn builder(settings: &Settings) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.max_frame)
        .max_header_list_size(settings.client_header_list)
        .max_send_buffer_size(settings.send_buffer)
        .data_frame_budget(settings.small_frame_budget)
        .max_pending_accept_reset_streams(settings.unseen_resets)
        .max_concurrent_reset_streams(settings.remembered_resets)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(Some(settings.stray_frames))
        .initial_max_send_streams(settings.streams_per_connection)
        .enable_push(false);
    builder
}

/// What a status other than 200 means.
fn refusal(status: StatusCode) -> Failure {
    let outcome = if status == StatusCode::UNAUTHORIZED {
        Outcome::PeerDenied
    } else {
        Outcome::PeerRefused
    };
    Failure::new(
        outcome,
        format!("the peer answered the CONNECT with status {}", status.as_u16()),
    )
}

/// Runs a connection to its end: when it broke, when the peer left, or when nobody needs it any more.
async fn drive(
    mut connection: h2::client::Connection<Transport, Queued>,
    flush: Flush,
    state: Rc<State>,
    requests: Requests,
    settings: Settings,
) {
    let mut keepalive = Keepalive::new(
        connection.ping_pong(),
        settings.ping_interval,
        settings.ping_timeout,
    );
    let mut first_bytes = Box::pin(sleep(settings.deadlines.http2));
    let mut linger = None;
    let mut window = settings.connection_window;
    let failed = |detail| Poll::Ready(Err(Failure::new(Outcome::Http2Failed, detail)));
    let result = turns::<()>(&flush, |cx| {
        state.register_driver(cx);
        if let Some(failure) = state.failure() {
            return Poll::Ready(Err(failure));
        }
        if state.is_closing() {
            // Without it and without streams HTTP/2 sends what is left, then GOAWAY, and is over.
            requests.take();
        }
        adapt_window(&state, &settings, &mut window, |size| {
            connection.set_target_window_size(size)
        });
        let polled = Pin::new(&mut connection).poll(cx);
        if let Some(violation) = flush.violation() {
            return Poll::Ready(Err(violation));
        }
        let received = flush.received();
        if received > 0 {
            state.note_alive();
        }
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result.map_err(Failure::from));
        }
        if received == 0 && first_bytes.as_mut().poll(cx).is_ready() {
            return failed(format!(
                "no SETTINGS from the peer within {:?}",
                settings.deadlines.http2
            ));
        }
        if let Poll::Ready(silent) = keepalive.poll_dead(cx, received) {
            return Poll::Ready(Err(silent));
        }
        if state.is_closing() && state.streams() == 0 {
            let linger = linger.get_or_insert_with(|| Box::pin(sleep(settings.idle_timeout)));
            if linger.as_mut().poll(cx).is_ready() {
                return failed(format!(
                    "the peer did not take the last bytes within {:?}",
                    settings.idle_timeout
                ));
            }
        }
        Poll::Pending
    })
    .await;
    // Before the connection is dropped, so that its streams know why.
    state.end(result.err());
    requests.take();
}
