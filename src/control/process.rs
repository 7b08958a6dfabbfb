//! The process: what is started, in which order, and how it ends.

mod pages;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_discovery::listen;
use adit_discovery::xds::server::Settings as Serving;
use adit_discovery::xds::{Debounce, Server};
use adit_pki::{Authority, LocalCa};
use adit_telemetry::log::Log;
use adit_telemetry::runtime::{drain, panics, signals::Signals};
use adit_telemetry::server::readiness::Readiness;
use adit_telemetry::server::{self, Reach};
use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::authenticate::Authentication;
use crate::authenticate::token::TokenIssuer;
use crate::certificates::{Certificates, serving};
use crate::cli::Args;
use crate::metrics::Metrics;
use crate::mill::Mill;
use crate::placement::Placement;
use crate::source::directory::Directory;
use crate::source::follow;
use pages::Pages;

/// What the log may take to be written at the end.
const LAST_LINES: Duration = Duration::from_secs(1);
/// As istiod probes its clients.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(10);
/// Far above what a client has; it has one stream for discovery, and some for certificates.
const STREAMS: u32 = 1000;
/// So many events may wait for the mill; then the source does.
const EVENTS: usize = 1024;

/// Runs the control plane until it is told to end.
///
/// # Errors
/// Whatever keeps it from starting, named.
pub fn run(args: Args) -> anyhow::Result<()> {
    let log = Log::start(args.log_format, Some(&args.log_level), std::io::stdout())?;
    panics::install();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .context("cannot start the runtime")?
        .block_on(control(args));
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    log.writer.flush(LAST_LINES);
    result
}

async fn control(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::catch().context("cannot catch signals")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "adit control plane");
    let readiness = Readiness::default();
    let synced = readiness.block("objects");
    let metrics = Arc::new(Metrics::new());
    let authority = authority(&args, &metrics)?;
    let authenticator = Arc::new(Authentication::new(tokens(&args)?));
    let placement = Placement::default();
    let mill = Mill::new(
        args.settings(),
        Debounce::default(),
        placement.clone(),
        metrics.clone(),
    );
    let (published, conditions) = (mill.published(), mill.conditions());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let discovery = Server::new(
        published.clone(),
        authenticator.clone(),
        metrics.clone(),
        Serving::new(cores),
    );
    let certificates = Certificates::new(
        authority.clone(),
        authenticator,
        placement,
        args.trusted_node_accounts.clone(),
        args.trust_domain.clone(),
        metrics.clone(),
    );
    let names = args.names();
    let tls = serving::config(&authority.borrow(), &names, SystemTime::now())?;
    let (configs, tls) = watch::channel(Arc::new(tls));
    tokio::spawn(serving::keep(authority, names, configs));

    let (drain, draining) = drain::channel();
    let discovery_clients = discovery.clients();
    let pages = Pages {
        metrics,
        clients: discovery_clients.clone(),
        published: published.clone(),
        conditions,
    };
    for server in [
        server::Server::bind(
            Reach::Everywhere,
            args.monitoring_port,
            "ADIT_PORT_MONITORING",
            pages.router(),
        )?,
        server::Server::bind(
            Reach::Everywhere,
            args.readiness_port,
            "ADIT_PORT_READINESS",
            readiness.router(),
        )?,
    ] {
        tokio::spawn(server.serve(draining.clone()));
    }
    let address = SocketAddr::new(args.listen, args.secure_port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (set by ADIT_LISTEN and ADIT_PORT_SECURE)"))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_DEADLINE))
        .max_concurrent_streams(Some(STREAMS))
        .add_service(discovery.service())
        .add_service(certificates.service())
        .serve_with_incoming_shutdown(listen::accept(listener, Some(tls)), async {
            // An error: the sender is gone, which says the same.
            let _ = stopped.await;
        });
    let serving = tokio::spawn(serving);
    let (events, source) = mpsc::channel(EVENTS);
    tokio::spawn(follow::run(Directory::new(&args.manifests), events));
    let mill = tokio::spawn(mill.run(source, discovery_clients));
    tokio::spawn(async move {
        let mut published = published;
        // An error: the mill has ended, and with it the process.
        let _ = published.wait_for(Option::is_some).await;
        drop(synced);
    });
    tracing::info!(%address, manifests = %args.manifests.display(), "serving discovery and certificates");

    let signal = signals.next().await;
    tracing::info!(?signal, "told to end");
    // Streams end with the mill, because nothing will be published any more.
    mill.abort();
    drop(stop);
    drop(draining);
    drain.start(Instant::now() + LAST_LINES);
    let _ = tokio::time::timeout(LAST_LINES, async {
        let _ = serving.await;
        drain.finished().await;
    })
    .await;
    Ok(())
}

fn authority(args: &Args, metrics: &Metrics) -> anyhow::Result<watch::Receiver<Arc<Authority>>> {
    // The lifetime of certificates is what the request says, so this one is not used.
    let ca = LocalCa::open_or_create(&args.ca_dir, Duration::ZERO, SystemTime::now())?;
    let authority = ca.into_authority();
    let ends = authority.not_after().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = ends.map_or(0, |ends| i64::try_from(ends.as_secs()).unwrap_or(i64::MAX));
    metrics.certificates.authority_ends(seconds);
    Ok(watch::channel(Arc::new(authority)).1)
}

fn tokens(args: &Args) -> anyhow::Result<Option<TokenIssuer>> {
    let (Some(keys), Some(issuer)) = (&args.token_keys, &args.token_issuer) else {
        return Ok(None);
    };
    TokenIssuer::open(
        issuer.clone(),
        args.token_audience.clone(),
        keys.clone(),
        args.trust_domain.clone(),
    )
    .map(Some)
    .context("ADIT_TOKEN_KEYS")
}
