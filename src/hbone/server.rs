//! The accepting end of a tunnel: TLS and HTTP/2 on a socket, and the CONNECT requests that arrive in it.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use adit_mesh::Outcome;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::flow::adapt_window;
use crate::headers::BAGGAGE;
use crate::keepalive::Keepalive;
use crate::meter::Meter;
use crate::settings::{RESET_MEMORY, Settings};
use crate::share::Ledger;
use crate::stream::{Counted, Queued, State, Stream};
use crate::transport::{Flush, PeerChain, Role, Transport, handshake, turns};

/// A peer's connection after its TLS handshake.
pub struct Accepted {
    transport: Transport,
    flush: Flush,
    peer: PeerChain,
}

impl Accepted {
    /// Runs the TLS handshake on an accepted socket.
    ///
    /// # Errors
    /// See [`handshake`].
    pub async fn handshake(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let (transport, flush, peer) =
            handshake(socket, Role::Server(config), settings.deadlines.tls).await?;
        Ok(Self {
            transport,
            flush,
            peer,
        })
    }

    /// The certificates that the peer proved itself with, the leaf first.
    pub fn peer(&self) -> &PeerChain {
        &self.peer
    }

    /// Serves HTTP/2 until the peer leaves, the connection breaks, or `control` ends it. `on_connect` is called
    /// for every request and returns at once (it spawns what takes time).
    ///
    /// # Errors
    /// What broke the connection: [`Outcome::ClientGone`] if the peer did, [`Outcome::ProtocolViolation`] if it gave us
    /// cause to, [`Outcome::Http2Failed`] if HTTP/2 never began or the peer is silent, or the failure given to
    /// [`Control::abort`].
    pub async fn serve(
        self,
        settings: &Settings,
        control: &Control,
        on_connect: impl FnMut(Incoming),
    ) -> Result<(), Failure> {
        let Self { transport, flush, .. } = self;
        let mut shaking = Box::pin(builder(settings).handshake::<_, Queued>(transport));
        let within = settings.deadlines.http2;
        let preface = turns(&flush, |cx| {
            control.poll(cx)?;
            shaking.as_mut().poll(cx).map_err(Failure::from)
        });
        let connection = timeout(within, preface).await.map_err(|_| {
            Failure::new(
                Outcome::Http2Failed,
                format!("no HTTP/2 preface within {within:?}"),
            )
        })??;
        drop(shaking);
        drive(connection, flush, settings, control, on_connect).await
    }
}

/// Ends a connection from outside of the task that serves it.
#[derive(Clone, Default)]
pub struct Control(Rc<RefCell<Command>>);

#[derive(Default)]
struct Command {
    graceful: bool,
    failure: Option<Failure>,
    driver: Option<Waker>,
    meter: Option<Rc<dyn Meter>>,
    ledger: Option<Rc<Ledger>>,
}

impl Control {
    /// A control of a connection that tells `meter` what happens, and counts bytes that wait in its streams in `ledger`.
    pub fn metered(meter: Rc<dyn Meter>, ledger: Rc<Ledger>) -> Self {
        Self(Rc::new(RefCell::new(Command {
            meter: Some(meter),
            ledger: Some(ledger),
            ..Command::default()
        })))
    }

    /// Sends GOAWAY. Requests that are under way, even those that the peer sent before it knew, are still served.
    pub fn drain(&self) {
        self.0.borrow_mut().graceful = true;
        self.wake();
    }

    /// Ends the connection and all its streams now.
    pub fn abort(&self, failure: Failure) {
        self.0.borrow_mut().failure.get_or_insert(failure);
        self.wake();
    }

    /// The state of the connection that this controls.
    fn state(&self, flush: &Flush) -> Rc<State> {
        let command = self.0.borrow();
        let state = State::new(flush.blocked());
        if let Some(meter) = &command.meter {
            state.meter(meter.clone());
        }
        if let Some(ledger) = &command.ledger {
            state.account(ledger.clone());
        }
        Rc::new(state)
    }

    fn wake(&self) {
        if let Some(driver) = &self.0.borrow().driver {
            driver.wake_by_ref();
        }
    }

    /// Whether to drain; an error when told to abort.
    fn poll(&self, cx: &Context<'_>) -> Result<bool, Failure> {
        let mut command = self.0.borrow_mut();
        match &mut command.driver {
            Some(driver) => driver.clone_from(cx.waker()),
            None => command.driver = Some(cx.waker().clone()),
        }
        match &command.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(command.graceful),
        }
    }
}

