//! Certificates from the control plane, by Istio's CA RPC.
//!
//! A node's tunnel asks for the identities of its node's pods, each by name (`ImpersonatedIdentity`); the authority
//! decides whether it may. The key is made here and never leaves.

pub mod kept;

use std::time::Duration;

use adit_mesh::Identity;
use adit_pki::{IssueError, Issued, Issuer, Request, issuer::Issuing};
use adit_proto::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use adit_proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::Mutex;
use tonic::Code;
use tonic::transport::Channel;

use crate::channel::{ControlPlane, told};

/// The field of the metadata that names for whom a node asks.
pub const IMPERSONATED: &str = "ImpersonatedIdentity";

/// The control plane's authority.
#[derive(Debug)]
pub struct RemoteAuthority {
    control_plane: ControlPlane,
    ttl: Duration,
    /// Kept between requests; made anew after a failure, because roots may have changed.
    channel: Mutex<Option<Channel>>,
}

impl RemoteAuthority {
    /// The authority of a control plane; certificates are to be valid for `ttl`.
    pub fn new(control_plane: ControlPlane, ttl: Duration) -> Self {
        Self {
            control_plane,
            ttl,
            channel: Mutex::default(),
        }
    }

    async fn channel(&self) -> Result<Channel, IssueError> {
        let mut kept = self.channel.lock().await;
        if let Some(channel) = &*kept {
            return Ok(channel.clone());
        }
        let channel = self.control_plane.connect().await.map_err(unavailable)?;
        *kept = Some(channel.clone());
        Ok(channel)
    }

    async fn ask(&self, identity: &Identity) -> Result<Issued, IssueError> {
        let request = Request::new(identity).map_err(unavailable)?;
        let name = Value {
            kind: Some(Kind::StringValue(identity.to_string())),
        };
        let message = IstioCertificateRequest {
            csr: request.csr_pem().map_err(unavailable)?,
            validity_duration: i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX),
            metadata: Some(Struct {
                fields: [(IMPERSONATED.to_owned(), name)].into(),
            }),
        };
        let message = self.control_plane.request(message).await.map_err(unavailable)?;
        let mut client = IstioCertificateServiceClient::new(self.channel().await?);
        let answer = client.create_certificate(message).await;
        let answer = match answer {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                let reason = told(&status);
                return Err(match status.code() {
                    Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => {
                        IssueError::Refused { reason }
                    }
                    _ => {
                        *self.channel.lock().await = None;
                        IssueError::Unavailable { reason }
                    }
                });
            }
        };
        let (chain, roots) = read(&answer)?;
        Ok(Issued {
            chain,
            key: request.into_key(),
            roots,
        })
    }
}

impl Issuer for RemoteAuthority {
    fn issue<'a>(&'a self, identity: &'a Identity) -> Issuing<'a> {
        Box::pin(self.ask(identity))
    }
}

fn unavailable(error: impl std::fmt::Display) -> IssueError {
    IssueError::Unavailable {
        reason: error.to_string(),
    }
}

type Chain = Vec<CertificateDer<'static>>;

/// The certificate with its intermediates, and the roots, which are the last element.
fn read(answer: &IstioCertificateResponse) -> Result<(Chain, Chain), IssueError> {
    let Some((roots, chain)) = answer
        .cert_chain
        .split_last()
        .filter(|(_, chain)| !chain.is_empty())
    else {
        return Err(IssueError::Empty);
    };
    let all = |pem: &str| -> Result<Chain, _> { CertificateDer::pem_slice_iter(pem.as_bytes()).collect() };
    let unreadable = |_| IssueError::Unusable(adit_pki::InvalidCertificate::Encoding);
    let mut certificates = Vec::new();
    // Older servers send leaf and intermediates as one element.
    for element in chain {
        certificates.extend(all(element).map_err(unreadable)?);
    }
    if certificates.is_empty() {
        return Err(IssueError::Empty);
    }
    Ok((certificates, all(roots).map_err(|_| IssueError::Root)?))
}

#[cfg(test)]
mod tests {
    use adit_pki::Authority;
    use std::time::SystemTime;

    use super::*;

    fn identity() -> Identity {
        "spiffe://cluster.local/ns/bank/sa/payments"
            .parse()
            .expect("valid")
    }

    fn answered(elements: impl Into<Vec<String>>) -> IstioCertificateResponse {
        IstioCertificateResponse {
            cert_chain: elements.into(),
        }
    }

    #[test]
    fn the_last_element_of_an_answer_is_the_roots() {
        let now = SystemTime::now();
        let authority = Authority::self_signed(now).expect("an authority");
        let request = Request::new(&identity()).expect("a request");
        let signed = authority.issue(request.csr(), &identity(), Duration::ZERO, now);
        let signed = signed.expect("a certificate");
        let (chain, roots) = read(&answered(signed.pem_chain())).expect("readable");
        assert_eq!(chain, [signed.leaf]);
        assert_eq!(roots, authority.roots());
    }

    #[test]
    fn an_answer_without_a_certificate_or_without_roots_is_none() {
        for elements in [
            vec![],
            vec!["only one".to_owned()],
            vec![String::new(), String::new()],
        ] {
            assert_eq!(read(&answered(elements)).err(), Some(IssueError::Empty));
        }
    }
}
