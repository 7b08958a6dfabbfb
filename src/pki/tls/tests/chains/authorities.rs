//! What stands above a certificate: who may sign, how far, which names, and in which order the chain comes.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Purpose, GeneralSubtree, IsCa,
    KeyUsagePurpose as Usage, NameConstraints, PKCS_ECDSA_P256_SHA256 as P256,
};
use rustls_pki_types::CertificateDer;

use super::{BOTH, Row, element, extension, judge, payments, with_chain};
use crate::fixtures::{Ca, HOUR, Leaf, NOW, Peer, check, date, dns, trust, uri};
use crate::refusal::{ChainRule, TlsRefusal as R};
use crate::trust::{InvalidRoot, Roots, Side};

/// Name constraints.
const CONSTRAINTS: u64 = 30;

/// A certificate below an intermediate with a change.
fn below(name: &'static str, change: impl FnOnce(&mut CertificateParams), expected: Result<(), R>) -> Row {
    let root = Ca::root("the root");
    let peer = root.below("the intermediate", &P256, change).issue(payments());
    Row::new(name, vec![root], peer, expected)
}

fn broken(rule: ChainRule) -> Result<(), R> {
    Err(R::RuleBroken(rule))
}

#[test]
fn only_authorities_sign() {
    let usages = |usages: &[Usage]| {
        let usages = usages.to_vec();
        |params: &mut CertificateParams| params.key_usages = usages
    };
    let purpose = |purpose| |params: &mut CertificateParams| params.extended_key_usages = vec![purpose];
    judge(vec![
        below("an authority", |_| {}, Ok(())),
        below("an authority that says nothing of its key", usages(&[]), Ok(())),
        below(
            "not an authority",
            |params| params.is_ca = IsCa::ExplicitNoCa,
            broken(ChainRule::Authority),
        ),
        below(
            "nothing said of being one",
            |params| params.is_ca = IsCa::NoCa,
            broken(ChainRule::Authority),
        ),
        below(
            "its key signs lists only",
            usages(&[Usage::CrlSign]),
            broken(ChainRule::Authority),
        ),
        below(
            "its key signs handshakes only",
            usages(&[Usage::DigitalSignature]),
            broken(ChainRule::Authority),
        ),
        below("an authority of clients", purpose(Purpose::ClientAuth), Ok(())).only_as(&[Side::Client]),
        below(
            "an authority of clients, a server",
            purpose(Purpose::ClientAuth),
            Err(R::WrongPurpose),
        )
        .only_as(&[Side::Server]),
        below(
            "an authority of servers, a client",
            purpose(Purpose::ServerAuth),
            Err(R::WrongPurpose),
        )
        .only_as(&[Side::Client]),
    ]);
}

#[test]
fn a_workload_signs_for_nobody() {
    let root = Ca::root("the root");
    // What a workload holds, used as an authority's: the name and key of a certificate with an identity.
    let workload = root.below("payments", &P256, |params| {
        params.is_ca = IsCa::NoCa;
        params.key_usages = vec![Usage::DigitalSignature];
        params.subject_alt_names = payments().names;
    });
    let peer = workload.issue(payments());
    judge(vec![Row::new(
        "signed by a workload",
        vec![root],
        peer,
        broken(ChainRule::Authority),
    )]);
}

#[test]
fn every_certificate_holds_in_its_time() {
    judge(vec![
        below(
            "an expired authority",
            |params| params.not_after = date(NOW - 1),
            Err(R::Expired),
        ),
        below(
            "an authority that is not valid yet",
            |params| params.not_before = date(NOW + 1),
            Err(R::NotYetValid),
        ),
        // That it stands among the roots is what makes it one (RFC 5280, section 6.1.1).
        {
            let root = Ca::root_with("an old root", |params| params.not_after = date(NOW - HOUR));
            let peer = root.issue(payments());
            Row::new("an expired root", vec![root], peer, Ok(()))
        },
    ]);
}

