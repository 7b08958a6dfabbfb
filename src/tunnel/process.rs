//! The process: what is started, in which order, and how it ends.
//!
//! The calling thread is the control runtime: configuration, certificates, the agent's socket and the servers for
//! operators live here, so that a slow scrape never delays traffic. Traffic lives on the workers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_discovery::authority::kept::forget_others;
use adit_discovery::{Kept, KeptIssuer, LocalSource, Memory, RemoteAuthority, RemoteSource, Status};
use adit_mesh::Text;
use adit_mesh::registry::{LocalNode, Store};
use adit_net::rlimit::{self, OpenFiles};
use adit_net::{memory, namespace};
use adit_pki::manager::ManagerOptions;
use adit_pki::{CertificateManager, Issuer, LocalCa, TlsOptions, TrustStore};
use adit_telemetry::access::AccessLog;
use adit_telemetry::log::{Format, Log};
use adit_telemetry::metrics::{Build, Metrics};
use adit_telemetry::runtime::threads::Workers;
use adit_telemetry::runtime::{drain, panics, signals::Signals};
use adit_telemetry::server::readiness::Readiness;
use adit_telemetry::spans::{self, Exporter, Spans};
use anyhow::Context;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin;
use crate::cli::Args;
use crate::config::{CertificateSource, Config, Environment, LogFormat, MeshSource, State};
use crate::limits;
use crate::pods::PodManager;
use crate::recheck;
use crate::worker::{Shared, Worker};

/// When everything that only the start needs has run.
const STARTED: Duration = Duration::from_secs(3);
/// How often certificates of pods that have gone are looked for. Longer than a tunnel takes to hear of its pods, so that a
/// successor does not forget what it is about to need.
const FORGET: Duration = Duration::from_secs(300);
/// What the log may take to be written at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the tunnel until it is told to end.
///
/// # Errors
/// Whatever keeps it from starting, named; nothing of it is half started then.
pub fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::new(args, &Environment::of_this_process())?;
    let format = match config.process.logging.format {
        LogFormat::Plain => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let log = Log::start(format, Some(&config.process.logging.levels), std::io::stdout())?;
    panics::install();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control runtime")?
        .block_on(control(config, &log));
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    log.writer.flush(LAST_LINES);
    result
}

async fn control(config: Config, log: &Log) -> anyhow::Result<()> {
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let open_files = start_up(&config)?;
    let readiness = Readiness::default();
    let complete = readiness.block("configuration");
    let metrics = Metrics::new(
        &Build {
            component: "ztunnel",
            tag: env!("CARGO_PKG_VERSION").to_owned(),
        },
        &log.writer,
    );
    let (spans, exporter) = spans(&config, &metrics).await?;
    let kept = kept(&config)?;
    let certificates = certificates(&config, kept.as_ref())?;
    let store = Arc::new(Store::new(LocalNode {
        name: Text::from(config.node.name.as_deref().unwrap_or_default()),
        network: Text::from(config.node.network.as_str()),
        cluster: Text::from(config.node.cluster.as_str()),
    }));
    let source = Source::new(&config, &store, kept.as_ref());
    let (name, changes, status) = (source.name(), source.changed(), source.status());
    let process = config.process.clone();
    let agent_socket = config.agent_socket.clone();
    let shared = Arc::new(Shared {
        node: limits::Node::new(&config.limits, open_files.for_connections()),
        config,
        store: store.clone(),
        changes: changes.clone(),
        certificates,
        metrics: metrics.clone(),
        access: AccessLog::new(log.writer.clone()),
        spans,
    });
    watch_certificates(&shared);
    let workers = start_workers(&shared)?;
    let pods = PodManager::new(shared.clone(), workers.clone(), readiness.clone());
    let (drain, draining) = drain::channel();
    let (quit, mut quitting) = tokio::sync::mpsc::channel(1);
    let state = admin::State {
        shared: shared.clone(),
        pods: pods.clone(),
        status: status.clone(),
    };
    admin::serve(state, &process.ports, &log.levels, &readiness, quit, &draining)?;
    if let Some(exporter) = exporter {
        tokio::spawn(exporter.run(draining.clone()));
    }
    drop(draining);
    let open = rlimit::count_open().context("cannot count the open files in /proc/self/fd")?;
    shared.node.started(open);

    source.start();
    tokio::spawn(admin::follow(shared.clone(), name, changes, status, complete));
    tokio::spawn(pods.clone().balance());
    tokio::spawn(release_code());
    if let Some(kept) = kept {
        tokio::spawn(forget(kept, shared.certificates.clone()));
    }
    let mut agent = pods.clone();
    let agent = tokio::spawn(async move { adit_zds::client::run(&agent_socket, &mut agent).await });

    tokio::select! {
        signal = signals.next() => tracing::info!(?signal, "told to end"),
        _ = quitting.recv() => tracing::info!("told to end by /quitquitquit"),
    }
    // A pod that the agent sends now belongs to our successor.
    agent.abort();
    let deadline = Instant::now() + process.drain_deadline;
    tracing::info!(within = ?process.drain_deadline, "draining connections");
    tokio::select! {
        cut = pods.shutdown(deadline) => tracing::info!(connections_cut = cut, "drained"),
        () = signals.impatient() => {
            tracing::warn!("interrupted again: ending at once");
            // They still write their log lines.
            let _ = tokio::time::timeout(LAST_LINES, pods.cut()).await;
        }
    }
    drain.start(Instant::now() + LAST_LINES);
    let _ = tokio::time::timeout(LAST_LINES, drain.finished()).await;
    Ok(())
}

