//! `/explain`: the decision functions' own values for a connection that somebody asks about, as text and as JSON.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_mesh::authorize::{self, Refusal, Verdict};
use adit_mesh::constants::HBONE_PORT;
use adit_mesh::registry::Registry;
use adit_mesh::route::{self, Authority, Choice, NoLoad, Route};
use adit_mesh::{Identity, Workload};
use adit_telemetry::server::router::{Request, Response, json, text};
use http::StatusCode;
use serde_json::{Value, json};

use super::State;

/// Answers one question from what is known now.
pub(super) fn answer(state: &State, request: &Request) -> Response {
    explain(&state.shared.store.snapshot(), request)
}

/// Answers one question from `registry`: 200 with the decision, or 400 with what the question lacks.
pub fn explain(registry: &Registry, request: &Request) -> Response {
    let explained = match request.parameter("direction").unwrap_or("outbound") {
        "outbound" => outbound(registry, request),
        "inbound" => inbound(registry, request),
        other => Err(format!("direction={other}: outbound or inbound")),
    };
    match explained {
        Ok(explained) if request.wants_json() => json(explained.json.to_string()),
        Ok(explained) => text(StatusCode::OK, explained.text),
        Err(problem) => text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
    }
}

struct Explained {
    text: String,
    json: Value,
}

/// Where would a connection of a pod of this node go, and would the destination's policies, as far as they are known
/// here, let it in?
fn outbound(registry: &Registry, request: &Request) -> Result<Explained, String> {
    let source = workload(registry, request, "source")?;
    let destination = destination(request)?;
    let mut random = fastrand::Rng::new();
    let mut choice = Choice {
        random: &mut random,
        load: &NoLoad,
        tried: &[],
    };
    let route = route::decide(registry, &source, destination, &mut choice);
    let mut lines = vec![
        format!("source       {} ({})", name(&source), source.identity),
        format!("destination  {destination}"),
    ];
    lines.extend(describe_route(&route));
    let judged = judge_far_end(registry, &source, &route);
    if let Some(verdict) = &judged {
        lines.push(format!("verdict      {verdict}"));
    }
    Ok(Explained {
        text: lines.join("\n") + "\n",
        json: json!({
            "direction": "outbound",
            "source": { "workload": name(&source), "identity": source.identity.to_string() },
            "destination": destination.to_string(),
            "route": route_json(&route),
            "verdict": judged.as_ref().map(verdict_json),
        }),
    })
}

/// The destination decides by its own policies; every tunnel knows them all, so the answer can be foretold.
fn judge_far_end(registry: &Registry, source: &Workload, route: &Route) -> Option<Verdict> {
    let (hop, identity) = match route {
        Route::Hbone(tunnelled) => (&tunnelled.hop, Some(&source.identity)),
        Route::Direct(hop) => (hop, None),
        Route::Passthrough { .. } | Route::Refuse(_) => return None,
    };
    let destination = hop.destination.as_ref()?;
    let policies = registry.policies_of(destination);
    let ip = source
        .addresses
        .first()
        .copied()
        .unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let connection = authorize::Connection {
        peer: identity,
        source: ip,
        destination: hop.target,
    };
    Some(authorize::decide(&policies, &connection))
}

/// Would this pod let a client in?
fn inbound(registry: &Registry, request: &Request) -> Result<Explained, String> {
    let destination = destination(request)?;
    let network = &registry.node().network;
    let local = registry
        .workload_at(network, destination.ip())
        .ok_or_else(|| format!("destination={destination}: no workload has this address"))?;
    let policies = registry.policies_of(local);
    let (who, identity, ip) = client(registry, request)?;
    let delivered = match &identity {
        Some(_) => {
            let socket = SocketAddr::new(destination.ip(), HBONE_PORT);
            route::accept(registry, local, socket, &Authority::Address(destination))
        }
        None => route::accept_plaintext(registry, local, destination),
    };
    let delivery = delivered.map_err(|refusal| format!("destination={destination}: refused, {refusal}"))?;
    let connection = authorize::Connection {
        peer: identity.as_ref(),
        source: ip,
        // With an application tunnel, policies are for the port that it leads to.
        destination: delivery.authorized,
    };
    let verdict = authorize::decide(&policies, &connection);
    let shown = identity
        .as_ref()
        .map_or_else(|| "no identity (plaintext)".to_owned(), Identity::to_string);
    Ok(Explained {
        text: format!(
            "source       {who} ({shown})\ndestination  {} {destination}\nverdict      {verdict}\n",
            name(local)
        ),
        json: json!({
            "direction": "inbound",
            "source": { "workload": who, "identity": identity.as_ref().map(ToString::to_string), "address": ip.to_string() },
            "destination": { "workload": name(local), "address": destination.to_string() },
            "verdict": verdict_json(&verdict),
        }),
    })
}

/// A client by pod or address. One that is not a workload that speaks HBONE comes in plaintext.
fn client(registry: &Registry, request: &Request) -> Result<(String, Option<Identity>, IpAddr), String> {
    match workload(registry, request, "source") {
        Ok(client) => {
            let ip = client
                .addresses
                .first()
                .copied()
                .unwrap_or(IpAddr::from([0, 0, 0, 0]));
            let speaks_hbone = client.protocol == adit_mesh::workload::TunnelProtocol::Hbone;
            let identity = speaks_hbone.then(|| client.identity.clone());
            Ok((name(&client), identity, ip))
        }
        Err(problem) => match request.parameter("source").map(str::parse::<IpAddr>) {
            Some(Ok(ip)) => {
                let ip = ip.to_canonical();
                Ok((ip.to_string(), None, ip))
            }
            _ => Err(problem),
        },
    }
}

