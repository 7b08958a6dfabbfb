//! Revocation lists, arranged for verification.
//!
//! For each certificate webpki asks the first list that names its issuer and fails if that list has another
//! signer. That is right while every issuer has one list. While a CA changes its key under the same name
//! there are two lists of one name, so then each list is asked by itself ([`Crls::groups`]) and one whose
//! signer is not in the chain has nothing to say about it.
//!
//! The whole chain is checked; a certificate whose issuer has no list is accepted, because not every CA of a
//! chain publishes one; a list past its `nextUpdate` is still obeyed, because ignoring it would let the
//! revoked in and refusing everybody would cut the mesh when a publisher is late. All three are as in Istio.

use rustls_pki_types::CertificateRevocationListDer;
use webpki::{CertRevocationList, OwnedCertRevocationList};

/// The revocation lists of all files.
#[derive(Debug, Default)]
pub(crate) struct Crls {
    lists: Vec<CertRevocationList<'static>>,
    one_list_an_issuer: bool,
}

impl Crls {
    /// Arranges lists that were read from files.
    pub(crate) fn new(lists: Vec<OwnedCertRevocationList>) -> Self {
        let lists: Vec<CertRevocationList<'static>> = lists.into_iter().map(Into::into).collect();
        let one_list_an_issuer = lists
            .iter()
            .enumerate()
            .all(|(index, list)| lists[..index].iter().all(|other| other.issuer() != list.issuer()));
        Self {
            lists,
            one_list_an_issuer,
        }
    }

    /// Reads one list.
    ///
    /// # Errors
    /// What webpki cannot use: malformed, an unknown critical extension, indirect or delta lists.
    pub(crate) fn parse(
        der: &CertificateRevocationListDer<'_>,
    ) -> Result<OwnedCertRevocationList, webpki::Error> {
        OwnedCertRevocationList::from_der(der)
    }

    /// How many lists there are.
    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }

    /// The sets of lists to ask, one verification each. None if there is no list.
    pub(crate) fn groups(&self) -> Vec<Vec<&CertRevocationList<'static>>> {
        match (self.lists.is_empty(), self.one_list_an_issuer) {
            (true, _) => Vec::new(),
            (false, true) => vec![self.lists.iter().collect()],
            (false, false) => self.lists.iter().map(|list| vec![list]).collect(),
        }
    }
}