/// Where the mesh comes from.
enum Source {
    File(LocalSource),
    ControlPlane(Box<RemoteSource>),
}

impl Source {
    fn new(config: &Config, store: &Arc<Store>, kept: Option<&Kept>) -> Self {
        match &config.mesh {
            MeshSource::File(path) => Self::File(LocalSource::new(path.clone(), store.clone())),
            MeshSource::ControlPlane(control_plane) => Self::ControlPlane(Box::new(RemoteSource::new(
                (**control_plane).clone(),
                config.node.description(),
                store.clone(),
                kept.zip(config.state.as_ref()).map(|(kept, state)| Memory {
                    kept: kept.clone(),
                    longest: state.max_age,
                }),
            ))),
        }
    }

    /// Its name in metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "local",
            Self::ControlPlane(_) => "xds",
        }
    }

    fn changed(&self) -> watch::Receiver<u64> {
        match self {
            Self::File(source) => source.changed(),
            Self::ControlPlane(source) => source.changed(),
        }
    }

    fn status(&self) -> watch::Receiver<Status> {
        match self {
            Self::File(source) => source.status(),
            Self::ControlPlane(source) => source.status(),
        }
    }

    fn start(self) {
        match self {
            Self::File(source) => drop(tokio::spawn(source.run())),
            Self::ControlPlane(source) => drop(tokio::spawn(source.run())),
        }
    }
}

/// Checks what can be checked at once; how many files may be open.
fn start_up(config: &Config) -> anyhow::Result<OpenFiles> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "adit tunnel");
    for unsupported in &config.unsupported {
        tracing::warn!("{unsupported}");
    }
    namespace::check_privileges()?;
    match rlimit::raise_open_files() {
        Ok(limit) => {
            tracing::debug!(?limit, "open files");
            Ok(limit)
        }
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            OpenFiles::current().context("cannot read the limit of open files (RLIMIT_NOFILE)")
        }
    }
}

/// Two thirds of what is resident after the start is code that is not used again.
async fn release_code() {
    tokio::time::sleep(STARTED).await;
    match memory::release_code() {
        Ok(bytes) => tracing::debug!(bytes, "the code that the start used is not held any more"),
        Err(error) => tracing::debug!(%error, "the code that the start used stays resident"),
    }
}

/// The queue of spans and what empties it, where a collector is configured.
async fn spans(config: &Config, metrics: &Metrics) -> anyhow::Result<(Option<Spans>, Option<Exporter>)> {
    let Some(settings) = &config.spans else {
        return Ok((None, None));
    };
    let (spans, exporter) = spans::queue(settings.clone(), metrics.spans.clone());
    exporter.check().await.context(
        "OTEL_EXPORTER_OTLP_CERTIFICATE, or our own certificate or key towards the collector of spans",
    )?;
    tracing::info!(collector = %settings.collector.endpoint, sampler = ?settings.sampler, "spans are exported");
    Ok((Some(spans), Some(exporter)))
}

/// The directory in which things are kept for a successor.
fn kept(config: &Config) -> anyhow::Result<Option<Kept>> {
    let open = |state: &State| Kept::open(&state.directory).context("ADIT_STATE_DIR");
    config.state.as_ref().map(open).transpose()
}

/// Forgets the kept certificates of pods that have gone.
async fn forget(kept: Kept, certificates: CertificateManager) {
    loop {
        tokio::time::sleep(FORGET).await;
        let held = certificates.list().into_iter().map(|status| status.identity);
        forget_others(&kept, held);
    }
}

fn certificates(config: &Config, kept: Option<&Kept>) -> anyhow::Result<CertificateManager> {
    let settings = &config.certificates;
    let trust = TrustStore::open(&settings.trust_options())?;
    // Following ends with the process.
    std::mem::forget(trust.follow_files());
    let issuer: Arc<dyn Issuer> = match &settings.source {
        CertificateSource::LocalCa(directory) => Arc::new(LocalCa::open_or_create(
            directory,
            settings.ttl,
            SystemTime::now(),
        )?),
        CertificateSource::ControlPlane(control_plane) => {
            let remote = Arc::new(RemoteAuthority::new((**control_plane).clone(), settings.ttl));
            match kept.filter(|_| config.state.as_ref().is_some_and(|state| state.keys)) {
                Some(kept) => Arc::new(KeptIssuer::new(remote, kept.clone())),
                None => remote,
            }
        }
    };
    let tls = TlsOptions {
        compliance: settings.compliance,
        ..TlsOptions::default()
    };
    Ok(CertificateManager::new(
        issuer,
        &trust,
        ManagerOptions {
            tls,
            ..ManagerOptions::default()
        },
    ))
}

fn watch_certificates(shared: &Shared) {
    let certificates = shared.certificates.clone();
    shared.metrics.watch_certificates(Box::new(move || {
        let held = certificates.list().into_iter();
        held.filter_map(|status| Some((status.identity.clone(), status.expires()?)))
            .collect()
    }));
}

fn start_workers(shared: &Arc<Shared>) -> anyhow::Result<Arc<Workers>> {
    let decided = &shared.config.process.workers;
    let workers = Workers::start(decided.count, "adit-worker").context("cannot start the worker threads")?;
    tracing::info!(workers = decided.count, reason = %decided.reason, "workers started");
    for handle in workers.handles() {
        let shared = shared.clone();
        handle.spawn(move || recheck::run(Worker::install(shared)))?;
    }
    shared.metrics.watch_workers(workers.handles());
    Ok(Arc::new(workers))
}
