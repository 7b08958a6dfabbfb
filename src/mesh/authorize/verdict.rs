//! What was decided about a connection, in values that logs, metrics, tests and `adit explain` share.

use std::fmt;

use super::NearestMiss;
use crate::outcome::Outcome;
use crate::policy::PolicyKey;
use crate::text::Text;

/// Whether a connection may enter, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What holds.
    pub decision: Decision,
    /// What policies in dry-run mode would have changed, each for itself; empty where they would have changed nothing.
    pub dry_run: Vec<DryRun>,
}

impl Verdict {
    /// Whether the connection may enter.
    pub fn is_allowed(&self) -> bool {
        matches!(self.decision, Decision::Allowed { .. })
    }

    /// Why not, where it may not.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.decision {
            Decision::Allowed { .. } => None,
            Decision::Denied(refusal) => Some(refusal),
        }
    }

    /// How the connection ends, where it may not enter.
    pub fn outcome(&self) -> Option<Outcome> {
        self.refusal().map(Refusal::outcome)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision {
            Decision::Allowed { by: Some(by) } => write!(f, "allowed by {by}")?,
            Decision::Allowed { by: None } => f.write_str("allowed: no policy restricts who may enter")?,
            Decision::Denied(refusal) => write!(f, "{refusal}")?,
        }
        self.dry_run
            .iter()
            .try_for_each(|dry_run| write!(f, "; {dry_run}"))
    }
}

/// What was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It may enter.
    Allowed {
        /// The rule that allows it; none where no policy restricts who may enter.
        by: Option<Decider>,
    },
    /// It may not.
    Denied(Refusal),
}

/// A rule that matched.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Decider {
    /// The policy.
    pub policy: PolicyKey,
    /// The index of its rule, from 0.
    pub rule: usize,
}

impl fmt::Display for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {} rule[{}]", self.policy, self.rule)
    }
}

/// Why a connection may not enter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A DENY policy matched.
    Denied(Decider),
    /// A policy that applies cannot be evaluated.
    Unusable {
        /// The policy.
        policy: PolicyKey,
        /// Why it cannot.
        why: Unusable,
    },
    /// Policies allow some peers, and this is none of them.
    NotAllowed {
        /// Every ALLOW policy that applies, by name.
        policies: Box<[PolicyKey]>,
        /// The rule that came closest; none where none of the policies has a rule that could ever match.
        nearest: Option<NearestMiss>,
    },
}

impl Refusal {
    /// How a connection that is refused for this reason ends.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Denied(_) => Outcome::PolicyDenied,
            Self::Unusable { .. } => Outcome::PolicyMissing,
            Self::NotAllowed { .. } => Outcome::PolicyNotAllowed,
        }
    }

    /// The policy to look at first: the one that refused, or the one that came closest to allowing.
    pub fn policy(&self) -> Option<&PolicyKey> {
        match self {
            Self::Denied(by) => Some(&by.policy),
            Self::Unusable { policy, .. } => Some(policy),
            Self::NotAllowed { policies, nearest } => nearest
                .as_ref()
                .map(|nearest| &nearest.policy)
                .or(policies.first()),
        }
    }

    /// The rule of [`Self::policy`] that refused or came closest, from 0.
    pub fn rule(&self) -> Option<usize> {
        match self {
            Self::Denied(by) => Some(by.rule),
            Self::Unusable { .. } => None,
            Self::NotAllowed { nearest, .. } => nearest.as_ref().map(|nearest| nearest.rule),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(by) => write!(f, "denied by {by}"),
            Self::Unusable { policy, why } => {
                write!(f, "denied because policy {policy} applies here and {why}")
            }
            Self::NotAllowed {
                nearest: Some(nearest),
                ..
            } => write!(f, "allowed by no policy; the nearest is {nearest}"),
            Self::NotAllowed { policies, .. } => {
                f.write_str("allowed by no policy: no rule that could match in")?;
                let mut separator = " ";
                for policy in policies {
                    write!(f, "{separator}{policy}")?;
                    separator = ", ";
                }
                Ok(())
            }
        }
    }
}

/// Why a policy cannot be evaluated.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unusable {
    /// It has not arrived.
    Missing,
    /// It was rejected, for this reason.
    Rejected(Text),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("has not arrived"),
            Self::Rejected(reason) => write!(f, "was rejected: {reason}"),
        }
    }
}

/// What a policy in dry-run mode would have changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DryRun {
    /// The policy.
    pub policy: PolicyKey,
    /// What it would have done.
    pub effect: Effect,
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        match self.effect {
            Effect::Deny { rule } => write!(f, "dry-run policy {policy} rule[{rule}] would deny it"),
            Effect::Allow { rule } => write!(f, "dry-run policy {policy} rule[{rule}] would allow it"),
            Effect::NotAllow => write!(f, "dry-run policy {policy} would not allow it, nor does another"),
        }
    }
}

/// What a policy in dry-run mode would have done, had it been enforced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Effect {
    /// Refused the connection by this rule.
    Deny {
        /// The index of the rule, from 0.
        rule: usize,
    },
    /// Allowed the connection by this rule; it may be refused for another reason all the same.
    Allow {
        /// The index of the rule, from 0.
        rule: usize,
    },
    /// Refused the connection because neither it nor any other ALLOW policy matches.
    NotAllow,
}
