//! Who calls the control plane: what a caller presents, and who decides what that proves.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use adit_mesh::{Identity, Text};
use rustls_pki_types::CertificateDer;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};

/// The header with a token.
const AUTHORIZATION: &str = "authorization";
const BEARER: &str = "Bearer ";
/// The header with the caller's cluster.
pub const CLUSTER: &str = "clusterid";

/// The connection that a request came by.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where from.
    pub address: SocketAddr,
    /// The caller's certificate and what vouches for it, verified; empty if it gave none.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Whether it is encrypted.
    pub encrypted: bool,
}

/// What a caller presents.
#[derive(Debug)]
pub struct Presented<'a> {
    /// The connection.
    pub connection: Option<&'a Connection>,
    /// A token, without its scheme.
    pub token: Option<&'a str>,
    /// The cluster that it says it is in.
    pub cluster: Option<&'a str>,
}

impl<'a> Presented<'a> {
    /// Reads it from a request.
    pub fn new(metadata: &'a MetadataMap, extensions: &'a Extensions) -> Self {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
        Self {
            connection: extensions.get::<Connection>(),
            token: text(AUTHORIZATION).and_then(|value| value.strip_prefix(BEARER)),
            cluster: text(CLUSTER),
        }
    }
}

/// Who a caller is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Its identity.
    pub identity: Identity,
    /// The pod that a token is bound to.
    pub pod: Option<CallerPod>,
    /// What proved it.
    pub proof: Proof,
}

/// The pod that a token is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallerPod {
    /// Its name, in the namespace of the identity.
    pub name: Text,
    /// Its uid.
    pub uid: Text,
}

/// What proved who a caller is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Proof {
    /// A client certificate of the mesh.
    Certificate,
    /// A token that an issuer of the configuration signed.
    Token,
    /// A token that the Kubernetes API reviewed.
    TokenReview,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::TokenReview => "token review",
        })
    }
}

/// Why a caller is not served. It is told no more than the kind; the reason is for our log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// Nothing that it presents proves who it is.
    #[error("not authenticated: {0}")]
    Unauthenticated(String),
    /// Whoever could tell cannot be asked.
    #[error("the caller cannot be authenticated now: {0}")]
    Unavailable(String),
}

impl From<&Denied> for Status {
    fn from(denied: &Denied) -> Self {
        match denied {
            Denied::Unauthenticated(_) => Self::unauthenticated("request authenticate failure"),
            Denied::Unavailable(_) => Self::unavailable("callers cannot be authenticated at present"),
        }
    }
}

/// A decision about a caller, later.
pub type Authenticating<'a> = Pin<Box<dyn Future<Output = Result<Caller, Denied>> + Send + 'a>>;

/// Decides who a caller is.
pub trait Authenticator: Send + Sync + 'static {
    /// Decides. What is not proved is denied.
    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Authenticating<'a>;
}