fn destination(request: &Request) -> Result<SocketAddr, String> {
    let text = request
        .parameter("destination")
        .ok_or("?destination=<ip:port> is missing")?;
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    text.parse()
        .map(canonical)
        .map_err(|_| format!("destination={text}: an address and a port, as in 10.0.0.1:80 or [fd00::1]:80"))
}

/// A workload by address, uid, `namespace/name`, or name where only one has it.
fn workload(registry: &Registry, request: &Request, parameter: &str) -> Result<Arc<Workload>, String> {
    let text = request
        .parameter(parameter)
        .ok_or_else(|| format!("?{parameter}=<pod or ip> is missing"))?;
    if let Ok(ip) = text.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        let network = &registry.node().network;
        let found = registry.workload_at(network, ip);
        return found
            .cloned()
            .ok_or_else(|| format!("{parameter}={text}: no workload has this address"));
    }
    if let Some(found) = registry.workload(text) {
        return Ok(found.clone());
    }
    let matches = |workload: &&Arc<Workload>| match text.split_once('/') {
        Some((namespace, name)) => *workload.namespace() == namespace && workload.name == name,
        None => workload.name == text,
    };
    let mut found = registry.workloads().filter(matches);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(_), Some(_)) => Err(format!(
            "{parameter}={text}: several workloads have this name; give namespace/name"
        )),
        (None, _) => Err(format!("{parameter}={text}: no such workload")),
    }
}

fn name(workload: &Workload) -> String {
    format!("{}/{}", workload.namespace(), workload.name)
}

fn describe_route(route: &Route) -> Vec<String> {
    match route {
        Route::Passthrough { address, service } => {
            let why = match service {
                Some(service) => format!("{} is a passthrough service", service.key),
                None => "nobody in the mesh has this address".to_owned(),
            };
            vec![format!("route        passthrough to {address}: {why}")]
        }
        Route::Direct(hop) => vec![format!(
            "route        plaintext to {} at {}: it does not speak HBONE",
            name(&hop.peer),
            hop.address
        )],
        Route::Hbone(tunnelled) => {
            let expected: Vec<_> = tunnelled.expected.iter().map(ToString::to_string).collect();
            let mut lines = Vec::new();
            if let Some(service) = &tunnelled.hop.service {
                lines.push(format!("service      {}", service.key));
            }
            lines.push(format!(
                "route        HBONE to {} at {} ({:?}), for {}",
                name(&tunnelled.hop.peer),
                tunnelled.hop.address,
                tunnelled.via,
                tunnelled.authority
            ));
            lines.push(format!("must prove   {}", expected.join(" or ")));
            lines
        }
        Route::Refuse(refusal) => vec![format!("route        refused: {refusal}")],
    }
}

fn route_json(route: &Route) -> Value {
    match route {
        Route::Passthrough { address, service } => json!({
            "kind": "passthrough",
            "address": address.to_string(),
            "service": service.as_ref().map(|service| service.key.to_string()),
        }),
        Route::Direct(hop) => json!({
            "kind": "plaintext",
            "address": hop.address.to_string(),
            "workload": name(&hop.peer),
            "service": hop.service.as_ref().map(|service| service.key.to_string()),
        }),
        Route::Hbone(tunnelled) => json!({
            "kind": "hbone",
            "address": tunnelled.hop.address.to_string(),
            "authority": tunnelled.authority.to_string(),
            "workload": name(&tunnelled.hop.peer),
            "via": format!("{:?}", tunnelled.via).to_lowercase(),
            "service": tunnelled.hop.service.as_ref().map(|service| service.key.to_string()),
            "expectedIdentities": tunnelled.expected.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Route::Refuse(refusal) => json!({
            "kind": "refused",
            "outcome": refusal.outcome.name(),
            "responseFlags": refusal.outcome.response_flags(),
            "detail": refusal.detail,
        }),
    }
}

fn verdict_json(verdict: &Verdict) -> Value {
    let refusal = verdict.refusal();
    json!({
        "allowed": verdict.is_allowed(),
        "outcome": verdict.outcome().map(|outcome| outcome.name()),
        "policy": match (&verdict.decision, refusal) {
            (authorize::Decision::Allowed { by: Some(by) }, _) => Some(by.policy.to_string()),
            (_, Some(refusal)) => refusal.policy().map(ToString::to_string),
            _ => None,
        },
        "rule": match (&verdict.decision, refusal) {
            (authorize::Decision::Allowed { by: Some(by) }, _) => Some(by.rule),
            (_, Some(refusal)) => refusal.rule(),
            _ => None,
        },
        "nearestMiss": refusal.and_then(nearest_miss),
        "explanation": verdict.to_string(),
        "dryRun": verdict.dry_run.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// The rule that came closest to allowing, and each of its conditions that failed.
fn nearest_miss(refusal: &Refusal) -> Option<Value> {
    let Refusal::NotAllowed {
        nearest: Some(nearest),
        ..
    } = refusal
    else {
        return None;
    };
    let misses = nearest.misses.iter().map(|miss| {
        json!({
            "field": miss.field.to_string(),
            "wanted": miss.wanted,
            "actual": miss.actual,
        })
    });
    Some(json!({
        "policy": nearest.policy.to_string(),
        "rule": nearest.rule,
        "misses": misses.collect::<Vec<_>>(),
    }))
}
