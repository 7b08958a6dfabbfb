//! Certificates that outlive the process: an issuer that keeps what another one issues, and falls back on it.
//!
//! Whatever the other one answers in time counts. Only when it cannot be asked, or takes long, the kept certificate is
//! given once more, as long as it holds: a tunnel that is replaced while the control plane is away goes on speaking for
//! its pods. One that was refused is forgotten.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_mesh::Identity;
use adit_pki::issuer::Issuing;
use adit_pki::{Certificate, IssueError, Issued, Issuer, peer_identity};
use prost::Message;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use twox_hash::XxHash64;

use crate::kept::Kept;

/// A control plane that is there has answered by then.
const PATIENCE: Duration = Duration::from_secs(2);
/// One that ends sooner is not worth it.
const SHORTEST: Duration = Duration::from_secs(60);
/// What the names of certificates begin with.
const PREFIX: &str = "certificate-";
/// Their own end is what counts.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Keeps what another issuer issues.
pub struct KeptIssuer {
    inner: Arc<dyn Issuer>,
    kept: Kept,
}

/// A certificate as it is kept.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(bytes = "vec", repeated, tag = "1")]
    chain: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    roots: Vec<Vec<u8>>,
}

impl std::fmt::Debug for KeptIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptIssuer")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl KeptIssuer {
    /// Keeps what `inner` issues.
    pub fn new(inner: Arc<dyn Issuer>, kept: Kept) -> Self {
        Self { inner, kept }
    }

    async fn ask(&self, identity: &Identity) -> Result<Issued, IssueError> {
        let kept = self.get(identity);
        let answer = match &kept {
            Some(_) => within(PATIENCE, self.inner.issue(identity)).await,
            None => self.inner.issue(identity).await,
        };
        match answer {
            Ok(issued) => {
                self.put(identity, &issued);
                Ok(issued)
            }
            Err(error @ (IssueError::Unavailable { .. } | IssueError::TimedOut)) => match kept {
                Some(kept) => {
                    tracing::warn!(%identity, %error, "the certificate of before is used on");
                    Ok(kept)
                }
                None => Err(error),
            },
            Err(error) => {
                self.kept.remove(&name(identity));
                Err(error)
            }
        }
    }

    fn put(&self, identity: &Identity, issued: &Issued) {
        let all = |certificates: &[CertificateDer<'_>]| certificates.iter().map(|one| one.to_vec()).collect();
        let stored = Stored {
            chain: all(&issued.chain),
            key: issued.key.secret_der().to_vec(),
            roots: all(&issued.roots),
        };
        if let Err(error) = self.kept.put(&name(identity), &stored, SystemTime::now()) {
            tracing::warn!(%error, "a certificate is not kept for a successor");
        }
    }

    fn get(&self, identity: &Identity) -> Option<Issued> {
        let now = SystemTime::now();
        let found = self.kept.get::<Stored>(&name(identity), LONGEST, now);
        let (stored, _) = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "a certificate of before is not used");
            None
        })?;
        let all = |certificates: Vec<Vec<u8>>| certificates.into_iter().map(CertificateDer::from).collect();
        let chain: Vec<_> = all(stored.chain);
        let leaf = chain.first()?;
        let ends = Certificate::parse(leaf).ok()?.not_after;
        if ends < now + SHORTEST || peer_identity(leaf).as_ref() != Ok(identity) {
            self.kept.remove(&name(identity));
            return None;
        }
        Some(Issued {
            key: PrivateKeyDer::try_from(stored.key).ok()?,
            roots: all(stored.roots),
            chain,
        })
    }
}

impl Issuer for KeptIssuer {
    fn issue<'a>(&'a self, identity: &'a Identity) -> Issuing<'a> {
        Box::pin(self.ask(identity))
    }
}

async fn within(
    patience: Duration,
    answer: impl Future<Output = Result<Issued, IssueError>>,
) -> Result<Issued, IssueError> {
    tokio::time::timeout(patience, answer)
        .await
        .unwrap_or(Err(IssueError::TimedOut))
}

