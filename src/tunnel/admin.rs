//! What operators see: the administration, metrics and readiness servers, on the control runtime.

mod dump;
mod explain;
mod follow;

use std::sync::Arc;

use adit_discovery::Status;
use adit_mesh::Identity;
use adit_telemetry::log::Levels;
use adit_telemetry::runtime::drain::DrainWatcher;
use adit_telemetry::server::readiness::Readiness;
use adit_telemetry::server::router::{Request, Response, json, text};
use adit_telemetry::server::{Reach, Server, admin, stats};
use http::StatusCode;
use tokio::sync::{mpsc, watch};

use crate::allocator;
use crate::config::Ports;
use crate::pods::PodManager;
use crate::worker::Shared;

pub use explain::explain;
pub(crate) use follow::follow;

/// What the pages show.
#[derive(Clone)]
pub(crate) struct State {
    pub shared: Arc<Shared>,
    pub pods: PodManager,
    pub status: watch::Receiver<Status>,
}

/// Opens the three servers.
///
/// # Errors
/// A port that cannot be listened on.
pub(crate) fn serve(
    state: State,
    ports: &Ports,
    levels: &Levels,
    readiness: &Readiness,
    quit: mpsc::Sender<()>,
    draining: &DrainWatcher,
) -> anyhow::Result<()> {
    let ask_to_quit = move || {
        // Full means that it was asked for already.
        let _ = quit.try_send(());
    };
    let metrics = state.shared.metrics.clone();
    let router = pages(
        state,
        admin::router(levels, ask_to_quit, Some(allocator::profile())),
    );
    let servers = [
        Server::bind(Reach::Loopback, ports.admin, "ADIT_PORT_ADMIN", router)?,
        Server::bind(
            Reach::Everywhere,
            ports.stats,
            "ADIT_PORT_STATS",
            stats::router(&metrics),
        )?,
        Server::bind(
            Reach::Everywhere,
            ports.readiness,
            "ADIT_PORT_READINESS",
            readiness.router(),
        )?,
    ];
    for server in servers {
        tokio::spawn(server.serve(draining.clone()));
    }
    Ok(())
}

fn pages(
    state: State,
    router: adit_telemetry::server::router::Router,
) -> adit_telemetry::server::router::Router {
    let (dump, explain, renew) = (state.clone(), state.clone(), state);
    router
        .get(
            "/config_dump",
            "everything that is configured and alive, as JSON",
            move |_| {
                let state = dump.clone();
                async move { json(dump::dump(&state).await.to_string()) }
            },
        )
        .get(
            "/explain",
            "what would be decided; ?source=<pod or ip>&destination=<ip:port>&direction=outbound|inbound",
            move |request| {
                let answer = explain::answer(&explain, &request);
                async { answer }
            },
        )
        .post(
            "/debug/pprof/heap/profiling",
            "sampling of the heap; ?activate=true|false",
            |request| {
                let answer = sample_heap(&request);
                async { answer }
            },
        )
        .post(
            "/certificates/renew",
            "replaces a certificate now; ?identity=<SPIFFE ID>",
            move |request| {
                let answer = renew_certificate(&renew, &request);
                async { answer }
            },
        )
}

fn sample_heap(request: &Request) -> Response {
    let Some(activate) = request.parameter("activate").and_then(|value| value.parse().ok()) else {
        return text(
            StatusCode::BAD_REQUEST,
            "?activate=true or ?activate=false is missing\n",
        );
    };
    match allocator::sample(activate) {
        Ok(()) if activate => text(StatusCode::OK, "heap profiling is on\n"),
        Ok(()) => text(StatusCode::OK, "heap profiling is off\n"),
        Err(problem) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")),
    }
}

fn renew_certificate(state: &State, request: &Request) -> Response {
    let identity = match request.parameter("identity").map(str::parse::<Identity>) {
        Some(Ok(identity)) => identity,
        Some(Err(error)) => return text(StatusCode::BAD_REQUEST, format!("identity: {error}\n")),
        None => return text(StatusCode::BAD_REQUEST, "?identity=<SPIFFE ID> is missing\n"),
    };
    let certificates = &state.shared.certificates;
    if !certificates.list().iter().any(|held| held.identity == identity) {
        return text(
            StatusCode::NOT_FOUND,
            format!("no pod here has the identity {identity}\n"),
        );
    }
    certificates.renew(&identity);
    text(
        StatusCode::OK,
        format!("asked for a new certificate of {identity}\n"),
    )
}
