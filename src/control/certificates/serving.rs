//! The control plane's own certificate, by its own authority: renewed at half of its life and when the authority changes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_pki::Authority;
use adit_pki::issue::SignError;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;

/// A day, as workloads have it.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Why there is no certificate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServingError {
    /// It cannot be signed.
    #[error("cannot sign the control plane's own certificate: {0}")]
    Sign(#[from] SignError),
    /// It cannot be used.
    #[error("cannot use the control plane's own certificate: {0}")]
    Tls(String),
}

/// TLS with a new certificate for these names. Clients may show a certificate of the mesh; one that does not hold ends
/// the handshake.
///
/// # Errors
/// See [`ServingError`].
pub fn config(
    authority: &Authority,
    names: &[String],
    now: SystemTime,
) -> Result<ServerConfig, ServingError> {
    let tls = |error: &dyn std::fmt::Display| ServingError::Tls(error.to_string());
    let issued = authority.issue_server(names, TTL, now)?;
    let mut roots = RootCertStore::empty();
    for root in authority.roots() {
        roots.add(root.clone()).map_err(|error| tls(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| tls(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(&error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(issued.chain, issued.key)
        .map_err(|error| tls(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Keeps the certificate fresh, for as long as anybody wants it.
pub async fn keep(
    mut authority: watch::Receiver<Arc<Authority>>,
    names: Vec<String>,
    configs: watch::Sender<Arc<ServerConfig>>,
) {
    let mut wait = TTL / 2;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = authority.changed() => if changed.is_err() {
                return;
            },
            () = configs.closed() => return,
        }
        let current = authority.borrow_and_update().clone();
        match config(&current, &names, SystemTime::now()) {
            Ok(config) => {
                configs.send_replace(Arc::new(config));
                wait = TTL / 2;
            }
            Err(error) => {
                tracing::error!(%error, "the old certificate stays");
                wait = RETRY;
            }
        }
    }
}
