//! AuthorizationPolicies, as tunnels enforce them: identities, addresses and ports.
//!
//! What a tunnel cannot see (methods, paths, tokens, headers) is never silently left out in the direction that lets more
//! through. In an ALLOW policy an alternative that needs it can match nothing; in a DENY policy it counts as matching, so
//! that what is left of the rule refuses more. A rule of which nothing is left refuses everything that the policy is
//! about, unless the mesh wants Istio's behaviour, where such a rule has no effect.

mod rule;

use adit_mesh::Policy;
use adit_mesh::policy::{Action, Group, PolicyScope};

use super::condition::{Condition, Reason, TUNNEL_ACCEPTED};
use super::names::{self, DRY_RUN};
use crate::kinds::AuthorizationAction;
use crate::objects::Authorization;
use crate::settings::{Settings, WithoutWaypoint};
use rule::{Loss, Why};

/// What tunnels make of a policy.
#[derive(Clone, PartialEq, Debug)]
pub struct Translated {
    /// What they enforce; none, if it is not for them.
    pub policy: Option<Policy>,
    /// What its author is told; none about what waypoints enforce.
    pub condition: Option<Condition>,
}

/// Translates a policy. `enforced` says whether a waypoint enforces it: all of its targets have one.
pub fn translate(one: &Authorization, enforced: bool, settings: &Settings) -> Translated {
    let deny = settings.without_waypoint == WithoutWaypoint::Deny;
    if !one.unknown.is_empty() {
        let fields = one.unknown.join(", ");
        return refuse_all(
            one,
            settings,
            deny || one.targets.is_empty(),
            format!("fields that are not known may be what makes it narrow: {fields}"),
        );
    }
    if !one.targets.is_empty() {
        if enforced {
            return Translated {
                policy: None,
                condition: None,
            };
        }
        let why = "it is for a waypoint, and not all of its targets have one that is ready";
        return refuse_all(one, settings, deny, why.to_owned());
    }
    let action = match one.spec.action {
        AuthorizationAction::Allow => Action::Allow,
        AuthorizationAction::Deny => Action::Deny,
        // It never decides, and the access log has every connection.
        AuthorizationAction::Audit => {
            return told(
                None,
                false,
                "AUDIT has no effect at a tunnel; its access log has every connection".to_owned(),
            );
        }
        AuthorizationAction::Custom => {
            let why = "CUSTOM needs a waypoint: give it targetRefs";
            return refuse_all(one, settings, deny, why.to_owned());
        }
    };
    let mut losses = Vec::new();
    let mut groups = Vec::new();
    for (index, rule) in one.spec.rules.iter().enumerate() {
        let (group, lost) = rule::translate(rule, action, &one.meta.name.namespace);
        let everything = group.as_ref().is_some_and(|group| group.clauses.is_empty());
        let without_effect = !lost.is_empty() && everything && action == Action::Deny && !deny;
        groups.extend(group.filter(|_| !without_effect));
        losses.extend(lost.into_iter().map(|loss| (index, loss)));
    }
    let policy = Policy {
        key: names::authorization(&one.meta.name),
        scope: scope(one, settings),
        action,
        groups: groups.into(),
        dry_run: one
            .meta
            .annotations
            .get(DRY_RUN)
            .is_some_and(|value| *value == "true"),
    };
    match policy.checked() {
        Ok(policy) if losses.is_empty() => Translated {
            policy: Some(policy),
            condition: Some(Condition {
                kind: TUNNEL_ACCEPTED,
                holds: true,
                reason: Reason::Accepted,
                message: "attached to the tunnels".to_owned(),
            }),
        },
        Ok(policy) => {
            let message = describe(&losses, action, settings);
            told(Some(policy), true, message)
        }
        Err(error) => refuse_all(one, settings, true, error.to_string()),
    }
}

/// Which workloads a policy is about.
pub fn scope(one: &Authorization, settings: &Settings) -> PolicyScope {
    if one.selector.is_some() || !one.targets.is_empty() {
        return PolicyScope::WorkloadSelector;
    }
    if one.meta.name.namespace == settings.root_namespace {
        PolicyScope::Global
    } else {
        PolicyScope::Namespace
    }
}

/// A policy that cannot be enforced refuses everything that it is about, or has no effect.
fn refuse_all(one: &Authorization, settings: &Settings, deny: bool, why: String) -> Translated {
    // What would only be looked at refuses nobody.
    let looked_at = one.spec.action == AuthorizationAction::Audit
        || one
            .meta
            .annotations
            .get(DRY_RUN)
            .is_some_and(|value| *value == "true");
    if !deny || looked_at {
        return told(None, false, format!("{why}; it has no effect"));
    }
    let policy = Policy {
        key: names::authorization(&one.meta.name),
        scope: scope(one, settings),
        action: Action::Deny,
        groups: [Group::default()].into(),
        dry_run: false,
    };
    told(
        Some(policy),
        true,
        format!("{why}; until then everything that it is about is refused"),
    )
}

fn told(policy: Option<Policy>, holds: bool, message: String) -> Translated {
    Translated {
        policy,
        condition: Some(Condition {
            kind: TUNNEL_ACCEPTED,
            holds,
            reason: Reason::UnsupportedValue,
            message,
        }),
    }
}

fn describe(losses: &[(usize, Loss)], action: Action, settings: &Settings) -> String {
    let list = losses.iter().map(|(rule, loss)| format!("rules[{rule}].{loss}"));
    let list = list.collect::<Vec<_>>().join(", ");
    let effect = match (action, settings.without_waypoint) {
        (Action::Allow, _) => "what depends on it is not allowed",
        (Action::Deny, WithoutWaypoint::Deny) => "the rest of the rule refuses, whatever they are",
        (Action::Deny, WithoutWaypoint::Istio) => {
            "the rest of the rule refuses, whatever they are, and a rule without a rest has no effect"
        }
    };
    let unseen = losses.iter().any(|(_, loss)| loss.why == Why::Unseen);
    let advice = match unseen {
        true => "; to enforce it as it is written, give it targetRefs to a waypoint",
        false => "; correct it",
    };
    format!("a tunnel cannot obey {list}: {effect}{advice}")
}
