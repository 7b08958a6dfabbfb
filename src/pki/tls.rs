//! The TLS of the mesh, in one place: version, suites, key exchange, and what is left out.
//!
//! * TLS 1.3 only: both ends are ours or ztunnel's, which speaks it.
//! * AES-256-GCM, then AES-128-GCM: what Istio allows; every server processor of today does AES in hardware.
//! * X25519MLKEM768 first, so that traffic recorded today stays secret from tomorrow's quantum computers;
//!   X25519 and P-256 after it for peers without. [`Compliance::Pqc`] leaves only the first.
//! * ALPN `h2`; nothing else is spoken on port 15008.
//! * No SNI: the destination is an address, its proof is the SPIFFE identity.
//! * No resumption and no tickets: connections live long, and a resumed session would carry on with a
//!   certificate that is no longer looked at.
//! * Every configuration is built once per certificate generation ([`Credentials`](crate::Credentials)).

mod verify;

use std::fmt;
use std::sync::{Arc, LazyLock};

use adit_mesh::Identity;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{IpAddr, ServerName};

use crate::trust::PeerCheck;

/// The only protocol inside.
const ALPN: &[u8] = b"h2";

/// Which rules the cryptography has to follow (`COMPLIANCE_POLICY`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compliance {
    /// The usual set.
    #[default]
    Default,
    /// Post-quantum key exchange or no connection.
    Pqc,
}

impl std::str::FromStr for Compliance {
    type Err = UnknownCompliance;

    /// The values of `COMPLIANCE_POLICY`: `pqc`, or nothing.
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value {
            "" => Ok(Self::Default),
            "pqc" => Ok(Self::Pqc),
            _ => Err(UnknownCompliance(value.to_owned())),
        }
    }
}

/// A compliance policy that is not known; obeying it only in part would be worse than refusing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown compliance policy {0:?} (allowed: \"pqc\", or unset)")]
pub struct UnknownCompliance(pub String);

/// How TLS is spoken.
#[derive(Clone)]
pub struct TlsOptions {
    /// The rules for the cryptography.
    pub compliance: Compliance,
    /// The clock against which certificates are judged.
    pub time: Arc<dyn TimeProvider>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            compliance: Compliance::Default,
            time: Arc::new(DefaultTimeProvider),
        }
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("compliance", &self.compliance)
            .finish_non_exhaustive()
    }
}

/// The cryptography of the mesh. Also meant for connections to the control plane, which the compliance policy
/// covers too.
pub fn provider(compliance: Compliance) -> Arc<CryptoProvider> {
    static DEFAULT: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(build_provider(Compliance::Default)));
    static PQC: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(build_provider(Compliance::Pqc)));
    Arc::clone(match compliance {
        Compliance::Default => &DEFAULT,
        Compliance::Pqc => &PQC,
    })
}

/// The name to give to [`rustls::ClientConnection::new`]. It is neither sent nor checked: the identity is.
pub fn unnamed() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::V4([0, 0, 0, 0].into()))
}

/// The configuration of a server that proves itself with `key` and demands of its clients what `check` says.
pub(crate) fn server_config(
    options: &TlsOptions,
    key: &Arc<CertifiedKey>,
    check: &Arc<PeerCheck>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = provider(options.compliance);
    let verifier = verify::Clients::new(Arc::clone(check));
    let mut config = ServerConfig::builder_with_details(provider, Arc::clone(&options.time))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The configuration of a client that proves itself with `key` and believes nobody yet; [`expecting`] says
/// whom.
pub(crate) fn client_config(
    options: &TlsOptions,
    key: &Arc<CertifiedKey>,
    check: &Arc<PeerCheck>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = provider(options.compliance);
    let nobody = verify::Servers::new(Arc::clone(check), Arc::new([]));
    let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&options.time))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(nobody))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The same client, talking to one of `expected` only.
pub(crate) fn expecting(
    base: &ClientConfig,
    check: &Arc<PeerCheck>,
    expected: Arc<[Identity]>,
) -> ClientConfig {
    let mut config = base.clone();
    let verifier = verify::Servers::new(Arc::clone(check), expected);
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    config
}

fn build_provider(compliance: Compliance) -> CryptoProvider {
    let kx_groups = match compliance {
        Compliance::Default => vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        Compliance::Pqc => vec![kx_group::X25519MLKEM768],
    };
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups,
        ..aws_lc_rs::default_provider()
    }
}

#[cfg(test)]
mod tests;
