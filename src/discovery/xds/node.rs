//! Who a client says it is: `<type>~<address>~<pod>.<namespace>~<domain>`, and what it tells of itself.
//!
//! None of it is believed further than the caller's proven identity goes ([`NodeInfo::check`]).

use adit_mesh::{Identity, Text};
use adit_proto::discovery::Node;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// The kinds of clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ClientKind {
    /// A node's tunnel, ours or Istio's.
    Ztunnel,
    /// A waypoint.
    Waypoint,
}

impl ClientKind {
    /// Its name in a node's id.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ztunnel => "ztunnel",
            Self::Waypoint => "waypoint",
        }
    }
}

/// A client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its id as a whole.
    pub id: Text,
    /// What it is.
    pub kind: ClientKind,
    /// Its pod's name.
    pub pod: Text,
    /// Its pod's namespace.
    pub namespace: Text,
    /// The service account that it says it has.
    pub service_account: Option<Text>,
    /// The node that it runs on; "" if it does not say.
    pub node: Text,
    /// The cluster that it runs in; "" if it does not say.
    pub cluster: Text,
    /// The version that it says it is.
    pub version: Text,
}

/// Why a client's description is not accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidNode {
    /// It did not describe itself.
    #[error("the first request has no node")]
    Missing,
    /// Its id cannot be read.
    #[error("node id {id:?}: expected <type>~<address>~<pod>.<namespace>~<domain>")]
    Id {
        /// The id.
        id: String,
    },
    /// It is of a kind that is not served.
    #[error("clients of type {kind:?} are not served here; those that are: ztunnel, waypoint")]
    Kind {
        /// The kind.
        kind: String,
    },
    /// It is not who it says it is.
    #[error("the client says that its {what} is {said:?}, but it has proved to be {proved:?}")]
    NotItself {
        /// What of it.
        what: &'static str,
        /// What it says.
        said: Text,
        /// What it has proved.
        proved: Text,
    },
}

impl NodeInfo {
    /// Reads what a client says of itself.
    ///
    /// # Errors
    /// See [`InvalidNode`].
    pub fn read(node: Option<&Node>) -> Result<Self, InvalidNode> {
        let node = node.ok_or(InvalidNode::Missing)?;
        let invalid = || InvalidNode::Id {
            id: node.id.chars().take(200).collect(),
        };
        let parts: Vec<_> = node.id.split('~').collect();
        let [kind, _address, pod, _domain] = parts[..] else {
            return Err(invalid());
        };
        let (pod, namespace) = pod.rsplit_once('.').ok_or_else(invalid)?;
        let kind = match kind {
            "ztunnel" => ClientKind::Ztunnel,
            "waypoint" => ClientKind::Waypoint,
            other => {
                return Err(InvalidNode::Kind {
                    kind: other.chars().take(50).collect(),
                });
            }
        };
        let told = |key: &str| text(node.metadata.as_ref(), key);
        Ok(Self {
            id: node.id.as_str().into(),
            kind,
            pod: pod.into(),
            namespace: namespace.into(),
            service_account: told("SERVICE_ACCOUNT"),
            node: told("NODE_NAME").unwrap_or_default(),
            cluster: told("CLUSTER_ID").unwrap_or_default(),
            version: told("ADIT_VERSION")
                .or_else(|| told("ISTIO_VERSION"))
                .unwrap_or_default(),
        })
    }

    /// Whether the caller who proved to be `identity` may say this of itself: its namespace is the identity's, and its
    /// service account, if it names one.
    ///
    /// # Errors
    /// [`InvalidNode::NotItself`].
    pub fn check(&self, identity: &Identity) -> Result<(), InvalidNode> {
        let same = |what, said: &Text, proved: &Text| {
            if said == proved {
                return Ok(());
            }
            Err(InvalidNode::NotItself {
                what,
                said: said.clone(),
                proved: proved.clone(),
            })
        };
        same("namespace", &self.namespace, identity.namespace())?;
        match &self.service_account {
            Some(said) => same("service account", said, identity.service_account()),
            None => Ok(()),
        }
    }
}

fn text(metadata: Option<&Struct>, key: &str) -> Option<Text> {
    match &metadata?.fields.get(key)?.kind {
        Some(Kind::StringValue(value)) if !value.is_empty() => Some(value.as_str().into()),
        _ => None,
    }
}

/// How a client describes itself; of two equal keys the later one counts, and an empty value says nothing.
pub fn describe<'a>(
    kind: ClientKind,
    address: &str,
    pod: &str,
    namespace: &str,
    facts: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Node {
    let kind = kind.name();
    Node {
        id: format!("{kind}~{address}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        cluster: String::new(),
        metadata: Some(metadata(facts.into_iter().filter(|(_, value)| !value.is_empty()))),
    }
}

/// Metadata as clients send it.
pub fn metadata<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Struct {
    let value = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    Struct {
        fields: pairs
            .into_iter()
            .map(|(key, text)| (key.to_owned(), value(text)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> Node {
        Node {
            id: id.to_owned(),
            cluster: String::new(),
            metadata: Some(metadata([("NODE_NAME", "n1"), ("SERVICE_ACCOUNT", "ztunnel")])),
        }
    }

    #[test]
    fn reads_what_ztunnel_says() {
        let read = NodeInfo::read(Some(&node(
            "ztunnel~10.0.0.1~ztunnel-x1.istio-system~istio-system.svc.cluster.local",
        )));
        let info = read.expect("readable");
        assert_eq!(
            (info.kind, &*info.pod, &*info.namespace),
            (ClientKind::Ztunnel, "ztunnel-x1", "istio-system")
        );
        assert_eq!((&*info.node, &*info.cluster), ("n1", ""));
        let same = "spiffe://cluster.local/ns/istio-system/sa/ztunnel"
            .parse()
            .expect("valid");
        assert_eq!(info.check(&same), Ok(()));
        for other in ["ns/bank/sa/ztunnel", "ns/istio-system/sa/payments"] {
            let other = format!("spiffe://cluster.local/{other}").parse().expect("valid");
            assert!(matches!(info.check(&other), Err(InvalidNode::NotItself { .. })));
        }
    }

    #[test]
    fn refuses_what_it_does_not_serve() {
        assert_eq!(NodeInfo::read(None), Err(InvalidNode::Missing));
        for id in ["", "ztunnel", "ztunnel~1~pod~d", "ztunnel~1~p.n~d~e"] {
            let read = NodeInfo::read(Some(&node(id)));
            assert!(matches!(read, Err(InvalidNode::Id { .. })), "{id}: {read:?}");
        }
        let sidecar = NodeInfo::read(Some(&node("sidecar~10.0.0.1~a.b~c")));
        assert!(matches!(sidecar, Err(InvalidNode::Kind { .. })));
    }
}
