//! `/explain`: the decision functions' own values for a connection that somebody asks about, as text and as JSON.
//!
//! A client that its tunnel captures is asked about from its own end: where does the connection go, and would the
//! destination's policies, which every tunnel knows, let it in? Any other client only meets the destination's tunnel, so
//! for it the question is asked there. `allowed` is the answer in one word: true, false, or null where a waypoint, which
//! decides by more than is known here, has the last word.

mod describe;
mod names;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_mesh::authorize::{self, Verdict};
use adit_mesh::constants::HBONE_PORT;
use adit_mesh::registry::Registry;
use adit_mesh::route::{self, Authority, Choice, NoLoad, Route, Via};
use adit_mesh::workload::TunnelProtocol;
use adit_mesh::{Identity, Text, Workload};
use adit_telemetry::server::router::{Request, Response, json, text};
use http::StatusCode;
use serde_json::{Value, json};

use super::State;
use describe::name;

/// How many endpoints of a service are looked at. They are alike but for their policies, and a question may not keep the
/// control runtime busy.
const MOST_CANDIDATES: usize = 64;

/// Answers one question from what is known now.
pub(super) fn answer(state: &State, request: &Request) -> Response {
    explain(&state.shared.store.snapshot(), request)
}

/// Answers one question from `registry`: 200 with the decision, or 400 with what the question lacks.
pub fn explain(registry: &Registry, request: &Request) -> Response {
    let question = || {
        let parameter = |name: &str, what: &str| {
            let given = request.parameter(name);
            given.ok_or_else(|| format!("?{name}=<{what}> is missing"))
        };
        Ok(Question {
            source: parameter("source", "pod or ip")?,
            destination: parameter("destination", "service, pod or ip, and port")?,
            direction: request.parameter("direction"),
        })
    };
    match question().and_then(|question| decide(registry, &question)) {
        Ok(explained) if request.wants_json() => json(explained.json().to_string()),
        Ok(explained) => text(StatusCode::OK, explained.text),
        Err(problem) => text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
    }
}

/// What is asked.
struct Question<'a> {
    source: &'a str,
    destination: &'a str,
    direction: Option<&'a str>,
}

fn decide(registry: &Registry, question: &Question<'_>) -> Result<Explained, String> {
    let client = Client::find(registry, question.source)?;
    let destination = names::destination(registry, client.workload.as_deref(), question.destination)?;
    match (question.direction, &client.workload) {
        (Some("outbound"), Some(workload)) => Ok(outbound(registry, workload, destination)),
        (Some("outbound"), None) => Err(format!("source={}: no workload has this address", client.name)),
        (Some("inbound"), _) => inbound(registry, &client, destination),
        (Some(other), _) => Err(format!("direction={other}: outbound or inbound")),
        // Without an identity it is outside of the mesh: no tunnel is asked where its connection goes.
        (None, Some(workload)) if client.identity.is_some() => Ok(outbound(registry, workload, destination)),
        (None, _) => inbound(registry, &client, destination),
    }
}

struct Explained {
    /// Whether the connection may be made; unknown where a waypoint has the last word.
    allowed: Option<bool>,
    text: String,
    json: Value,
}

impl Explained {
    fn json(mut self) -> Value {
        self.json["allowed"] = json!(self.allowed);
        self.json["text"] = json!(self.text);
        self.json
    }
}

/// Who connects. One that is not a workload that speaks HBONE comes in plaintext, without an identity.
struct Client {
    name: String,
    workload: Option<Arc<Workload>>,
    identity: Option<Identity>,
    ip: IpAddr,
}

impl Client {
    fn find(registry: &Registry, text: &str) -> Result<Self, String> {
        match names::workload(registry, "source", text) {
            Ok(workload) => {
                let speaks_hbone = workload.protocol == TunnelProtocol::Hbone;
                Ok(Self {
                    name: name(&workload),
                    identity: speaks_hbone.then(|| workload.identity.clone()),
                    ip: first_address(&workload),
                    workload: Some(workload),
                })
            }
            Err(problem) => {
                let ip = text.parse::<IpAddr>().map_err(|_| problem)?.to_canonical();
                Ok(Self {
                    name: ip.to_string(),
                    workload: None,
                    identity: None,
                    ip,
                })
            }
        }
    }
}

