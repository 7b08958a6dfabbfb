//! Judging a peer's certificate chain: the one place where it is decided whom to believe.

use std::sync::Arc;

use adit_mesh::{Identity, TrustDomain};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    KeyUsage, RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
    VerifiedPath,
};

use super::{Crls, Roots};
use crate::certificate::{InvalidCertificate, KeyUses, peer_identity};
use crate::refusal::{ChainRule, TlsRefusal};

/// Which side of a connection the peer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// It connected to us.
    Client,
    /// We connected to it.
    Server,
}

/// What a workload believes of its peers' certificates.
#[derive(Debug)]
pub struct PeerCheck {
    roots: Arc<Roots>,
    crls: Arc<Crls>,
    own: TrustDomain,
    aliases: Arc<[TrustDomain]>,
}

impl PeerCheck {
    pub(super) fn new(
        roots: Arc<Roots>,
        crls: Arc<Crls>,
        own: TrustDomain,
        aliases: Arc<[TrustDomain]>,
    ) -> Self {
        Self {
            roots,
            crls,
            own,
            aliases,
        }
    }

    /// The roots that are trusted.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        self.roots.certificates()
    }

    /// Who the owner of a chain is, if the chain is to be believed at `now`: it leads to a root, every
    /// certificate of it holds and is not revoked, its purpose is `side`, and it names one workload.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn identify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<Identity, TlsRefusal> {
        match side {
            Side::Client => self.chain(leaf, intermediates, KeyUsage::client_auth(), now)?,
            Side::Server => self.chain(leaf, intermediates, KeyUsage::server_auth(), now)?,
        }
        peer_identity(leaf).map_err(TlsRefusal::Invalid)
    }

    /// Whether a workload of this trust domain may connect to us.
    pub fn accepts(&self, domain: &TrustDomain) -> bool {
        *domain == self.own || self.aliases.contains(domain)
    }

    /// Judges the chain (certificate first) of a live connection again, after a change of trust. Its validity
    /// in time is not asked again: a connection may outlive the certificate that opened it.
    ///
    /// # Errors
    /// [`TlsRefusal::Revoked`] if it has been revoked since; [`TlsRefusal::Untrusted`] and others if the chain
    /// cannot be judged any more, because its root is gone from the bundle.
    pub fn recheck(&self, chain: &[CertificateDer<'_>]) -> Result<(), TlsRefusal> {
        let (leaf, intermediates) = chain.split_first().ok_or(TlsRefusal::NoCertificate)?;
        // The moment at which the youngest certificate of the chain began: all of them held then.
        let began = chain
            .iter()
            // What cannot be read was of no use then either.
            .filter_map(|der| crate::Certificate::parse(der).ok())
            .map(|certificate| certificate.not_before)
            .max()
            .and_then(|began| began.duration_since(std::time::UNIX_EPOCH).ok())
            .unwrap_or_default();
        self.chain(leaf, intermediates, AnyPurpose, UnixTime::since_unix_epoch(began))
    }

    /// Whether the chain (certificate first) of a live connection has been revoked.
    pub fn is_revoked(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.recheck(chain) == Err(TlsRefusal::Revoked)
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: impl ExtendedKeyUsageValidator + Copy,
        now: UnixTime,
    ) -> Result<(), TlsRefusal> {
        let peer = leaf;
        let leaf = EndEntityCert::try_from(leaf).map_err(refusal)?;
        let verify = |anchors: &[TrustAnchor<'_>], revocation: Option<RevocationOptions<'_>>| {
            leaf.verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                anchors,
                intermediates,
                now,
                usage,
                revocation,
                None,
            )
            .map_err(refusal)
            .and_then(|path| self.check_rules(peer, &path))
        };
        let anchors = self.roots.anchors();
        verify(anchors, None)?;
        let groups = self.crls.groups();
        if groups.is_empty() {
            return Ok(());
        }
        // Revocation is asked root by root. Asked with all roots at once, webpki reports one of the errors it
        // met on its ways, and it could not be told whether the chain is revoked or only does not lead to
        // that root.
        let mut revoked = false;
        for anchor in anchors {
            let lists = groups
                .iter()
                .map(|lists| verify(std::slice::from_ref(anchor), Some(revocation(lists))));
            match unrevoked(lists) {
                Ok(()) => return Ok(()),
                Err(refusal) => revoked |= refusal == TlsRefusal::Revoked,
            }
        }
        Err(if revoked {
            TlsRefusal::Revoked
        } else {
            TlsRefusal::RevocationUnknown
        })
    }

    /// The rules that webpki leaves to others: key usage, and how many authorities a root allows below it.
    fn check_rules(&self, leaf: &CertificateDer<'_>, path: &VerifiedPath<'_>) -> Result<(), TlsRefusal> {
        let broken = |rule| Err(TlsRefusal::RuleBroken(rule));
        if !KeyUses::of(leaf).map_err(TlsRefusal::Invalid)?.handshakes {
            return broken(ChainRule::Workload);
        }
        let mut authorities = 0;
        for authority in path.intermediate_certificates() {
            if !KeyUses::of(&authority.der())
                .map_err(TlsRefusal::Invalid)?
                .certificates
            {
                return broken(ChainRule::Authority);
            }
            authorities += 1;
        }
        match self.roots.path_length(path.anchor()) {
            Some(most) if authorities > most => broken(ChainRule::PathLength),
            _ => Ok(()),
        }
    }
}

