//! The way to the control plane: gRPC over TLS, with the token of the caller's service account.
//!
//! Everything that can change while we run is read when it is used: the roots for every connection, the token for every
//! request. Kubernetes rotates both under our feet.

mod verifier;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adit_mesh::Text;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::auth::CLUSTER;
use verifier::Verifier;

/// TCP, TLS and HTTP/2 together. Longer than three lost SYNs (1 + 2 + 4 s), shorter than anybody likes to wait.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// As istiod probes its clients: a control plane that vanished is noticed within 40 seconds.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(10);

/// A control plane, and who we are to it.
#[derive(Clone, PartialEq, Debug)]
pub struct ControlPlane {
    /// Its address; the scheme is https.
    pub address: Uri,
    /// Whom its certificate must come from.
    pub roots: Roots,
    /// A second name that its certificate may have.
    pub alternative: Option<ServerName<'static>>,
    /// What proves who we are.
    pub token: Option<Token>,
    /// Headers to be sent along.
    pub headers: HeaderMap,
    /// The cluster that we are in.
    pub cluster: Text,
}

/// Whom a control plane's certificate must come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Roots {
    /// Those of a file (PEM), which is read for every connection.
    File(PathBuf),
    /// Those of the operating system.
    System,
    /// These (PEM).
    Pem(String),
}

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// The content of a file, which is read for every request.
    File(PathBuf),
    /// This text.
    Literal(String),
}

/// Never shows a token.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Literal(_) => f.write_str("Literal(..)"),
        }
    }
}

/// Why the control plane cannot be called.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The roots cannot be had.
    #[error("the roots that the control plane is verified by cannot be used: {0}")]
    Roots(String),
    /// The token cannot be had.
    #[error("the token {} cannot be read: {reason}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no way to it.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// Its address.
        address: String,
        /// What happened.
        reason: String,
    },
}

impl ControlPlane {
    /// Connects.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        let tls = self.tls().await?;
        let host = self.address.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone())
            .map_err(|_| self.unreachable(format!("{host:?} is no host name")))?;
        let port = self.address.port_u16().unwrap_or(443);
        let connector = service_fn(move |_: Uri| {
            let (tls, name, host) = (tls.clone(), name.clone(), host.clone());
            async move {
                let tcp = TcpStream::connect((host.as_str(), port)).await?;
                tcp.set_nodelay(true)?;
                let stream = TlsConnector::from(tls).connect(name, tcp).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // tonic would insist on a TLS of its own for https; requests carry the right scheme by their origin.
        let plain = Uri::builder()
            .scheme("http")
            .authority("control-plane")
            .path_and_query("/")
            .build();
        let endpoint = Endpoint::from(plain.map_err(|error| self.unreachable(error.to_string()))?)
            .origin(self.address.clone())
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_DEADLINE)
            .keep_alive_while_idle(true);
        let connected =
            tokio::time::timeout(CONNECT_DEADLINE, endpoint.connect_with_connector(connector)).await;
        connected
            .map_err(|_| self.unreachable(format!("no answer within {CONNECT_DEADLINE:?}")))?
            .map_err(|error| self.unreachable(chain(&error)))
    }

    /// A request with everything that says who we are.
    ///
    /// # Errors
    /// [`ConnectError::Token`].
    pub async fn request<T>(&self, message: T) -> Result<tonic::Request<T>, ConnectError> {
        let mut headers = self.headers.clone();
        if let Ok(cluster) = HeaderValue::from_str(&self.cluster) {
            headers.insert(HeaderName::from_static(CLUSTER), cluster);
        }
        if let Some(token) = &self.token {
            headers.insert(http::header::AUTHORIZATION, token.header().await?);
        }
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }

    fn unreachable(&self, reason: String) -> ConnectError {
        ConnectError::Unreachable {
            address: self.address.to_string(),
            reason,
        }
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        let roots = self.roots.read().await?;
        let verifier = Verifier::new(&roots, self.alternative.clone()).map_err(ConnectError::Roots)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectError::Roots(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Roots {
    async fn read(&self) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
        let parse = |pem: &[u8], what: &str| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            match all {
                Ok(all) if !all.is_empty() => Ok(all),
                Ok(_) => Err(ConnectError::Roots(format!(
                    "{what} holds no certificate in PEM form"
                ))),
                Err(error) => Err(ConnectError::Roots(format!("{what}: {error}"))),
            }
        };
        match self {
            Self::Pem(pem) => parse(pem.as_bytes(), "the given text"),
            Self::File(path) => {
                let path_text = path.display().to_string();
                let read = tokio::fs::read(path).await;
                let pem = read.map_err(|error| ConnectError::Roots(format!("{path_text}: {error}")))?;
                parse(&pem, &path_text)
            }
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                if found.certs.is_empty() {
                    return Err(ConnectError::Roots("the system has none".to_owned()));
                }
                Ok(found.certs)
            }
        }
    }
}

impl Token {
    async fn header(&self) -> Result<HeaderValue, ConnectError> {
        let (text, path) = match self {
            Self::Literal(text) => (text.clone(), PathBuf::new()),
            Self::File(path) => {
                let read = tokio::fs::read_to_string(path).await;
                let text = read.map_err(|error| ConnectError::Token {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
                (text, path.clone())
            }
        };
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", text.trim())).map_err(|_| ConnectError::Token {
                path,
                reason: "it has characters that no header may have".to_owned(),
            })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// An error with its causes: those of the transport say what happened only there.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// What a status says, with its causes.
pub(crate) fn told(status: &tonic::Status) -> String {
    match status.source() {
        Some(source) => format!("{}: {}", status.code(), chain(source)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}
