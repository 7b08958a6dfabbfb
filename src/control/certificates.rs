//! The CA service: Istio's RPC.
//!
//! Whose certificate is signed follows from who was authenticated, never from the request: the caller's own, or, for the
//! account of a node's tunnel, that of a pod which runs on the node of the tunnel's pod. Every decision is a line of the
//! audit log.

mod decide;
pub mod serving;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_discovery::auth::{Authenticator, Caller, Presented};
use adit_mesh::Identity;
use adit_pki::issue::SignError;
use adit_pki::{Authority, Certificate};
use adit_proto::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use adit_proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

pub use decide::{NodeAccount, Refusal};

use crate::metrics::Metrics;
use crate::placement::Placement;

/// A signing request of P-256 is 400 bytes.
const LARGEST_REQUEST: usize = 64 * 1024;
/// For each caller: a node with 110 pods of 110 accounts starts within three seconds, and no caller keeps a core busy.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not 0");

/// The CA service.
#[derive(Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
}

struct Shared {
    authority: watch::Receiver<Arc<Authority>>,
    authenticator: Arc<dyn Authenticator>,
    placement: Placement,
    node_accounts: Vec<NodeAccount>,
    trust_domain: adit_mesh::TrustDomain,
    metrics: Arc<Metrics>,
    turns: DefaultKeyedRateLimiter<String>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Signs with the authority of the moment. `node_accounts` may ask for the identities of the pods on their node.
    pub fn new(
        authority: watch::Receiver<Arc<Authority>>,
        authenticator: Arc<dyn Authenticator>,
        placement: Placement,
        node_accounts: Vec<NodeAccount>,
        trust_domain: adit_mesh::TrustDomain,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                authority,
                authenticator,
                placement,
                node_accounts,
                trust_domain,
                metrics,
                turns: RateLimiter::keyed(Quota::per_second(PER_SECOND)),
            }),
        }
    }

    /// The service, for a gRPC server.
    pub fn service(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self).max_decoding_message_size(LARGEST_REQUEST)
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Certificates {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let shared = &self.shared;
        shared.metrics.certificates.requests.inc();
        let presented = Presented::new(request.metadata(), request.extensions());
        let from = presented
            .connection
            .map(|connection| connection.address.to_string());
        let caller = shared
            .authenticator
            .authenticate(&presented)
            .await
            .map_err(|denied| {
                shared.metrics.certificates.unauthenticated.inc();
                tracing::warn!(target: "audit", from, "no certificate: {denied}");
                Status::from(&denied)
            })?;
        let key = caller.identity.to_string();
        if shared.turns.check_key(&key).is_err() {
            return Err(shared.refuse(&caller, None, &Refusal::TooMany));
        }
        let message = request.into_inner();
        let decided = decide::identity(
            &caller,
            message.metadata.as_ref(),
            &shared.placement,
            &shared.node_accounts,
            &shared.trust_domain,
        );
        let identity =
            decided.map_err(|(wanted, refusal)| shared.refuse(&caller, wanted.as_ref(), &refusal))?;
        let signed = shared.sign(&message, &identity);
        let signed = signed.map_err(|refusal| shared.refuse(&caller, Some(&identity), &refusal))?;
        shared.metrics.certificates.issued.inc();
        if let Ok(certificate) = Certificate::parse(&signed.leaf) {
            tracing::info!(
                target: "audit",
                caller = %caller.identity,
                pod = caller.pod.as_ref().map(|pod| pod.name.as_str()),
                proof = %caller.proof,
                %identity,
                serial = certificate.serial_text(),
                expires = %time::OffsetDateTime::from(certificate.not_after),
                "certificate issued"
            );
        }
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: signed.pem_chain(),
        }))
    }
}

impl Shared {
    fn sign(
        &self,
        message: &IstioCertificateRequest,
        identity: &Identity,
    ) -> Result<adit_pki::issue::Signed, Refusal> {
        let request = CertificateSigningRequestDer::from_pem_slice(message.csr.as_bytes())
            .map_err(|_| Refusal::Request(SignError::Request))?;
        // None, and what is less, leaves it to us.
        let ttl = Duration::from_secs(u64::try_from(message.validity_duration).unwrap_or(0));
        let authority = self.authority.borrow().clone();
        authority
            .issue(&request, identity, ttl, SystemTime::now())
            .map_err(Refusal::Request)
    }

    fn refuse(&self, caller: &Caller, wanted: Option<&Identity>, refusal: &Refusal) -> Status {
        self.metrics.certificates.refused(refusal.name());
        tracing::warn!(
            target: "audit",
            caller = %caller.identity,
            pod = caller.pod.as_ref().map(|pod| pod.name.as_str()),
            proof = %caller.proof,
            identity = wanted.map(ToString::to_string),
            "certificate refused: {refusal}"
        );
        refusal.status()
    }
}
