//! The collector: connecting to it, and handing it a batch (OTLP over gRPC).
//!
//! An answer is not trusted further than it has to be: its size is bounded, and its words are cut before they are
//! logged.

use std::error::Error;
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use super::settings::{Collector, Tls};

/// An answer is empty, or a number and a sentence. It is counted as it arrives, and gzip makes at most a thousand
/// times as much of it.
const LARGEST_ANSWER: usize = 16 * 1024;
/// So much of a collector's words is logged.
const MOST_WORDS: usize = 300;
/// As the specification wants it (OTLP Exporter, "User Agent").
const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Adit/", env!("CARGO_PKG_VERSION"));

/// Why the collector cannot be used as it was configured.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCollector {
    /// A file that cannot be read.
    #[error("{path} cannot be read: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path} has no {what} in PEM form in it", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// What stands in the files does not fit together.
    #[error("TLS with the collector cannot be set up: {0}")]
    Tls(String),
}

/// A batch that was not taken.
#[derive(Debug)]
pub(super) struct Failed {
    /// Why.
    pub(super) problem: String,
    /// Whether the same batch may be taken later.
    pub(super) retry: bool,
}

impl Failed {
    pub(super) fn later(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            retry: true,
        }
    }
}

impl Collector {
    /// Checks what can be known before the first connection: the files.
    ///
    /// # Errors
    /// See [`InvalidCollector`].
    pub async fn check(&self) -> Result<(), InvalidCollector> {
        self.prepare().await.map(drop)
    }

    pub(super) async fn connect(&self) -> Result<TraceServiceClient<Channel>, Failed> {
        let endpoint = self
            .prepare()
            .await
            .map_err(|error| Failed::later(error.to_string()))?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Failed::later(chain(&error)))?;
        let client = TraceServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
        Ok(if self.gzip {
            // gRPC's server in Go answers in the encoding that it was asked in, without asking for what we accept.
            client
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip)
        } else {
            client
        })
    }

    /// Hands over a batch; how many spans of it the collector did not want.
    pub(super) async fn export(
        &self,
        client: &mut TraceServiceClient<Channel>,
        batch: ExportTraceServiceRequest,
    ) -> Result<u64, Failed> {
        let mut request = Request::new(batch);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        let answer = client.export(request).await.map_err(|status| refused(&status))?;
        let Some(partial) = answer.into_inner().partial_success else {
            return Ok(0);
        };
        if !partial.error_message.is_empty() {
            tracing::debug!(says = cut(&partial.error_message), "the collector of spans");
        }
        Ok(u64::try_from(partial.rejected_spans).unwrap_or(0))
    }

    async fn prepare(&self) -> Result<Endpoint, InvalidCollector> {
        let endpoint = Endpoint::from(self.endpoint.clone()).connect_timeout(self.timeout);
        let endpoint = endpoint
            .user_agent(USER_AGENT)
            .map_err(|error| InvalidCollector::Tls(chain(&error)))?;
        match &self.tls {
            Some(tls) => endpoint
                .tls_config(verification(tls).await?)
                .map_err(|error| InvalidCollector::Tls(chain(&error))),
            None => Ok(endpoint),
        }
    }
}

async fn verification(tls: &Tls) -> Result<ClientTlsConfig, InvalidCollector> {
    let config =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificates(&tls.roots).await?));
    let Some((chain, key)) = &tls.client else {
        return Ok(config);
    };
    let key_text = read(key).await?;
    if PrivateKeyDer::from_pem_slice(&key_text).is_err() {
        return Err(InvalidCollector::Pem {
            path: key.clone(),
            what: "private key",
        });
    }
    Ok(config.identity(Identity::from_pem(certificates(chain).await?, key_text)))
}

/// The text of a file that has certificates in it.
async fn certificates(path: &Path) -> Result<Vec<u8>, InvalidCollector> {
    let text = read(path).await?;
    if CertificateDer::from_pem_slice(&text).is_err() {
        return Err(InvalidCollector::Pem {
            path: path.to_owned(),
            what: "certificate",
        });
    }
    Ok(text)
}

async fn read(path: &Path) -> Result<Vec<u8>, InvalidCollector> {
    tokio::fs::read(path)
        .await
        .map_err(|problem| InvalidCollector::File {
            path: path.to_owned(),
            problem,
        })
}

/// What a status means for the batch. Those say that it will never be taken that are about the request itself (OTLP
/// specification, "Failures"); everything else may be the way to the collector, and the batch has its deadline.
fn refused(status: &Status) -> Failed {
    let retry = !matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::Unauthenticated
    );
    let words = match status.source() {
        Some(source) => chain(source),
        None => cut(status.message()).to_owned(),
    };
    Failed {
        problem: format!("{}: {words}", status.code()),
        retry,
    }
}

/// An error with its causes: those of the transport say what happened only there.
fn chain(error: &dyn Error) -> String {
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

fn cut(words: &str) -> &str {
    &words[..words.floor_char_boundary(MOST_WORDS)]
}
