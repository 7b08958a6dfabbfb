//! Tokens of service accounts that an issuer signed whose keys we have (OIDC; the keys are a JSON Web Key Set, RFC 7517,
//! in a file).
//!
//! The claims are those of Kubernetes' bound tokens: the subject names namespace and service account, and `kubernetes.io`
//! the pod that the token is bound to.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use adit_discovery::auth::{Caller, CallerPod, Denied, Proof};
use adit_mesh::{Identity, TrustDomain};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::Mutex;

/// Signatures with a secret are left out: who verifies them could make them.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
];
/// What the subject of a service account begins with.
const SUBJECT: &str = "system:serviceaccount:";
/// Clocks differ.
const LEEWAY: u64 = 30;

/// An issuer of tokens.
#[derive(Debug)]
pub struct TokenIssuer {
    issuer: String,
    audience: String,
    trust_domain: TrustDomain,
    keys: PathBuf,
    loaded: Mutex<Loaded>,
}

/// The keys as they were in the file.
#[derive(Clone, Debug)]
struct Loaded {
    keys: JwkSet,
    changed: Option<SystemTime>,
}

#[derive(Deserialize, Debug)]
struct Claims {
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize, Debug)]
struct Kubernetes {
    namespace: String,
    pod: Option<Reference>,
}

#[derive(Deserialize, Debug)]
struct Reference {
    name: String,
    uid: String,
}

/// The keys cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct InvalidKeys {
    path: PathBuf,
    reason: String,
}

impl TokenIssuer {
    /// An issuer whose keys are in a file, which is read again when it has changed.
    ///
    /// # Errors
    /// The file cannot be read, or is no key set.
    pub fn open(
        issuer: String,
        audience: String,
        keys: PathBuf,
        trust_domain: TrustDomain,
    ) -> Result<Self, InvalidKeys> {
        let loaded = load(&keys)?;
        Ok(Self {
            issuer,
            audience,
            trust_domain,
            keys,
            loaded: Mutex::new(loaded),
        })
    }

    /// Who a token proves its bearer to be.
    ///
    /// # Errors
    /// It does not hold.
    pub async fn verify(&self, token: &str) -> Result<Caller, Denied> {
        let invalid = |reason: String| Denied::Unauthenticated(format!("the token does not hold: {reason}"));
        let header = decode_header(token).map_err(|error| invalid(error.to_string()))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(invalid(format!("signatures of {:?} are not taken", header.alg)));
        }
        let keys = self.keys().await;
        let candidates = keys
            .keys
            .iter()
            .filter(|key| match (&header.kid, &key.common.key_id) {
                (Some(wanted), Some(id)) => wanted == id,
                _ => true,
            });
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let mut reason = "no key of the issuer has its id".to_owned();
        for key in candidates {
            let Ok(key) = DecodingKey::from_jwk(key) else {
                continue;
            };
            match decode::<Claims>(token, &key, &validation) {
                Ok(decoded) => return self.caller(decoded.claims).map_err(invalid),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(invalid(reason))
    }

    fn caller(&self, claims: Claims) -> Result<Caller, String> {
        let account = claims
            .sub
            .strip_prefix(SUBJECT)
            .and_then(|rest| rest.split_once(':'));
        let Some((namespace, name)) = account else {
            return Err(format!("the subject {:?} is no service account", claims.sub));
        };
        let identity = Identity::new(self.trust_domain.clone(), namespace.into(), name.into())
            .map_err(|error| error.to_string())?;
        let pod = match claims.kubernetes {
            Some(bound) if bound.namespace != namespace => {
                return Err("it is bound to another namespace than its subject's".to_owned());
            }
            Some(bound) => bound.pod.map(|pod| CallerPod {
                name: pod.name.into(),
                uid: pod.uid.into(),
            }),
            None => None,
        };
        Ok(Caller {
            identity,
            pod,
            proof: Proof::Token,
        })
    }

    /// The keys; those that were good last, if the file is not at present.
    async fn keys(&self) -> JwkSet {
        let mut loaded = self.loaded.lock().await;
        if loaded.changed != changed(&self.keys) {
            match load(&self.keys) {
                Ok(now) => *loaded = now,
                Err(error) => {
                    tracing::warn!(%error, "the keys of tokens cannot be used; the last good ones stay")
                }
            }
        }
        loaded.keys.clone()
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn load(path: &Path) -> Result<Loaded, InvalidKeys> {
    let invalid = |reason: String| InvalidKeys {
        path: path.to_owned(),
        reason,
    };
    // Before it is read: a change in between is noticed the next time.
    let changed = changed(path);
    let text = std::fs::read(path).map_err(|error| invalid(format!("cannot be read: {error}")))?;
    let keys = serde_json::from_slice(&text)
        .map_err(|error| invalid(format!("not a JSON Web Key Set (RFC 7517): {error}")))?;
    Ok(Loaded { keys, changed })
}

#[cfg(test)]
mod tests;
