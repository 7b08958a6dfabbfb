//! Whether a connection may enter a workload, and why.
//!
//! The order is Istio's: a DENY policy that matches refuses; where no ALLOW policy applies, everything may enter;
//! where one does, something must match one of them. Two things are stricter than in stock ztunnel. A policy that a
//! workload names but that has not arrived, or that was rejected without a good version before it, refuses
//! everything: skipping it would open exactly the workloads that somebody meant to close. And a policy in
//! dry-run mode is evaluated and reported with every verdict, not only logged.
//!
//! A [`PolicySet`] is made once per change of configuration, [`decide`] runs per connection: it compares in
//! place and allocates nothing, except to explain a refusal and to report what dry-run policies would have done.

mod matching;
mod nearest;
mod verdict;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use nearest::{Miss, NearestMiss};
pub use verdict::{Decider, Decision, DryRun, Effect, Refusal, Unusable, Verdict};

use crate::identity::Identity;
use crate::policy::{Action, Policy, PolicyKey};
use crate::text::Text;

/// What is known of a policy that applies to a workload: because it is global, because it is of the workload's
/// namespace, or because the workload names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// The policy.
    Policy(Arc<Policy>),
    /// The workload names it, and it has not arrived.
    Missing(PolicyKey),
    /// It arrived, was rejected, and there is no good version from before.
    Rejected {
        /// Its name.
        key: PolicyKey,
        /// Why it was rejected.
        reason: Text,
    },
}

/// Every policy that applies to one workload, in the order in which they are asked.
///
/// Within each kind policies stand in the order of their names, so that the same policies make an equal set and
/// an equal verdict in whatever order they arrived.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PolicySet {
    deny: Box<[Arc<Policy>]>,
    unusable: Box<[(PolicyKey, Unusable)]>,
    allow: Box<[Arc<Policy>]>,
    dry_run: Box<[Arc<Policy>]>,
}

impl PolicySet {
    /// Puts the policies of a workload together. Naming one several times is the same as naming it once.
    pub fn new(policies: impl IntoIterator<Item = Applied>) -> Self {
        let (mut deny, mut allow, mut dry_run, mut unusable) = (vec![], vec![], vec![], vec![]);
        for applied in policies {
            match applied {
                Applied::Policy(policy) if policy.dry_run => dry_run.push(policy),
                Applied::Policy(policy) => match policy.action {
                    Action::Deny => deny.push(policy),
                    Action::Allow => allow.push(policy),
                },
                Applied::Missing(key) => unusable.push((key, Unusable::Missing)),
                Applied::Rejected { key, reason } => unusable.push((key, Unusable::Rejected(reason))),
            }
        }
        unusable.sort();
        unusable.dedup();
        Self {
            deny: in_order(deny),
            unusable: unusable.into(),
            allow: in_order(allow),
            dry_run: in_order(dry_run),
        }
    }

    /// Whether nothing applies: no enforced policy, none in dry-run mode, none missing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every policy that arrived: those that deny, those that allow, those in dry-run mode.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.deny.iter().chain(&self.allow).chain(&self.dry_run)
    }

    /// The policies that apply and cannot be evaluated. While there is one, nothing may enter.
    pub fn unusable(&self) -> impl Iterator<Item = &(PolicyKey, Unusable)> {
        self.unusable.iter()
    }

    /// Whether one of them has not arrived: it may be on its way, because a control plane sends workloads and policies
    /// one after the other.
    pub fn is_awaited(&self) -> bool {
        self.unusable.iter().any(|(_, why)| *why == Unusable::Missing)
    }
}

/// What policies look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection<'a> {
    /// Who the client proved to be; nobody on a plaintext connection.
    pub peer: Option<&'a Identity>,
    /// The client's address.
    pub source: IpAddr,
    /// What is called, after resolution: the workload's address and the port that the application listens on, never
    /// the tunnel's own.
    pub destination: SocketAddr,
}

/// Decides whether a connection may enter the workload that `policies` apply to.
pub fn decide(policies: &PolicySet, connection: &Connection<'_>) -> Verdict {
    let connection = Connection {
        peer: connection.peer,
        source: connection.source.to_canonical(),
        destination: SocketAddr::new(
            connection.destination.ip().to_canonical(),
            connection.destination.port(),
        ),
    };
    let decision = enforced(policies, &connection);
    let dry_run = shadowed(policies, &connection, &decision);
    Verdict { decision, dry_run }
}

fn enforced(policies: &PolicySet, connection: &Connection<'_>) -> Decision {
    if let Some(by) = first_match(&policies.deny, connection) {
        return Decision::Denied(Refusal::Denied(by));
    }
    if let Some((policy, unusable)) = policies.unusable.first() {
        return Decision::Denied(Refusal::Unusable {
            policy: policy.clone(),
            why: unusable.clone(),
        });
    }
    if policies.allow.is_empty() {
        return Decision::Allowed { by: None };
    }
    match first_match(&policies.allow, connection) {
        Some(by) => Decision::Allowed { by: Some(by) },
        None => Decision::Denied(Refusal::NotAllowed {
            policies: policies.allow.iter().map(|policy| policy.key.clone()).collect(),
            nearest: nearest::find(&policies.allow, connection),
        }),
    }
}

/// What each dry-run policy would have changed, were it alone enforced beside the others.
fn shadowed(policies: &PolicySet, connection: &Connection<'_>, decision: &Decision) -> Vec<DryRun> {
    let allowed_explicitly = matches!(decision, Decision::Allowed { by: Some(_) });
    let effect = |policy: &Policy| match (policy.action, matching::matching_rule(policy, connection)) {
        (Action::Deny, Some(rule)) => Some(Effect::Deny { rule }),
        (Action::Deny, None) => None,
        (Action::Allow, Some(rule)) => Some(Effect::Allow { rule }),
        (Action::Allow, None) if allowed_explicitly => None,
        (Action::Allow, None) => Some(Effect::NotAllow),
    };
    policies
        .dry_run
        .iter()
        .filter_map(|policy| {
            effect(policy).map(|effect| DryRun {
                policy: policy.key.clone(),
                effect,
            })
        })
        .collect()
}

fn first_match(policies: &[Arc<Policy>], connection: &Connection<'_>) -> Option<Decider> {
    policies.iter().find_map(|policy| {
        matching::matching_rule(policy, connection).map(|rule| Decider {
            policy: policy.key.clone(),
            rule,
        })
    })
}

fn in_order(mut policies: Vec<Arc<Policy>>) -> Box<[Arc<Policy>]> {
    policies.sort_by(|one, other| one.key.cmp(&other.key));
    policies.dedup();
    policies.into()
}

#[cfg(test)]
mod tests;