fn first_address(workload: &Workload) -> IpAddr {
    let first = workload.addresses.first().copied();
    first.unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// Where would a connection of a pod go, and would the destination's policies, as far as they are known here, let it in?
fn outbound(registry: &Registry, source: &Workload, destination: SocketAddr) -> Explained {
    let candidates = candidates(registry, source, destination);
    // Of several that are as likely, the one that would refuse is what one wants to know of.
    let refused = candidates.iter().find(|one| one.allowed() == Some(false));
    let shown = refused.unwrap_or(&candidates[0]);
    let mut lines = vec![
        format!("source       {} ({})", name(source), source.identity),
        format!("destination  {destination}"),
    ];
    lines.extend(describe::route(&shown.route));
    lines.push(format!("verdict      {}", shown.verdict_text()));
    lines.extend(others(&candidates));
    lines.push(answer_line(shown.allowed()));
    Explained {
        allowed: shown.allowed(),
        text: lines.join("\n") + "\n",
        json: json!({
            "direction": "outbound",
            "source": { "workload": name(source), "identity": source.identity.to_string() },
            "destination": destination.to_string(),
            "route": describe::route_json(&shown.route),
            "verdict": shown.verdict.as_ref().map(describe::verdict_json),
            "endpoints": candidates.iter().map(Candidate::json).collect::<Vec<_>>(),
        }),
    }
}

/// A glance is enough to tell "allowed by no policy" from "allowed".
fn answer_line(allowed: Option<bool>) -> String {
    let answer = match allowed {
        Some(true) => "allowed",
        Some(false) => "refused",
        None => "left to the waypoint",
    };
    format!("answer       {answer}")
}

/// What there is to say of the endpoints that may be chosen, if there are several: a line for each where they differ.
fn others(candidates: &[Candidate]) -> Vec<String> {
    let line = |one: &Candidate| format!("endpoint     {}: {}", one.name(), one.verdict_text());
    match candidates {
        [] | [_] => Vec::new(),
        [first, rest @ ..] if rest.iter().all(|one| one.verdict_text() == first.verdict_text()) => {
            let names: Vec<_> = candidates.iter().map(Candidate::name).collect();
            vec![format!("endpoints    {}: all alike", names.join(", "))]
        }
        all => all.iter().map(line).collect(),
    }
}

/// One way that a connection may take.
struct Candidate {
    route: Route,
    /// What the destination's tunnel decides; `None` where no tunnel decides, or a waypoint does.
    verdict: Option<Verdict>,
}

impl Candidate {
    fn new(registry: &Registry, source: &Workload, route: Route) -> Self {
        let verdict = judge_far_end(registry, source, &route);
        Self { route, verdict }
    }

    /// The endpoint, if the route leads to one.
    fn peer(&self) -> Option<&Arc<Workload>> {
        match &self.route {
            Route::Hbone(tunnelled) => Some(&tunnelled.hop.peer),
            Route::Direct(hop) => Some(&hop.peer),
            Route::Passthrough { .. } | Route::Refuse(_) => None,
        }
    }

    fn name(&self) -> String {
        self.peer().map_or_else(String::new, |peer| name(peer))
    }

    /// In which rank of its service the endpoint stands, if the connection was for one and leads to an endpoint.
    fn rank(&self, registry: &Registry) -> Option<usize> {
        let hop = match &self.route {
            Route::Hbone(tunnelled) if tunnelled.via == Via::Direct => &tunnelled.hop,
            Route::Direct(hop) => hop,
            _ => return None,
        };
        let ranks = registry.ranks(&hop.service.as_ref()?.key)?;
        ranks
            .iter()
            .position(|rank| rank.endpoints().any(|endpoint| endpoint.uid == hop.peer.uid))
    }

    fn allowed(&self) -> Option<bool> {
        match (&self.route, &self.verdict) {
            (Route::Refuse(_), _) => Some(false),
            (_, Some(verdict)) => Some(verdict.is_allowed()),
            // Nobody on the way would refuse it.
            (Route::Passthrough { .. } | Route::Direct(_), None) => Some(true),
            (Route::Hbone(_), None) => None,
        }
    }

    fn verdict_text(&self) -> String {
        match (&self.route, &self.verdict) {
            (_, Some(verdict)) => verdict.to_string(),
            (Route::Refuse(refusal), None) => format!("refused: {refusal}"),
            (Route::Passthrough { .. } | Route::Direct(_), None) => {
                "not the mesh's: no tunnel stands before the destination".to_owned()
            }
            (Route::Hbone(_), None) => "the waypoint's".to_owned(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "workload": self.peer().map(|peer| name(peer)),
            "allowed": self.allowed(),
            "explanation": self.verdict_text(),
        })
    }
}

/// The routes that the connection may take with equal right: one, or one for each endpoint of the best rank of the
/// service that is called, in the order of their names. Never empty.
fn candidates(registry: &Registry, source: &Workload, destination: SocketAddr) -> Vec<Candidate> {
    let mut random = fastrand::Rng::new();
    let mut next = |tried: &[Text]| {
        let mut choice = Choice {
            random: &mut random,
            load: &NoLoad,
            tried,
        };
        let route = route::decide(registry, source, destination, &mut choice);
        Candidate::new(registry, source, route)
    };
    let first = next(&[]);
    let Some(rank) = first.rank(registry) else {
        return vec![first];
    };
    let mut tried: Vec<_> = first.peer().map(|peer| peer.uid.clone()).into_iter().collect();
    let mut found = vec![first];
    while found.len() < MOST_CANDIDATES {
        let candidate = next(&tried);
        // What follows the best rank is used only when all of that fail.
        let Some(peer) = candidate
            .peer()
            .filter(|_| candidate.rank(registry) == Some(rank))
        else {
            break;
        };
        tried.push(peer.uid.clone());
        found.push(candidate);
    }
    found.sort_by_cached_key(Candidate::name);
    found
}

/// The destination decides by its own policies; every tunnel knows them all, so the answer can be foretold. Where the
/// destination has no tunnel, policies are not enforced by anybody.
fn judge_far_end(registry: &Registry, source: &Workload, route: &Route) -> Option<Verdict> {
    let Route::Hbone(tunnelled) = route else {
        return None;
    };
    let destination = tunnelled.hop.destination.as_ref()?;
    let policies = registry.policies_of(destination);
    let connection = authorize::Connection {
        peer: Some(&source.identity),
        source: first_address(source),
        destination: tunnelled.hop.target,
    };
    Some(authorize::decide(&policies, &connection))
}

/// Would this pod let a client in?
fn inbound(registry: &Registry, client: &Client, destination: SocketAddr) -> Result<Explained, String> {
    let network = &registry.node().network;
    let local = registry
        .workload_at(network, destination.ip())
        .ok_or_else(|| not_a_workload(registry, destination))?;
    let delivered = match &client.identity {
        Some(_) => {
            let socket = SocketAddr::new(destination.ip(), HBONE_PORT);
            route::accept(registry, local, socket, &Authority::Address(destination))
        }
        None => route::accept_plaintext(registry, local, destination),
    };
    // With an application tunnel, policies are for the port that it leads to.
    let decided = delivered.map(|delivery| {
        let connection = authorize::Connection {
            peer: client.identity.as_ref(),
            source: client.ip,
            destination: delivery.authorized,
        };
        authorize::decide(&registry.policies_of(local), &connection)
    });
    let (allowed, words, verdict) = match &decided {
        Ok(verdict) => (
            verdict.is_allowed(),
            verdict.to_string(),
            describe::verdict_json(verdict),
        ),
        Err(refusal) => (
            false,
            format!("refused: {refusal}"),
            json!({ "allowed": false, "outcome": refusal.outcome.name(), "explanation": refusal.to_string() }),
        ),
    };
    let identity = client.identity.as_ref().map(ToString::to_string);
    let shown = identity.as_deref().unwrap_or("no identity (plaintext)");
    Ok(Explained {
        allowed: Some(allowed),
        text: format!(
            "source       {} ({shown})\ndestination  {} {destination}\nverdict      {words}\n{}\n",
            client.name,
            name(local),
            answer_line(Some(allowed))
        ),
        json: json!({
            "direction": "inbound",
            "source": { "workload": client.name, "identity": identity, "address": client.ip.to_string() },
            "destination": { "workload": name(local), "address": destination.to_string() },
            "verdict": verdict,
        }),
    })
}

fn not_a_workload(registry: &Registry, destination: SocketAddr) -> String {
    let network = &registry.node().network;
    match registry.services_claiming(network, destination.ip()).next() {
        Some(service) => format!(
            "destination={destination}: this is the service {}, and a client outside of the mesh reaches it without a \
             tunnel; ask about one of its pods",
            service.key
        ),
        None => format!("destination={destination}: no workload has this address"),
    }
}

#[cfg(test)]
mod tests;
