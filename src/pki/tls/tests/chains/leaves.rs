//! The certificate itself: its time, its purposes, what its key may sign, and its encoding.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose as Purpose, IsCa, KeyUsagePurpose as Usage};
use rustls_pki_types::CertificateDer;

use super::{Row, element, extension, judge, payments, with_chain};
use crate::certificate::InvalidCertificate as C;
use crate::fixtures::{Ca, HOUR, Leaf, NOW};
use crate::refusal::{ChainRule, TlsRefusal as R};
use crate::trust::Side;

/// Extended key usage.
const PURPOSES: u64 = 37;

#[test]
fn a_certificate_holds_in_its_time_only() {
    let between = |name, not_before, not_after, expected| {
        let leaf = Leaf {
            not_before,
            not_after,
            ..payments()
        };
        Row::signed(name, leaf, |_| {}, expected)
    };
    judge(vec![
        between("for one second, this one", NOW, NOW, Ok(())),
        between("expired a second ago", NOW - HOUR, NOW - 1, Err(R::Expired)),
        between(
            "valid from the next second on",
            NOW + 1,
            NOW + HOUR,
            Err(R::NotYetValid),
        ),
        between("expired before it began", NOW - 1, NOW - HOUR, Err(R::Expired)),
        between("expired long ago", 0, 1, Err(R::Expired)),
    ]);
}

#[test]
fn a_certificate_serves_its_purposes_only() {
    let with = |name, purposes: &[Purpose], expected| {
        let leaf = Leaf {
            purposes: purposes.to_vec(),
            ..payments()
        };
        Row::signed(name, leaf, |_| {}, expected)
    };
    let none_at_all = |params: &mut CertificateParams| {
        params
            .custom_extensions
            .push(extension(PURPOSES, element(0x30, &[])));
    };
    let no_purposes = Leaf {
        purposes: vec![],
        ..payments()
    };
    judge(vec![
        // The specification does not ask for purposes, only to obey them.
        with("no word of purposes", &[], Ok(())),
        with("for clients, as a client", &[Purpose::ClientAuth], Ok(())).only_as(&[Side::Client]),
        with(
            "for clients, as a server",
            &[Purpose::ClientAuth],
            Err(R::WrongPurpose),
        )
        .only_as(&[Side::Server]),
        with("for servers, as a server", &[Purpose::ServerAuth], Ok(())).only_as(&[Side::Server]),
        with(
            "for servers, as a client",
            &[Purpose::ServerAuth],
            Err(R::WrongPurpose),
        )
        .only_as(&[Side::Client]),
        with(
            "for something else",
            &[Purpose::CodeSigning],
            Err(R::WrongPurpose),
        ),
        // Whatever that is to mean, it is not the purpose that was asked for.
        with("for anything", &[Purpose::Any], Err(R::WrongPurpose)),
        Row::signed(
            "an empty list of purposes",
            no_purposes,
            none_at_all,
            Err(R::WrongPurpose),
        ),
    ]);
}

#[test]
fn a_workloads_key_signs_handshakes_and_nothing_else() {
    let with = |name, usages: &[Usage], expected| {
        let usages = usages.to_vec();
        Row::signed(name, payments(), |params| params.key_usages = usages, expected)
    };
    let authority =
        |name, is_ca: IsCa, expected| Row::signed(name, payments(), |params| params.is_ca = is_ca, expected);
    let broken = || Err(R::RuleBroken(ChainRule::Workload));
    let unconstrained = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    judge(vec![
        with("no word of usage", &[], Ok(())),
        with("signatures", &[Usage::DigitalSignature], Ok(())),
        with(
            "Istio's usages",
            &[Usage::DigitalSignature, Usage::KeyEncipherment],
            Ok(()),
        ),
        with("encipherment alone", &[Usage::KeyEncipherment], broken()),
        with(
            "certificates too",
            &[Usage::DigitalSignature, Usage::KeyCertSign],
            broken(),
        ),
        with(
            "revocation lists too",
            &[Usage::DigitalSignature, Usage::CrlSign],
            broken(),
        ),
        authority("said to be no authority", IsCa::ExplicitNoCa, Ok(())),
        authority("said to be an authority", unconstrained, broken()),
    ]);
}

#[test]
fn what_is_critical_has_to_be_understood() {
    let with = |name, critical, expected| {
        let mut unknown = extension(99, vec![5, 0]);
        unknown.set_criticality(critical);
        Row::signed(
            name,
            payments(),
            |params| params.custom_extensions.push(unknown),
            expected,
        )
    };
    judge(vec![
        with("an unknown extension", false, Ok(())),
        with(
            "a critical unknown extension",
            true,
            Err(R::RuleBroken(ChainRule::Extensions)),
        ),
    ]);
}

#[test]
fn a_certificate_is_whole_and_as_it_was_signed() {
    let changed = |name, change: fn(&mut Vec<u8>), expected| {
        let root = Ca::root("the root");
        let peer = with_chain(root.issue(payments()), |chain| {
            let mut der = chain[0].to_vec();
            change(&mut der);
            chain[0] = CertificateDer::from(der);
        });
        // Its owner could not even load it: it is judged alone.
        let row = Row::new(name, vec![root], peer, expected);
        let check = crate::fixtures::check(&crate::fixtures::trust(&[&row.roots[0]], &[], &[]));
        for side in super::BOTH {
            assert_eq!(row.alone(&check, *side), row.expected, "{name}");
        }
    };
    let encoding = || Err(R::Invalid(C::Encoding));
    changed("as it was", |_| {}, Ok(()));
    changed("cut", |der| der.truncate(der.len() - 1), encoding());
    changed("with a byte after it", |der| der.push(0), encoding());
    changed("empty", Vec::clear, encoding());
    changed(
        "another signature",
        |der| *der.last_mut().expect("bytes") ^= 1,
        Err(R::Untrusted),
    );
    changed(
        "another name than was signed",
        |der| rename(der),
        Err(R::Untrusted),
    );
}

/// Makes the name another one of the same length.
fn rename(der: &mut [u8]) {
    let at = der
        .windows(8)
        .position(|window| window == b"payments")
        .expect("the name");
    der[at..at + 8].copy_from_slice(b"treasury");
}
