//! Whose certificate a caller gets: a pure decision.

use std::fmt;
use std::str::FromStr;

use adit_discovery::auth::Caller;
use adit_discovery::authority::IMPERSONATED;
use adit_mesh::{Identity, Text, TrustDomain};
use adit_pki::issue::SignError;
use prost_types::Struct;
use prost_types::value::Kind;
use tonic::Status;

use crate::objects::Name;
use crate::placement::Placement;

/// The account of node tunnels, which ask for the identities of the pods on their node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeAccount {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
}

impl FromStr for NodeAccount {
    type Err = String;

    /// `<namespace>/<name>`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self {
                    namespace: namespace.into(),
                    name: name.into(),
                })
            }
            _ => Err("expected <namespace>/<service account>".to_owned()),
        }
    }
}

/// Why a certificate was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The caller asks too often.
    TooMany,
    /// The identity that it asks for is none.
    NoIdentity(String),
    /// Its account may ask for nobody but itself.
    NotANode,
    /// Its token says of no pod that it is it.
    NoPod,
    /// Its pod is not there any more, or another has its name now.
    OtherPod,
    /// No pod of the identity runs on its node.
    NotHere {
        /// The node.
        node: Text,
    },
    /// What it asks for cannot be signed.
    Request(SignError),
}

impl Refusal {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooMany => "rate",
            Self::NoIdentity(_) => "identity",
            Self::NotANode => "not_a_node",
            Self::NoPod => "no_pod",
            Self::OtherPod => "other_pod",
            Self::NotHere { .. } => "not_here",
            Self::Request(_) => "request",
        }
    }

    /// What the caller is told.
    pub(super) fn status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::TooMany => Status::resource_exhausted(text),
            Self::NoIdentity(_) => Status::invalid_argument(text),
            Self::NotANode | Self::NoPod | Self::OtherPod | Self::NotHere { .. } => {
                Status::permission_denied(text)
            }
            Self::Request(SignError::AuthorityExpired | SignError::EmptyChain | SignError::KeyMismatch) => {
                Status::unavailable(text)
            }
            Self::Request(SignError::Failed(_)) => Status::internal(text),
            Self::Request(_) => Status::invalid_argument(text),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => {
                f.write_str("the caller asks for too many certificates; it should come back in a second")
            }
            Self::NoIdentity(problem) => write!(f, "{IMPERSONATED}: {problem}"),
            Self::NotANode => f.write_str("the caller's service account may not ask for other identities"),
            Self::NoPod => f.write_str("the caller's token is not bound to a pod"),
            Self::OtherPod => f.write_str("the caller's pod is not known, or is another one now"),
            Self::NotHere { node } => write!(f, "no pod of that identity runs on node {node:?}"),
            Self::Request(error) => fmt::Display::fmt(error, f),
        }
    }
}

/// The identity that a caller gets a certificate for; on refusal the one that it wanted, if that can be read.
pub(super) fn identity(
    caller: &Caller,
    metadata: Option<&Struct>,
    placement: &Placement,
    node_accounts: &[NodeAccount],
    trust_domain: &TrustDomain,
) -> Result<Identity, (Option<Identity>, Refusal)> {
    let Some(text) = impersonated(metadata) else {
        return Ok(caller.identity.clone());
    };
    let wanted: Identity = text
        .parse()
        .map_err(|error: adit_mesh::InvalidIdentity| (None, Refusal::NoIdentity(error.to_string())))?;
    if wanted == caller.identity {
        return Ok(wanted);
    }
    let refuse = |refusal| Err((Some(wanted.clone()), refusal));
    if wanted.trust_domain() != trust_domain {
        return refuse(Refusal::NoIdentity(format!(
            "its trust domain is not {}",
            trust_domain.as_str()
        )));
    }
    let own = &caller.identity;
    let is_node = |account: &NodeAccount| {
        account.namespace == *own.namespace() && account.name == *own.service_account()
    };
    if !node_accounts.iter().any(is_node) || own.trust_domain() != trust_domain {
        return refuse(Refusal::NotANode);
    }
    let Some(pod) = &caller.pod else {
        return refuse(Refusal::NoPod);
    };
    let place = placement.of(&Name::new(own.namespace().clone(), pod.name.clone()));
    let place = place.filter(|place| place.uid == pod.uid && place.service_account == *own.service_account());
    let Some(place) = place else {
        return refuse(Refusal::OtherPod);
    };
    if !placement.runs(&place.node, &wanted) {
        return refuse(Refusal::NotHere { node: place.node });
    }
    Ok(wanted)
}

fn impersonated(metadata: Option<&Struct>) -> Option<&str> {
    match &metadata?.fields.get(IMPERSONATED)?.kind {
        Some(Kind::StringValue(text)) => Some(text),
        // Of another type it is no identity, and says so.
        _ => Some(""),
    }
}
