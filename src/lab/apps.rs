//! What runs in the lab's pods: a small server that says who called it, and calls the next one if it is told to.
//!
//! It is an ordinary program that knows nothing of a mesh, so what it sees is the proof of what applications see.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::http;

/// Where it serves HTTP.
pub const HTTP_PORT: u16 = 8080;

/// Where it sends lines back.
pub const ECHO_PORT: u16 = 9000;

/// How long accepting rests after it failed.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// After SIGTERM: how long nobody calls when all have heard that it goes, and how long it waits for that.
const CALLED_AGAIN: Duration = Duration::from_millis(250);
const CALLED_AT_MOST: Duration = Duration::from_secs(10);

/// What to be.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct Args {
    /// What it calls itself
    #[arg(long)]
    pub name: String,
    /// Whom it calls before it answers
    #[arg(long)]
    pub upstream: Option<SocketAddr>,
}

impl Args {
    /// As the command line that starts it.
    pub fn to_command(&self) -> Vec<String> {
        let mut command = vec!["lab-app".to_owned(), "--name".to_owned(), self.name.clone()];
        if let Some(upstream) = self.upstream {
            command.extend(["--upstream".to_owned(), upstream.to_string()]);
        }
        command
    }
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Answer {
    /// Who answers.
    pub app: String,
    /// Whom it saw calling.
    pub peer: SocketAddr,
    /// What was asked for.
    pub target: String,
    /// What the next one answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Box<Answer>>,
    /// Why the next one did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_failure: Option<String>,
}

/// Serves until SIGTERM; then, once nobody calls it any more, it closes its listener, finishes the requests that it has and
/// ends, as applications do that survive a rolling update: whoever has not heard yet that it goes is still served. SIGUSR1
/// makes it stop listening for HTTP at once, and nothing else.
///
/// # Errors
/// A port is taken.
pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let echo = listen(ECHO_PORT).await?;
        let http = listen(HTTP_PORT).await?;
        tokio::select! {
            never = serve_echo(echo) => match never {},
            ended = serve_http(http, args) => ended,
        }
    })
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    match TcpListener::bind(both).await {
        Ok(listener) => Ok(listener),
        // No IPv6 here.
        Err(_) => TcpListener::bind(v4)
            .await
            .with_context(|| format!("cannot listen on {v4}")),
    }
}

async fn serve_http(listener: TcpListener, args: Args) -> anyhow::Result<()> {
    let mut stop = signal(SignalKind::user_defined1())?;
    let mut end = signal(SignalKind::terminate())?;
    let mut clients = Clients::new(args);
    let ends = loop {
        tokio::select! {
            biased;
            // Whoever was accepted by the kernel already is served: a listener that closes resets those that wait.
            accepted = listener.accept() => clients.serve(accepted).await,
            _ = stop.recv() => break false,
            _ = end.recv() => break true,
            Some(_) = clients.served.join_next() => {}
        }
    };
    if ends {
        let latest = Instant::now() + CALLED_AT_MOST;
        while Instant::now() < latest
            && let Ok(accepted) = timeout(CALLED_AGAIN, listener.accept()).await
        {
            clients.serve(accepted).await;
        }
        drop(listener);
    } else {
        drop(listener);
        end.recv().await;
    }
    clients.finish().await;
    Ok(())
}

/// Those who are served.
struct Clients {
    args: Args,
    served: JoinSet<()>,
    ending: watch::Sender<()>,
}

impl Clients {
    fn new(args: Args) -> Self {
        Self {
            args,
            served: JoinSet::new(),
            ending: watch::Sender::new(()),
        }
    }

    async fn serve(&mut self, accepted: std::io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => {
                let (args, ended) = (self.args.clone(), self.ending.subscribe());
                self.served.spawn(serve_connection(stream, peer, args, ended));
            }
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }

    /// Lets each finish the request that it has.
    async fn finish(mut self) {
        self.ending.send_replace(());
        while self.served.join_next().await.is_some() {}
    }
}

/// Serves a connection to its end, which comes with the present request once `ended` changes.
async fn serve_connection(stream: TcpStream, peer: SocketAddr, args: Args, mut ended: watch::Receiver<()>) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let service = service_fn(|request: Request<Incoming>| {
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        answer(args.clone(), peer, target.to_owned())
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A client that breaks off is its own affair.
    let _ended = tokio::select! {
        served = connection.as_mut() => served,
        _ = ended.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

async fn answer(args: Args, peer: SocketAddr, target: String) -> anyhow::Result<Response<Full<Bytes>>> {
    let mut answer = Answer {
        app: args.name,
        peer,
        target: target.clone(),
        upstream: None,
        upstream_failure: None,
    };
    if let Some(upstream) = args.upstream {
        let called =
            tokio::task::spawn_blocking(move || http::request(None, upstream, "GET", &target)).await?;
        match called {
            Ok(response) => answer.upstream = Some(serde_json::from_str(&response.body)?),
            Err(failure) => answer.upstream_failure = Some(failure.to_string()),
        }
    }
    let mut body = serde_json::to_vec(&answer)?;
    body.push(b'\n');
    Ok(Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?)
}

async fn serve_echo(listener: TcpListener) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // A client that breaks off is its own affair.
                tokio::spawn(async move { echo(stream).await.ok() });
            }
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

async fn echo(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        stream.write_all(line.as_bytes()).await?;
        line.clear();
    }
    Ok(())
}
