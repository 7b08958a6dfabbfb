//! Where configuration, certificates and pods come from.

mod control_plane;

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use adit_discovery::ControlPlane;
use adit_mesh::TrustDomain;
use adit_pki::{Compliance, TrustOptions};

use super::environment::Environment;
use super::error::ConfigError;
use super::node::Node;
use super::proxy_config::ProxyConfig;
use super::read;
use super::unsupported::Unsupported;
use crate::cli::{Args, SourceArgs};
use control_plane::Which;

/// Where istio-cni listens.
const DEFAULT_AGENT_SOCKET: &str = "/var/run/ztunnel/ztunnel.sock";
/// What `sockaddr_un` takes, without the final zero (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;
/// One day, as Istio: long enough for a control plane to be away for hours (renewal starts at half of it), short
/// enough that a stolen key is soon worth nothing.
const DEFAULT_TTL: Duration = Duration::from_secs(86_400);

/// Where workloads, services and policies come from.
#[derive(Clone, PartialEq, Debug)]
pub enum MeshSource {
    /// A file in ztunnel's local format.
    File(PathBuf),
    /// A control plane.
    ControlPlane(Box<ControlPlane>),
}

/// Where certificates come from.
#[derive(Clone, PartialEq, Debug)]
pub enum CertificateSource {
    /// A CA in a directory, created on first use.
    LocalCa(PathBuf),
    /// A control plane.
    ControlPlane(Box<ControlPlane>),
}

/// What is kept for a successor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// Where.
    pub directory: PathBuf,
    /// How old the mesh may be.
    pub max_age: Duration,
    /// Whether certificates are kept too, with their keys.
    pub keys: bool,
}

impl State {
    pub(super) fn new(args: &SourceArgs) -> Result<Option<Self>, ConfigError> {
        let max_age = read::duration("ADIT_STATE_MAX_AGE", &args.state_max_age)?.unwrap_or(DEFAULT_TTL);
        let keys = read::boolean("ADIT_STATE_KEYS", &args.state_keys)?.unwrap_or(true);
        Ok(read::path(&args.state_dir).map(|directory| Self {
            directory,
            max_age,
            keys,
        }))
    }
}

/// Certificates and trust.
#[derive(Clone, PartialEq, Debug)]
pub struct Certificates {
    /// Where certificates come from.
    pub source: CertificateSource,
    /// How long they are to be valid.
    pub ttl: Duration,
    /// Files with trusted roots; with none, those of the source are trusted.
    pub bundle: Vec<PathBuf>,
    /// The file with revocation lists.
    pub crl: Option<PathBuf>,
    /// Trust domains whose workloads may connect beside those of a workload's own.
    pub aliases: Vec<TrustDomain>,
    /// The rules for the cryptography.
    pub compliance: Compliance,
}

impl MeshSource {
    pub(super) fn new(
        args: &SourceArgs,
        node: &Node,
        proxy: &ProxyConfig,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        if let Some(path) = read::path(&args.local_xds_path) {
            return Ok(Self::File(path));
        }
        let default = proxy.discovery_address.as_deref();
        let control_plane = control_plane::new(Which::Discovery, args, default, node, environment)?;
        if node.pod.is_none() {
            return Err(ConfigError::Missing {
                variable: "POD_NAME",
                needed: "the name of the tunnel's own pod (and POD_NAMESPACE and SERVICE_ACCOUNT), which the control \
                         plane knows it by",
            });
        }
        Ok(Self::ControlPlane(Box::new(control_plane)))
    }
}

impl Certificates {
    pub(super) fn new(args: &Args, node: &Node, environment: &Environment) -> Result<Self, ConfigError> {
        let sources = &args.sources;
        let source = match read::path(&sources.local_ca) {
            Some(directory) => CertificateSource::LocalCa(directory),
            None => CertificateSource::ControlPlane(Box::new(control_plane::new(
                Which::Authority,
                sources,
                None,
                node,
                environment,
            )?)),
        };
        Ok(Self {
            source,
            ttl: read::duration("SECRET_TTL", &sources.secret_ttl)?.unwrap_or(DEFAULT_TTL),
            bundle: read::list(&sources.trust_bundle).map(PathBuf::from).collect(),
            crl: read::path(&sources.crl_path),
            aliases: aliases(&args.node.trust_domain_aliases)?,
            compliance: read::parsed("COMPLIANCE_POLICY", &sources.compliance_policy, "pqc, or nothing")?
                .unwrap_or_default(),
        })
    }

    /// How peers are judged.
    pub fn trust_options(&self) -> TrustOptions {
        TrustOptions {
            bundle: self.bundle.clone(),
            crl: self.crl.iter().cloned().collect(),
            aliases: self.aliases.clone(),
        }
    }
}

/// Addresses of a control plane that were given and are not called.
pub(super) fn overruled(args: &SourceArgs) -> impl Iterator<Item = Unsupported> {
    let given = |value: &Option<String>| read::given(value.as_deref()).is_some();
    let rows = [
        (
            "XDS_ADDRESS",
            given(&args.xds_address) && given(&args.local_xds_path),
            "the mesh is read from LOCAL_XDS_PATH, which is given too",
        ),
        (
            "CA_ADDRESS",
            given(&args.ca_address) && given(&args.local_ca),
            "certificates come from ADIT_LOCAL_CA, which is given too",
        ),
    ];
    let overruled = rows.into_iter().filter(|row| row.1);
    overruled.map(|(setting, _, effect)| Unsupported {
        setting: setting.to_owned(),
        effect,
    })
}

pub(super) fn agent_socket(args: &SourceArgs) -> Result<PathBuf, ConfigError> {
    let path = read::path(&args.inpod_uds).unwrap_or_else(|| DEFAULT_AGENT_SOCKET.into());
    if path.as_os_str().as_bytes().len() > LONGEST_SOCKET_PATH {
        let allowed =
            format!("a path of at most {LONGEST_SOCKET_PATH} bytes, the kernel's limit for sockets");
        return Err(ConfigError::invalid(
            "INPOD_UDS",
            &path.to_string_lossy(),
            allowed,
        ));
    }
    Ok(path)
}

fn aliases(value: &Option<String>) -> Result<Vec<TrustDomain>, ConfigError> {
    let mut aliases = Vec::new();
    for name in read::list(value) {
        let alias = name.parse().map_err(|problem| {
            let allowed = format!("trust domains separated by commas ({name:?}: {problem})");
            ConfigError::invalid(
                "ADIT_TRUST_DOMAIN_ALIASES",
                value.as_deref().unwrap_or_default(),
                allowed,
            )
        })?;
        if !aliases.contains(&alias) {
            aliases.push(alias);
        }
    }
    Ok(aliases)
}
