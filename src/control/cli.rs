//! The command line of the control plane. Every setting is a flag and an environment variable.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use adit_mesh::TrustDomain;

use crate::certificates::NodeAccount;
use crate::settings::{Mode, Settings, WithoutWaypoint};

/// Every setting of the control plane.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Directory with manifests, as `kubectl apply` takes them, in all folders below; read again after each change
    #[arg(long, env = "ADIT_MANIFESTS", value_name = "DIR")]
    pub manifests: PathBuf,
    /// Directory with the CA (root and key), created on first use
    #[arg(long, env = "ADIT_CA_DIR", value_name = "DIR")]
    pub ca_dir: PathBuf,
    /// Keys (JSON Web Key Set) of whoever issues the tokens of service accounts; read again after each change
    /// [default: none, only client certificates are taken]
    #[arg(long, env = "ADIT_TOKEN_KEYS", value_name = "FILE", requires = "token_issuer")]
    pub token_keys: Option<PathBuf>,
    /// Issuer that tokens must have been issued by
    #[arg(long, env = "ADIT_TOKEN_ISSUER", value_name = "URL", requires = "token_keys")]
    pub token_issuer: Option<String>,
    /// Audience that tokens must be meant for
    #[arg(
        long,
        env = "TOKEN_AUDIENCES",
        value_name = "NAME",
        default_value = "istio-ca"
    )]
    pub token_audience: String,
    /// Service accounts of node tunnels, as namespace/name separated by commas, which get certificates for the pods of
    /// their node
    #[arg(
        long,
        env = "CA_TRUSTED_NODE_ACCOUNTS",
        value_name = "ACCOUNTS",
        value_delimiter = ',',
        default_value = "adit-system/adit-tunnel"
    )]
    pub trusted_node_accounts: Vec<NodeAccount>,
    /// Name of the cluster
    #[arg(long, env = "CLUSTER_ID", value_name = "NAME", default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Trust domain of all identities
    #[arg(
        long,
        env = "TRUST_DOMAIN",
        value_name = "NAME",
        default_value = "cluster.local"
    )]
    pub trust_domain: TrustDomain,
    /// What the names of services end with
    #[arg(
        long,
        env = "CLUSTER_DOMAIN",
        value_name = "NAME",
        default_value = "cluster.local"
    )]
    pub cluster_domain: String,
    /// Namespace of the control plane, whose policies hold for all namespaces
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = "adit-system"
    )]
    pub root_namespace: String,
    /// Revision of this control plane; objects labelled for another are not looked at
    #[arg(long, env = "REVISION", value_name = "NAME", default_value = "default")]
    pub revision: String,
    /// Whether callers must prove who they are where no PeerAuthentication says
    #[arg(long, env = "ADIT_MTLS", value_name = "MODE", default_value = "strict")]
    pub mtls: Mode,
    /// What becomes of what only a waypoint can enforce where there is none: refused, or as in Istio without effect
    #[arg(
        long,
        env = "ADIT_L7_WITHOUT_WAYPOINT",
        value_name = "RULE",
        default_value = "deny"
    )]
    pub l7_without_waypoint: WithoutWaypoint,
    /// Address to listen on
    #[arg(long, env = "ADIT_LISTEN", value_name = "ADDRESS", default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
    pub listen: IpAddr,
    /// Port for discovery and certificates over TLS
    #[arg(long, env = "ADIT_PORT_SECURE", value_name = "PORT", default_value_t = 15012)]
    pub secure_port: u16,
    /// Port for metrics and the pages under /debug
    #[arg(
        long,
        env = "ADIT_PORT_MONITORING",
        value_name = "PORT",
        default_value_t = 15014
    )]
    pub monitoring_port: u16,
    /// Port for the readiness probe
    #[arg(
        long,
        env = "ADIT_PORT_READINESS",
        value_name = "PORT",
        default_value_t = 8080
    )]
    pub readiness_port: u16,
    /// Further names that the control plane is called by, separated by commas [default: none beside those of its
    /// service and of istiod's]
    #[arg(long, env = "ADIT_SERVER_NAMES", value_name = "NAMES", value_delimiter = ',')]
    pub server_names: Vec<String>,
    /// Log levels, such as `info,control=debug`
    #[arg(long, env = "RUST_LOG", value_name = "LEVELS", default_value = "info")]
    pub log_level: String,
    /// `plain` or `json`
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "plain")]
    pub log_format: adit_telemetry::log::Format,
}

impl Args {
    /// What holds for the whole mesh.
    pub fn settings(&self) -> Settings {
        Settings {
            cluster: self.cluster_id.as_str().into(),
            network: adit_mesh::Text::empty(),
            trust_domain: self.trust_domain.clone(),
            domain: self.cluster_domain.as_str().into(),
            root_namespace: self.root_namespace.as_str().into(),
            revision: self.revision.as_str().into(),
            mutual_tls: self.mtls,
            without_waypoint: self.l7_without_waypoint,
        }
    }

    /// The names of the control plane: of its service, of istiod's, whose place it can take, and those that were given.
    pub fn names(&self) -> Vec<String> {
        let namespaces = ["istio-system", &self.root_namespace];
        let services = ["adit-control", "istiod", "istio-pilot", "istiod-remote"];
        let mut names = vec!["localhost".to_owned()];
        for namespace in namespaces {
            for service in services {
                names.push(format!("{service}.{namespace}.svc"));
                names.push(format!("{service}.{namespace}.svc.{}", self.cluster_domain));
            }
            if self.revision != "default" {
                names.push(format!("istiod-{}.{namespace}.svc", self.revision));
            }
        }
        names.extend(self.server_names.iter().cloned());
        names.sort();
        names.dedup();
        names
    }
}