/// A CONNECT request that waits for an answer. Dropped without one, it is answered with 503.
pub struct Incoming {
    request: Request<()>,
    respond: SendResponse<Queued>,
    receive: Option<RecvStream>,
    counted: Option<Counted>,
    answered: bool,
}

impl Incoming {
    fn new(request: Request<RecvStream>, respond: SendResponse<Queued>, state: &Rc<State>) -> Self {
        let (parts, receive) = request.into_parts();
        Self {
            request: Request::from_parts(parts, ()),
            respond,
            receive: Some(receive),
            counted: Some(Counted::new(state)),
            answered: false,
        }
    }

    /// The authority, if the request is a CONNECT that has one.
    pub fn authority(&self) -> Option<&str> {
        let is_connect = self.request.method() == Method::CONNECT;
        self.request
            .uri()
            .authority()
            .filter(|_| is_connect)
            .map(|authority| authority.as_str())
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Waits until the client gives the request up.
    pub async fn abandoned(&mut self) {
        let _ = futures_util::future::poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }

    /// Answers with 200 and opens the stream.
    ///
    /// # Errors
    /// The client is gone.
    pub fn accept(mut self, baggage: Option<HeaderValue>) -> Result<Stream, Failure> {
        let mut response = Response::new(());
        if let Some(baggage) = baggage {
            response.headers_mut().insert(BAGGAGE, baggage);
        }
        self.answered = true;
        let gone = |_| {
            Failure::new(
                Outcome::ClientGone,
                "the client gave the CONNECT up before it was answered",
            )
        };
        let send = self.respond.send_response(response, false).map_err(gone)?;
        match (self.receive.take(), self.counted.take()) {
            (Some(receive), Some(counted)) => Ok(Stream::new(send, receive, counted)),
            _ => Err(Failure::new(
                Outcome::Http2Failed,
                "the request was answered before",
            )),
        }
    }

    /// Answers with the status of `outcome` and ends the stream.
    pub fn refuse(mut self, outcome: Outcome) {
        self.answer(outcome);
    }

    fn answer(&mut self, outcome: Outcome) {
        self.answered = true;
        let mut response = Response::new(());
        *response.status_mut() =
            StatusCode::from_u16(outcome.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        // Fails only if the client is gone already.
        let _ = self.respond.send_response(response, true);
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(Outcome::Shutdown);
        }
    }
}

fn builder(settings: &Settings) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.max_frame)
        .max_header_list_size(settings.server_header_list)
        .max_concurrent_streams(settings.max_streams)
        .max_send_buffer_size(settings.send_buffer)
        .data_frame_budget(settings.small_frame_budget)
        .max_pending_accept_reset_streams(settings.unseen_resets)
        .max_concurrent_reset_streams(settings.remembered_resets)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(Some(settings.stray_frames));
    builder
}

async fn drive(
    mut connection: h2::server::Connection<Transport, Queued>,
    flush: Flush,
    settings: &Settings,
    control: &Control,
    mut on_connect: impl FnMut(Incoming),
) -> Result<(), Failure> {
    let state = control.state(&flush);
    let mut keepalive = Keepalive::new(
        connection.ping_pong(),
        settings.ping_interval,
        settings.ping_timeout,
    );
    let mut window = settings.connection_window;
    let mut draining = false;
    // The peer broke the connection off, or said that it would.
    let mut left = false;
    let result = turns(&flush, |cx| {
        state.register_driver(cx);
        if control.poll(cx)? && !draining {
            draining = true;
            connection.graceful_shutdown();
        }
        adapt_window(&state, settings, &mut window, |size| {
            connection.set_target_window_size(size)
        });
        while let Poll::Ready(accepted) = connection.poll_accept(cx) {
            match accepted {
                Some(Ok((request, respond))) => on_connect(Incoming::new(request, respond, &state)),
                Some(Err(error)) => {
                    left = !error.is_library();
                    return Poll::Ready(Err(Failure::http2(&error)));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        if let Some(violation) = flush.violation() {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            // It only has to write the GOAWAY.
            let _ = connection.poll_closed(cx);
            return Poll::Ready(Err(violation));
        }
        keepalive.poll_dead(cx, flush.received()).map(Err)
    })
    .await;
    // Before the connection is dropped, so that its streams know why.
    state.end(result.clone().err());
    match result {
        Err(failure) if left && flush.tls_error().is_none() => Err(Failure {
            outcome: Outcome::ClientGone,
            ..failure
        }),
        result => result,
    }
}