/// Forgets the certificates of all but these identities, whose pods have gone.
pub fn forget_others(kept: &Kept, identities: impl IntoIterator<Item = Identity>) {
    let wanted: Vec<_> = identities.into_iter().map(|identity| name(&identity)).collect();
    for name in kept.names() {
        if name.starts_with(PREFIX) && !wanted.contains(&name) {
            kept.remove(&name);
        }
    }
}

fn name(identity: &Identity) -> String {
    let text = identity.to_string();
    // Whose it is stands in the certificate, so that two identities of one name would only lose one of them.
    format!("{PREFIX}{:016x}", XxHash64::oneshot(0, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use adit_pki::{Authority, Request};

    use super::*;

    /// Issues, or fails as it is told.
    struct Scripted {
        authority: Authority,
        fails: Mutex<Option<IssueError>>,
        hangs: bool,
    }

    impl Issuer for Scripted {
        fn issue<'a>(&'a self, identity: &'a Identity) -> Issuing<'a> {
            Box::pin(async move {
                if self.hangs {
                    std::future::pending::<()>().await;
                }
                if let Some(error) = self.fails.lock().expect("no panic").clone() {
                    return Err(error);
                }
                let request = Request::new(identity).expect("a request");
                let signed = self
                    .authority
                    .issue(request.csr(), identity, Duration::ZERO, SystemTime::now());
                let signed = signed.expect("a certificate");
                Ok(Issued {
                    chain: vec![signed.leaf],
                    key: request.into_key(),
                    roots: signed.roots,
                })
            })
        }
    }

    fn scripted(fails: Option<IssueError>, hangs: bool) -> Arc<Scripted> {
        Arc::new(Scripted {
            authority: Authority::self_signed(SystemTime::now()).expect("an authority"),
            fails: Mutex::new(fails),
            hangs,
        })
    }

    fn identity(name: &str) -> Identity {
        format!("spiffe://cluster.local/ns/bank/sa/{name}")
            .parse()
            .expect("valid")
    }

    fn away() -> IssueError {
        IssueError::Unavailable {
            reason: "away".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_used_on_while_nobody_can_be_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(&folder.path().join("state")).expect("a directory");
        let payments = identity("payments");
        let issued = KeptIssuer::new(scripted(None, false), kept.clone())
            .issue(&payments)
            .await;
        let issued = issued.expect("a certificate");
        for successor in [scripted(Some(away()), false), scripted(None, true)] {
            let again = KeptIssuer::new(successor, kept.clone())
                .issue(&payments)
                .await
                .expect("that of before");
            assert_eq!(again.chain, issued.chain);
            assert_eq!(again.key.secret_der(), issued.key.secret_der());
            assert_eq!(again.roots, issued.roots);
        }
        let other = KeptIssuer::new(scripted(Some(away()), false), kept)
            .issue(&identity("ledger"))
            .await;
        assert_eq!(other.err(), Some(away()));
    }

    #[tokio::test]
    async fn what_is_issued_counts_and_what_is_refused_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(&folder.path().join("state")).expect("a directory");
        let payments = identity("payments");
        let inner = scripted(None, false);
        let issuer = KeptIssuer::new(inner.clone(), kept.clone());
        let first = issuer.issue(&payments).await.expect("a certificate");
        let second = issuer.issue(&payments).await.expect("a certificate");
        assert_ne!(first.chain, second.chain);
        let refused = IssueError::Refused {
            reason: "gone".to_owned(),
        };
        *inner.fails.lock().expect("no panic") = Some(refused.clone());
        assert_eq!(issuer.issue(&payments).await.err(), Some(refused));
        *inner.fails.lock().expect("no panic") = Some(away());
        assert_eq!(issuer.issue(&payments).await.err(), Some(away()));
    }

    #[tokio::test]
    async fn those_of_pods_that_have_gone_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(&folder.path().join("state")).expect("a directory");
        let issuer = KeptIssuer::new(scripted(None, false), kept.clone());
        for name in ["payments", "ledger"] {
            issuer.issue(&identity(name)).await.expect("a certificate");
        }
        kept.put("mesh", &Stored::default(), SystemTime::now())
            .expect("kept");
        forget_others(&kept, [identity("ledger")]);
        assert!(issuer.get(&identity("payments")).is_none());
        assert!(issuer.get(&identity("ledger")).is_some());
        assert_eq!(kept.names().len(), 2);
    }
}