#[test]
fn no_more_authorities_stand_below_one_than_it_allows() {
    let allows = |most| {
        move |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most))
    };
    let two = |name, of_root, of_first, expected| {
        let root = Ca::root_with("the root", allows(of_root));
        let peer = root
            .below("the first", &P256, allows(of_first))
            .below("the second", &P256, |_| {})
            .issue(payments());
        Row::new(name, vec![root], peer, expected)
    };
    judge(vec![
        below("none below it, and there is none", allows(0), Ok(())),
        two("as many as are allowed", 2, 1, Ok(())),
        two(
            "one more than the first allows",
            2,
            0,
            broken(ChainRule::PathLength),
        ),
        two(
            "one more than the root allows",
            1,
            1,
            broken(ChainRule::PathLength),
        ),
        two(
            "two more than the root allows",
            0,
            1,
            broken(ChainRule::PathLength),
        ),
    ]);
}

#[test]
fn names_stay_within_constraints() {
    let only = |names: Vec<GeneralSubtree>| {
        let constraints = NameConstraints {
            permitted_subtrees: names,
            excluded_subtrees: vec![],
        };
        |params: &mut CertificateParams| params.name_constraints = Some(constraints)
    };
    let with_dns = |name, host, expected| {
        let root = Ca::root("the root");
        let names = vec![dns(host), uri("spiffe://cluster.local/ns/bank/sa/payments")];
        let constrained = root.below(
            "constrained",
            &P256,
            only(vec![GeneralSubtree::DnsName("bank.svc".to_owned())]),
        );
        let peer = constrained.issue(Leaf { names, ..payments() });
        Row::new(name, vec![root], peer, expected)
    };
    let by_uri = |name, list: u8, host: &[u8], critical| {
        let content = element(0x30, &element(list, &element(0x30, &element(0x86, host))));
        let mut constraints = extension(CONSTRAINTS, content);
        constraints.set_criticality(critical);
        below(
            name,
            |params| params.custom_extensions.push(constraints),
            broken(ChainRule::Names),
        )
    };
    let (permitted, excluded) = (0xa0, 0xa1);
    judge(vec![
        below(
            "of other kinds of names",
            only(vec![GeneralSubtree::DnsName("other.example".to_owned())]),
            Ok(()),
        ),
        with_dns("a DNS name within", "payments.bank.svc", Ok(())),
        with_dns(
            "a DNS name outside",
            "payments.other.svc",
            broken(ChainRule::Names),
        ),
        // webpki does not compare URIs: every constraint of them refuses, also one that would permit.
        by_uri("this trust domain is excluded", excluded, b"cluster.local", true),
        by_uri(
            "another trust domain is excluded",
            excluded,
            b"other.example",
            true,
        ),
        by_uri(
            "another trust domain is permitted",
            permitted,
            b"other.example",
            true,
        ),
        by_uri(
            "this trust domain is permitted",
            permitted,
            b"cluster.local",
            true,
        ),
        by_uri(
            "constraints that are not critical",
            permitted,
            b"other.example",
            false,
        ),
        {
            let host = GeneralSubtree::DnsName("other.example".to_owned());
            let root = Ca::root_with("a constrained root", only(vec![host]));
            let names = vec![
                dns("payments.bank.svc"),
                uri("spiffe://cluster.local/ns/bank/sa/payments"),
            ];
            let peer = root.issue(Leaf { names, ..payments() });
            Row::new(
                "constraints of the root",
                vec![root],
                peer,
                broken(ChainRule::Names),
            )
        },
    ]);
}

#[test]
fn what_is_critical_above_has_to_be_understood_too() {
    let with = |critical| {
        let mut unknown = extension(99, vec![5, 0]);
        unknown.set_criticality(critical);
        move |params: &mut CertificateParams| params.custom_extensions.push(unknown)
    };
    judge(vec![
        below("an unknown extension", with(false), Ok(())),
        below(
            "a critical unknown extension",
            with(true),
            broken(ChainRule::Extensions),
        ),
    ]);
}

#[test]
fn chains_lead_to_a_root_by_signatures() {
    let (root, stranger) = (|| Ca::root("the root"), Ca::root("the root"));
    let itself = Ca::root_with("payments", |params| params.subject_alt_names = payments().names);
    let untrusted = || Err(R::Untrusted);
    let missing = |root: &Ca| {
        with_chain(root.intermediate("i", 1).issue(payments()), |chain| {
            chain.truncate(1)
        })
    };
    let of_root = |name, make: &dyn Fn(&Ca) -> Peer, expected| {
        let root = root();
        let peer = make(&root);
        Row::new(name, vec![root], peer, expected)
    };
    judge(vec![
        Row::new(
            "a root of the same name",
            vec![root()],
            stranger.issue(payments()),
            untrusted(),
        ),
        Row::new(
            "with its unknown root",
            vec![root()],
            stranger.issue_with_root(payments()),
            untrusted(),
        ),
        Row::new(
            "signed by itself",
            vec![root()],
            itself.as_peer(),
            broken(ChainRule::Workload),
        ),
        of_root("the intermediate is missing", &missing, untrusted()),
        of_root(
            "an intermediate of the same name",
            &|root| {
                let other = root.intermediate("i", 2).certificate;
                with_chain(Ca::root("else").intermediate("i", 1).issue(payments()), |chain| {
                    chain[1] = other
                })
            },
            untrusted(),
        ),
    ]);
}

