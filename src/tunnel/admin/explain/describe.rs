//! Decisions in words and as JSON.

use adit_mesh::Workload;
use adit_mesh::authorize::{self, Refusal, Verdict};
use adit_mesh::route::Route;
use serde_json::{Value, json};

/// A workload as people call it.
pub(super) fn name(workload: &Workload) -> String {
    format!("{}/{}", workload.namespace(), workload.name)
}

/// Where a connection goes, a line for each thing that is known about it.
pub(super) fn route(route: &Route) -> Vec<String> {
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

/// The same for programs.
pub(super) fn route_json(route: &Route) -> Value {
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

/// Whether a connection may enter, for programs.
pub(super) fn verdict_json(verdict: &Verdict) -> Value {
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
