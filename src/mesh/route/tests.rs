mod authority;
mod inbound;
mod outbound;
mod plaintext;
mod waypoints;

use super::{Choice, Refusal, Route, decide};
use crate::fixtures::{Known, socket};
use crate::outcome::Outcome;
use crate::registry::Registry;
use crate::text::Text;
use crate::workload::Workload;

/// The route of `source` to `destination` for a worker that knows `load` and has tried `tried`.
fn route_with(
    registry: &Registry,
    source: &Workload,
    destination: &str,
    load: &Known,
    tried: &[Text],
    seed: u64,
) -> Route {
    let mut choice = Choice {
        random: &mut fastrand::Rng::with_seed(seed),
        load,
        tried,
    };
    decide(registry, source, socket(destination), &mut choice)
}

fn route(registry: &Registry, source: &Workload, destination: &str) -> Route {
    route_with(registry, source, destination, &Known::default(), &[], 1)
}

fn refusal(route: Route) -> Refusal {
    match route {
        Route::Refuse(refusal) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

fn outcome(registry: &Registry, source: &Workload, destination: &str) -> Outcome {
    refusal(route(registry, source, destination)).outcome
}

/// A route in one line: what is dialled, how, and what is asked for there.
fn told(route: &Route) -> String {
    match route {
        Route::Passthrough { address, service } => {
            let service = service
                .as_ref()
                .map_or(String::new(), |s| format!(" for {}", s.key));
            format!("pass {address}{service}")
        }
        Route::Direct(hop) => format!("plain {} {}", hop.peer.name, hop.address),
        Route::Hbone(tunnel) => {
            let via = if tunnel.via == super::Via::Waypoint {
                "via"
            } else {
                "to"
            };
            let hop = &tunnel.hop;
            format!("{via} {} {} for {}", hop.peer.name, hop.address, tunnel.authority)
        }
        Route::Refuse(refusal) => format!("refused {refusal}"),
    }
}
