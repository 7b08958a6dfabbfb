//! The lab issues the tokens of its service accounts itself, as a Kubernetes API server would: signed, for one audience,
//! and bound to a pod. The control plane verifies them with the published key.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;

use super::manifests::Identity;

/// Who issues them.
pub const ISSUER: &str = "https://lab.adit.invalid";
/// Whom they are for.
pub const AUDIENCE: &str = "istio-ca";
/// Longer than anybody leaves a lab open. A kubelet would replace them before.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
const KEY_ID: &str = "lab";

/// The lab's issuer of tokens.
pub struct Issuer {
    key: EncodingKey,
    path: PathBuf,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// Makes a key, and publishes it in a file.
    ///
    /// # Errors
    /// The cryptography fails, or the file cannot be written.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
        // Uncompressed (SEC 1, section 2.3.3): 4, then both coordinates.
        let coordinates = pair
            .public_key_raw()
            .get(1..65)
            .context("a key of another kind")?;
        let (x, y) = coordinates.split_at(32);
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let keys = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID, "x": part(x), "y": part(y),
        }]});
        std::fs::write(path, keys.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            path: path.to_owned(),
        })
    }

    /// Where its key is published.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A token for a pod.
    ///
    /// # Errors
    /// The cryptography fails.
    pub fn issue(&self, pod: Identity<'_>) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let Identity {
            name,
            namespace,
            uid,
            service_account,
            node,
        } = pod;
        let claims = json!({
            "iss": ISSUER,
            "aud": [AUDIENCE],
            "sub": format!("system:serviceaccount:{namespace}:{service_account}"),
            "iat": now.as_secs(),
            "nbf": now.as_secs(),
            "exp": (now + LIFETIME).as_secs(),
            "kubernetes.io": {
                "namespace": namespace,
                "node": { "name": node },
                "pod": { "name": name, "uid": uid },
                "serviceaccount": { "name": service_account },
            },
        });
        let header = Header {
            kid: Some(KEY_ID.to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        encode(&header, &claims, &self.key).context("cannot sign a token")
    }
}