/// What all groups of lists say together. Of several lists of one issuer's name some may belong to its former
/// key, and say nothing; not all of them.
fn unrevoked(lists: impl Iterator<Item = Result<(), TlsRefusal>>) -> Result<(), TlsRefusal> {
    let mut answer = Err(TlsRefusal::RevocationUnknown);
    for result in lists {
        match result {
            Err(TlsRefusal::RevocationUnknown) => {}
            Err(refusal) => return Err(refusal),
            Ok(()) => answer = Ok(()),
        }
    }
    answer
}

/// How lists are applied; the reasons are in [`super::crl`].
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> RevocationOptions<'a> {
    RevocationOptionsBuilder::new(lists)
        .expect("only an empty set of lists is refused, and `Crls::groups` makes none")
        .with_depth(RevocationCheckDepth::Chain)
        .with_status_policy(UnknownStatusPolicy::Allow)
        .with_expiration_policy(ExpirationPolicy::Ignore)
        .build()
}

fn refusal(error: webpki::Error) -> TlsRefusal {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } | E::InvalidCertValidity => TlsRefusal::Expired,
        E::CertNotValidYet { .. } => TlsRefusal::NotYetValid,
        E::CertRevoked => TlsRefusal::Revoked,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => TlsRefusal::WrongPurpose,
        E::EndEntityUsedAsCa => TlsRefusal::RuleBroken(ChainRule::Authority),
        E::CaUsedAsEndEntity => TlsRefusal::RuleBroken(ChainRule::Workload),
        E::PathLenConstraintViolated => TlsRefusal::RuleBroken(ChainRule::PathLength),
        E::NameConstraintViolation => TlsRefusal::RuleBroken(ChainRule::Names),
        E::UnsupportedCriticalExtension => TlsRefusal::RuleBroken(ChainRule::Extensions),
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            TlsRefusal::RuleBroken(ChainRule::Algorithm)
        }
        E::InvalidCrlSignatureForPublicKey
        | E::UnsupportedCrlSignatureAlgorithmContext(_)
        | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
        | E::IssuerNotCrlSigner
        | E::UnknownRevocationStatus => TlsRefusal::RevocationUnknown,
        E::BadDer
        | E::BadDerTime
        | E::ExtensionValueInvalid
        | E::InvalidSerialNumber
        | E::MalformedExtensions
        | E::TrailingData(_)
        | E::UnsupportedCertVersion => TlsRefusal::Invalid(InvalidCertificate::Encoding),
        _ => TlsRefusal::Untrusted,
    }
}

/// Accepts whatever a certificate may be used for: that was decided when the connection began.
#[derive(Clone, Copy)]
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
