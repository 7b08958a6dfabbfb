//! Where the tunnel runs, and who it is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_discovery::xds::node::{ClientKind, describe};
use adit_mesh::{Identity, Text, TrustDomain};
use adit_proto::discovery;

use super::environment::Environment;
use super::error::ConfigError;
use super::proxy_config::ProxyConfig;
use super::read;
use crate::cli::NodeArgs;

/// What a cluster is called that was not given a name; Istio's choice.
const DEFAULT_CLUSTER: &str = "Kubernetes";

/// Where the tunnel runs, and who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// The node's name; without one no workload is on it.
    pub name: Option<Text>,
    /// The network; empty is the unnamed one.
    pub network: Text,
    /// The cluster.
    pub cluster: Text,
    /// The trust domain of the tunnel's own identity.
    pub trust_domain: TrustDomain,
    /// The tunnel's own pod, if it runs in one.
    pub pod: Option<OwnPod>,
    /// The address of the tunnel's own pod.
    pub address: Option<IpAddr>,
    /// The version of Istio that the tunnel was installed with, for the metric `istio_build`.
    pub istio_version: Option<String>,
    /// `ISTIO_META_*` and `proxyMetadata`, without the prefix; the variables win.
    pub metadata: BTreeMap<String, String>,
}

/// The pod that the tunnel itself runs in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnPod {
    /// Its name.
    pub name: Text,
    /// Its namespace and service account, in the tunnel's trust domain.
    pub identity: Identity,
}

impl Node {
    pub(super) fn new(
        args: &NodeArgs,
        proxy: &ProxyConfig,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let text = |value: &Option<String>| read::given(value.as_deref()).map(Text::from);
        let metadata = proxy.metadata.clone();
        // The name in the metadata wins over CLUSTER_ID, because istiod knows the tunnel by it.
        let cluster = read::given(args.cluster_id.as_deref())
            .or(metadata.get("CLUSTER_ID").map(String::as_str))
            .or(environment.variable("CLUSTER_ID"))
            .unwrap_or(DEFAULT_CLUSTER)
            .into();
        let trust_domain = read::parsed(
            "TRUST_DOMAIN",
            &args.trust_domain,
            "a name of lower-case letters, digits, '.', '-' and '_', such as cluster.local",
        )?
        .unwrap_or_default();
        Ok(Self {
            name: text(&args.node_name),
            network: text(&args.network).unwrap_or_default(),
            cluster,
            pod: own_pod(args, &trust_domain)?,
            trust_domain,
            address: read::parsed("INSTANCE_IP", &args.instance_ip, "an IPv4 or IPv6 address")?,
            istio_version: metadata.get("ISTIO_VERSION").cloned(),
            metadata,
        })
    }
}

impl Node {
    /// How the tunnel describes itself to a control plane, as stock ztunnel does.
    pub fn description(&self) -> discovery::Node {
        let (pod, namespace, service_account) = self.pod.as_ref().map_or(("", "", ""), |pod| {
            let identity = &pod.identity;
            (&*pod.name, &**identity.namespace(), &**identity.service_account())
        });
        // What ztunnel says where it does not know.
        let address = self
            .address
            .map_or("1.1.1.1".to_owned(), |address| address.to_string());
        let own = [
            ("ADIT_VERSION", env!("CARGO_PKG_VERSION")),
            ("NAME", pod),
            ("NAMESPACE", namespace),
            ("SERVICE_ACCOUNT", service_account),
            ("INSTANCE_IPS", &address),
            ("NODE_NAME", self.name.as_deref().unwrap_or_default()),
            ("CLUSTER_ID", &self.cluster),
            ("NETWORK", &self.network),
        ];
        let given = self
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        describe(ClientKind::Ztunnel, &address, pod, namespace, given.chain(own))
    }
}

fn own_pod(args: &NodeArgs, trust_domain: &TrustDomain) -> Result<Option<OwnPod>, ConfigError> {
    let given = [
        ("POD_NAME", read::given(args.pod_name.as_deref())),
        ("POD_NAMESPACE", read::given(args.pod_namespace.as_deref())),
        ("SERVICE_ACCOUNT", read::given(args.service_account.as_deref())),
    ];
    if let [(_, Some(name)), (_, Some(namespace)), (_, Some(service_account))] = given {
        let identity = Identity::new(trust_domain.clone(), namespace.into(), service_account.into());
        // Either can be what a SPIFFE path does not take; a service account alone tells which.
        let identity = identity.map_err(|problem| {
            let of_namespace = Identity::new(trust_domain.clone(), namespace.into(), "any".into()).is_err();
            let (variable, value) = if of_namespace {
                ("POD_NAMESPACE", namespace)
            } else {
                ("SERVICE_ACCOUNT", service_account)
            };
            ConfigError::invalid(variable, value, format!("a Kubernetes name ({problem})"))
        })?;
        return Ok(Some(OwnPod {
            name: name.into(),
            identity,
        }));
    }
    match given.iter().find(|(_, value)| value.is_none()) {
        Some((missing, _)) if given.iter().any(|(_, value)| value.is_some()) => {
            Err(ConfigError::IncompletePod { missing })
        }
        _ => Ok(None),
    }
}
