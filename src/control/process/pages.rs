//! What operators see: metrics, and who has which configuration.

use std::sync::Arc;
use std::time::Instant;

use adit_discovery::xds::server::Client;
use adit_discovery::xds::{Catalog, Clients, Kind};
use adit_telemetry::server::StatusCode;
use adit_telemetry::server::router::{Router, json, with_type};
use serde_json::{Map, Value, json as value};
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::mill::Conditions;

/// Prometheus' text format, the newer one.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the pages show.
#[derive(Clone)]
pub(super) struct Pages {
    pub(super) metrics: Arc<Metrics>,
    pub(super) clients: Clients,
    pub(super) published: watch::Receiver<Option<Catalog>>,
    pub(super) conditions: watch::Receiver<Conditions>,
}

impl Pages {
    pub(super) fn router(&self) -> Router {
        let (metrics, sync, registry, conditions) = (self.clone(), self.clone(), self.clone(), self.clone());
        Router::default()
            .get("/metrics", "metrics, for Prometheus", move |_| {
                let text = metrics.metrics.encode(&metrics.clients);
                async { with_type(StatusCode::OK, OPEN_METRICS, text) }
            })
            .get(
                "/debug/syncz",
                "the clients, and how far each has come",
                move |_| {
                    let text = sync.syncz().to_string();
                    async { json(text) }
                },
            )
            .get(
                "/debug/registryz",
                "the names and versions of all resources",
                move |_| {
                    let text = registry.registryz().to_string();
                    async { json(text) }
                },
            )
            .get(
                "/debug/conditions",
                "what the authors of objects are told",
                move |_| {
                    let text = conditions.told().to_string();
                    async { json(text) }
                },
            )
    }

    fn syncz(&self) -> Value {
        let now = Instant::now();
        let generation = self.published.borrow().as_ref().map(Catalog::generation);
        let clients = self.clients.list();
        let clients = clients.iter().map(|client| shown(client, generation, now));
        value!({ "generation": generation, "clients": clients.collect::<Vec<_>>() })
    }

    fn registryz(&self) -> Value {
        let published = self.published.borrow().clone();
        let mut kinds = Map::new();
        for kind in [Kind::Address, Kind::Authorization] {
            let all = published.iter().flat_map(|catalog| catalog.all(kind));
            let versions: Map<_, _> = all
                .map(|one| {
                    (
                        one.name().to_string(),
                        Value::from(format!("{:016x}", one.version())),
                    )
                })
                .collect();
            kinds.insert(kind.name().to_owned(), versions.into());
        }
        kinds.into()
    }

    fn told(&self) -> Value {
        let conditions = self.conditions.borrow().clone();
        let shown = conditions.iter().map(|(object, conditions)| {
            let conditions = conditions.iter().map(|one| {
                value!({
                    "type": one.kind,
                    "status": one.holds,
                    "reason": one.reason.as_str(),
                    "message": one.message,
                })
            });
            (object.clone(), conditions.collect::<Vec<_>>().into())
        });
        shown.collect::<Map<_, _>>().into()
    }
}

fn shown(client: &Client, generation: Option<u64>, now: Instant) -> Value {
    let kinds = client.kinds.iter().map(|(kind, progress)| {
        let age = |at: Option<Instant>| at.map(|at| (now - at).as_secs_f64());
        // What it has accepted is the newest for its kind, or it has been sent nothing since.
        let state = match &progress.refused {
            Some(_) => "NACK",
            None if progress.sent.is_none() => "NOT SENT",
            None if progress.accepted == progress.sent => "SYNCED",
            None => "STALE",
        };
        let shown = value!({
            "state": state,
            "sent": progress.sent,
            "accepted": progress.accepted,
            "acceptedSecondsAgo": age(progress.accepted_at),
            "refused": progress.refused,
            "refusals": progress.refusals,
            "onDemand": progress.on_demand,
        });
        (kind.name().to_owned(), shown)
    });
    value!({
        "id": client.node.id.as_str(),
        "node": client.node.node.as_str(),
        "version": client.node.version.as_str(),
        "identity": client.identity.to_string(),
        "proof": client.proof.to_string(),
        "address": client.address.map(|address| address.to_string()),
        "connectedSeconds": (now - client.since).as_secs_f64(),
        "generation": generation,
        "kinds": kinds.collect::<Map<_, _>>(),
    })
}
