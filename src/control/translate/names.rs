//! Labels, annotations and names of resources: a contract with Istio's tools, and with stock ztunnel.

use adit_mesh::Text;
use adit_mesh::policy::PolicyKey;

use crate::objects::Name;
use crate::settings::Settings;

/// On a pod, by the node agent: its traffic is redirected to the tunnel.
pub const REDIRECTION: &str = "ambient.istio.io/redirection";
/// The value of [`REDIRECTION`] once the tunnel serves the pod.
pub const ENABLED: &str = "enabled";
/// On a pod that speaks HBONE itself.
pub const TUNNEL: &str = "networking.istio.io/tunnel";
/// The revision of the control plane that an object is for.
pub const REVISION: &str = "istio.io/rev";
/// The waypoint of an object.
pub const USE_WAYPOINT: &str = "istio.io/use-waypoint";
/// The namespace of [`USE_WAYPOINT`].
pub const USE_WAYPOINT_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
/// A second waypoint that takes a share.
pub const CANARY: &str = "istio.io/use-waypoint-canary";
/// The namespace of [`CANARY`].
pub const CANARY_NAMESPACE: &str = "istio.io/use-waypoint-canary-namespace";
/// The share of [`CANARY`], in percent.
pub const CANARY_WEIGHT: &str = "istio.io/use-waypoint-canary-weight";
/// What a waypoint is for.
pub const WAYPOINT_FOR: &str = "istio.io/waypoint-for";
/// How a proxy behind the tunnel of its pod takes its traffic.
pub const INBOUND_BINDING: &str = "ambient.istio.io/waypoint-inbound-binding";
/// On the pods of a gateway.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// On the objects of a gateway: who made them.
pub const MANAGED: &str = "gateway.istio.io/managed";
/// The values of [`MANAGED`] on waypoints and on gateways between networks.
pub const WAYPOINT_CONTROLLERS: [&str; 3] = [
    "istio.io-mesh-controller",
    "istio.io-eastwest-controller",
    "adit.io-waypoint-controller",
];
/// Which endpoints are preferred.
pub const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";
/// The network of a cluster, on its root namespace.
pub const NETWORK: &str = "topology.istio.io/network";
/// A policy that is evaluated and not obeyed.
pub const DRY_RUN: &str = "istio.io/dry-run";

/// The policy that refuses who does not prove who they are.
pub const STRICT: &str = "istio_converted_static_strict";
/// What the policies begin with that are made of PeerAuthentications.
const AUTHENTICATION: &str = "converted_peer_authentication_";

/// The uid of a pod's workload.
pub fn pod(settings: &Settings, name: &Name) -> Text {
    format!("{}//Pod/{}/{}", settings.cluster, name.namespace, name.name).into()
}

/// The uid of a WorkloadEntry's workload.
pub fn workload_entry(settings: &Settings, name: &Name) -> Text {
    let Name { namespace, name } = name;
    format!(
        "{}/networking.istio.io/WorkloadEntry/{namespace}/{name}",
        settings.cluster
    )
    .into()
}

/// The uid of the workload of an endpoint in a ServiceEntry.
pub fn entry_endpoint(settings: &Settings, name: &Name, address: &str) -> Text {
    let Name { namespace, name } = name;
    format!(
        "{}/networking.istio.io/ServiceEntry/{namespace}/{name}/{address}",
        settings.cluster
    )
    .into()
}

/// The uid of the workload of an endpoint in a slice.
pub fn slice_endpoint(settings: &Settings, name: &Name, address: &str) -> Text {
    let Name { namespace, name } = name;
    format!(
        "{}/discovery.k8s.io/EndpointSlice/{namespace}/{name}/{address}",
        settings.cluster
    )
    .into()
}

/// The key of the policy that refuses who does not prove who they are.
pub fn strict(settings: &Settings) -> PolicyKey {
    PolicyKey {
        namespace: settings.root_namespace.clone(),
        name: STRICT.into(),
    }
}

/// The key of the policy that is made of a PeerAuthentication.
pub fn authentication(name: &Name) -> PolicyKey {
    PolicyKey {
        namespace: name.namespace.clone(),
        name: format!("{AUTHENTICATION}{}", name.name).into(),
    }
}

/// The key of the policy that is made of an AuthorizationPolicy.
pub fn authorization(name: &Name) -> PolicyKey {
    PolicyKey {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}