#[test]
fn a_chain_may_come_in_any_order_and_with_more_than_is_needed() {
    let root = || Ca::root("the root");
    let long = |name, change: &dyn Fn(&Ca, &mut Vec<CertificateDer<'static>>), expected| {
        let root = root();
        let peer = root
            .intermediate("first", 1)
            .intermediate("second", 2)
            .issue(payments());
        let peer = with_chain(peer, |chain| change(&root, chain));
        Row::new(name, vec![root], peer, expected)
    };
    judge(vec![
        long("in order", &|_, _| {}, Ok(())),
        long("in another order", &|_, chain| chain.swap(1, 2), Ok(())),
        long(
            "with the root",
            &|root, chain| chain.push(root.certificate.clone()),
            Ok(()),
        ),
        long(
            "with the root of somebody else",
            &|_, chain| chain.push(Ca::root("x").certificate),
            Ok(()),
        ),
        long(
            "an intermediate twice",
            &|_, chain| chain.push(chain[1].clone()),
            Ok(()),
        ),
        long(
            "with what is no certificate",
            &|_, chain| chain.push(CertificateDer::from(vec![1, 2, 3])),
            Ok(()),
        ),
    ]);
}

#[test]
fn the_first_certificate_is_the_peers() {
    let root = Ca::root("the root");
    let peer = with_chain(root.intermediate("i", 1).issue(payments()), |chain| {
        chain.swap(0, 1)
    });
    let check = check(&trust(&[&root], &[], &[]));
    // Its owner has no key for it, so that it cannot come as far as a handshake.
    let row = Row::new(
        "the intermediate first",
        vec![],
        peer,
        broken(ChainRule::Workload),
    );
    for side in BOTH {
        assert_eq!(row.alone(&check, *side), row.expected);
    }
}

#[test]
fn what_is_revoked_is_refused() {
    let row = |name, lists: &dyn Fn(&Ca, &Ca) -> Vec<_>, expected| {
        let root = Ca::root("the root");
        let intermediate = root.intermediate("i", 5);
        let lists = lists(&root, &intermediate);
        let peer = intermediate.issue(payments());
        Row {
            lists,
            ..Row::new(name, vec![root], peer, expected)
        }
    };
    judge(vec![
        row(
            "others are revoked",
            &|root, i| vec![root.crl(&[6]), i.crl(&[78])],
            Ok(()),
        ),
        row("its issuer has no list", &|root, _| vec![root.crl(&[6])], Ok(())),
        row(
            "it is revoked",
            &|root, i| vec![root.crl(&[]), i.crl(&[77])],
            Err(R::Revoked),
        ),
        row(
            "what is above it is revoked",
            &|root, i| vec![root.crl(&[5]), i.crl(&[])],
            Err(R::Revoked),
        ),
        row(
            "its number is revoked, of another issuer",
            &|root, _| vec![root.crl(&[77])],
            Ok(()),
        ),
        row(
            "a list of another key of its issuer",
            &|root, _| vec![root.intermediate("i", 9).crl(&[])],
            Err(R::RevocationUnknown),
        ),
    ]);
}

#[test]
fn what_is_no_authoritys_cannot_be_a_root() {
    let root = Ca::root("the root");
    let leaf = root.issue(payments()).chain.remove(0);
    let lists_only = Ca::root_with("lists only", |params| params.key_usages = vec![Usage::CrlSign]);
    for (name, certificate) in [
        ("a workload's", leaf),
        ("one that signs lists only", lists_only.certificate),
    ] {
        let refused = Roots::new(vec![root.certificate.clone(), certificate]).map(drop);
        assert_eq!(refused, Err((1, InvalidRoot::NotAnAuthority)), "{name}");
    }
}
