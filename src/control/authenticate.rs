//! Who calls: a client certificate of the mesh, or a token of a service account.
//!
//! What is presented decides which way is taken, and a way that fails is not made up for by another: a caller with a
//! token that does not hold is nobody, whatever certificate it has beside.

pub mod token;

use adit_discovery::auth::{Authenticating, Authenticator, Caller, Denied, Presented, Proof};
use adit_pki::peer_identity;

use token::TokenIssuer;

/// Decides by what it was given.
#[derive(Debug)]
pub struct Authentication {
    tokens: Option<TokenIssuer>,
}

impl Authentication {
    /// Takes client certificates, and the tokens of an issuer.
    pub fn new(tokens: Option<TokenIssuer>) -> Self {
        Self { tokens }
    }

    async fn decide(&self, presented: &Presented<'_>) -> Result<Caller, Denied> {
        let unauthenticated = |reason: String| Err(Denied::Unauthenticated(reason));
        match (presented.token, presented.connection) {
            (Some(token), Some(connection)) if connection.encrypted => match &self.tokens {
                Some(issuer) => issuer.verify(token).await,
                None => {
                    unauthenticated("a token was given, and no issuer of tokens is configured".to_owned())
                }
            },
            // It has been read on the way already; taking it would teach people to send it so.
            (Some(_), _) => unauthenticated("a token was given on a connection without TLS".to_owned()),
            (None, Some(connection)) => match connection.certificates.first() {
                Some(leaf) => match peer_identity(leaf) {
                    Ok(identity) => Ok(Caller {
                        identity,
                        pod: None,
                        proof: Proof::Certificate,
                    }),
                    Err(error) => unauthenticated(error.to_string()),
                },
                None => unauthenticated("neither a certificate nor a token was given".to_owned()),
            },
            (None, None) => unauthenticated("the connection is not known".to_owned()),
        }
    }
}

impl Authenticator for Authentication {
    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Authenticating<'a> {
        Box::pin(self.decide(presented))
    }
}
