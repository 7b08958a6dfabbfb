//! How the control plane is reached: the variables of stock ztunnel, with its defaults.

use std::path::{Path, PathBuf};

use adit_discovery::ControlPlane;
use adit_discovery::channel::{Roots, Token};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::pki_types::ServerName;

use crate::cli::SourceArgs;
use crate::config::environment::Environment;
use crate::config::error::ConfigError;
use crate::config::node::Node;
use crate::config::read;

/// Where Istio's control plane is, whose place ours can take.
const IN_KUBERNETES: &str = "https://istiod.istio-system.svc:15012";
/// Every container in Kubernetes has it.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";
/// Where Istio mounts the root certificate.
const ROOTS: &str = "./var/run/secrets/istio/root-cert.pem";
/// Where Istio mounts the token.
const TOKEN: &str = "./var/run/secrets/tokens/istio-token";
/// What stands for the roots of the operating system.
const SYSTEM: &str = "SYSTEM";

/// The two services of a control plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    Discovery,
    Authority,
}

/// The variables of a service.
struct Names {
    address: &'static str,
    alternative: &'static str,
    headers: &'static str,
    needed: &'static str,
}

impl Which {
    const fn names(self) -> Names {
        match self {
            Self::Discovery => Names {
                address: "XDS_ADDRESS",
                alternative: "ALT_XDS_HOSTNAME",
                headers: "XDS_HEADER_",
                needed: "the address of a control plane, or the mesh as a file in LOCAL_XDS_PATH; without policies \
                         nothing would be refused",
            },
            Self::Authority => Names {
                address: "CA_ADDRESS",
                alternative: "ALT_CA_HOSTNAME",
                headers: "CA_HEADER_",
                needed: "the address of a control plane, or a directory for a local CA in ADIT_LOCAL_CA; without \
                         certificates nothing could be encrypted",
            },
        }
    }
}

/// The control plane for one of its services. `default` is what its address is where none is given.
pub(super) fn new(
    which: Which,
    args: &SourceArgs,
    default: Option<&str>,
    node: &Node,
    environment: &Environment,
) -> Result<ControlPlane, ConfigError> {
    let names = which.names();
    let (address_given, roots, alternative) = match which {
        Which::Discovery => (&args.xds_address, &args.xds_root_ca, &args.alt_xds_hostname),
        Which::Authority => (&args.ca_address, &args.ca_root_ca, &args.alt_ca_hostname),
    };
    let in_kubernetes = environment.variable(KUBERNETES).map(|_| IN_KUBERNETES);
    let text = read::given(address_given.as_deref())
        .or(default)
        .or(in_kubernetes)
        .ok_or(ConfigError::Missing {
            variable: names.address,
            needed: names.needed,
        })?;
    Ok(ControlPlane {
        address: address(names.address, text)?,
        roots: match read::given(roots.as_deref()) {
            None => Roots::File(ROOTS.into()),
            Some(SYSTEM) => Roots::System,
            Some(text) if text.contains("-----BEGIN") => Roots::Pem(text.to_owned()),
            Some(path) => Roots::File(path.into()),
        },
        alternative: server_name(names.alternative, alternative)?,
        token: token(args, environment)?,
        headers: headers(names.headers, environment)?,
        cluster: node.cluster.clone(),
    })
}

fn address(variable: &'static str, text: &str) -> Result<Uri, ConfigError> {
    let allowed = "https:// with a host and a port, such as https://istiod.istio-system.svc:15012";
    let invalid = || ConfigError::invalid(variable, text, allowed);
    let whole = match text.split_once("://") {
        Some(_) => text.to_owned(),
        None => format!("https://{text}"),
    };
    let uri: Uri = whole.parse().map_err(|_| invalid())?;
    let host = uri.host().unwrap_or_default();
    if uri.scheme_str() != Some("https") || host.is_empty() || uri.path().len() > 1 || uri.query().is_some() {
        return Err(invalid());
    }
    Ok(uri)
}

fn server_name(
    variable: &'static str,
    value: &Option<String>,
) -> Result<Option<ServerName<'static>>, ConfigError> {
    let Some(name) = read::given(value.as_deref()) else {
        return Ok(None);
    };
    match ServerName::try_from(name.to_owned()) {
        Ok(name) => Ok(Some(name)),
        Err(_) => Err(ConfigError::invalid(variable, name, "a DNS name, or an address")),
    }
}

/// A path has a slash; a token has none.
fn token(args: &SourceArgs, environment: &Environment) -> Result<Option<Token>, ConfigError> {
    if let Some(given) = read::given(args.auth_token.as_deref()) {
        return Ok(Some(if given.contains('/') {
            Token::File(given.into())
        } else {
            Token::Literal(given.to_owned())
        }));
    }
    let path = Path::new(TOKEN);
    let there = environment.file(path).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    Ok(there.map(|_| Token::File(PathBuf::from(TOKEN))))
}

fn headers(prefix: &'static str, environment: &Environment) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for (variable, value) in environment.variables() {
        let Some(name) = variable.strip_prefix(prefix) else {
            continue;
        };
        let invalid = |problem: &str| ConfigError::Header {
            variable: variable.to_owned(),
            problem: problem.to_owned(),
        };
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| invalid("what follows the prefix is no name of a header"))?;
        let value =
            HeaderValue::from_str(value.trim()).map_err(|_| invalid("the value cannot stand in a header"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}
