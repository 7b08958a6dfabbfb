//! Names: exactly one URI, and that one spelled in exactly one way (X.509-SVID specification, section 2; SPIFFE-ID
//! specification, section 2).

use adit_mesh::InvalidIdentity as I;
use rcgen::SanType;

use super::{Row, element, expecting, extension, judge, payments};
use crate::TlsRefusal;
use crate::certificate::InvalidCertificate as C;
use crate::fixtures::{Leaf, dns, identity, spiffe, uri};
use crate::trust::Side;

/// Subject alternative names.
const NAMES: u64 = 17;
/// The tag of a URI among them.
const URI: u8 = 0x86;
const ME: &str = "spiffe://cluster.local/ns/bank/sa/payments";

fn rows(cases: Vec<(&'static str, Vec<SanType>, Result<(), C>)>) -> Vec<Row> {
    let row = |(name, names, expected): (_, _, Result<(), C>)| {
        let leaf = Leaf { names, ..payments() };
        Row::signed(name, leaf, |_| {}, expected.map_err(TlsRefusal::Invalid))
    };
    cases.into_iter().map(row).collect()
}

#[test]
fn a_certificate_has_one_uri_among_its_names() {
    let ip = SanType::IpAddress([10, 0, 0, 1].into());
    let mail = SanType::Rfc822Name("payments@bank.example".try_into().expect("ASCII"));
    judge(rows(vec![
        ("one URI", vec![uri(ME)], Ok(())),
        (
            "a DNS name beside the URI",
            vec![dns("payments.bank.svc"), uri(ME)],
            Ok(()),
        ),
        ("an address beside the URI", vec![uri(ME), ip.clone()], Ok(())),
        ("no name", vec![], Err(C::NoUri)),
        ("a DNS name alone", vec![dns("payments.bank.svc")], Err(C::NoUri)),
        ("the identity as a DNS name", vec![dns(ME)], Err(C::NoUri)),
        ("an address alone", vec![ip], Err(C::NoUri)),
        ("a mail address alone", vec![mail], Err(C::NoUri)),
        (
            "two identities",
            vec![uri(ME), uri("spiffe://cluster.local/ns/bank/sa/ledger")],
            Err(C::SeveralUris),
        ),
        (
            "the same identity twice",
            vec![uri(ME), uri(ME)],
            Err(C::SeveralUris),
        ),
        (
            "another URI after the identity",
            vec![uri(ME), uri("https://payments.example")],
            Err(C::SeveralUris),
        ),
        (
            "another URI before the identity",
            vec![uri("urn:x:y"), uri(ME)],
            Err(C::SeveralUris),
        ),
        (
            "an empty URI beside the identity",
            vec![uri(ME), uri("")],
            Err(C::SeveralUris),
        ),
    ]));
}

#[test]
fn an_identity_is_spelled_in_one_way() {
    let character = |found| I::SegmentCharacter { found };
    let of_domain = |found| I::TrustDomainCharacter { found };
    let longest = "a".repeat(2048 - "spiffe://cluster.local/ns/bank/sa/".len());
    let too_long = format!("spiffe://cluster.local/ns/bank/sa/{longest}a");
    let long_domain = format!("spiffe://{}/ns/bank/sa/payments", "a".repeat(256));
    let cases = [
        (
            "another scheme",
            "https://cluster.local/ns/bank/sa/payments",
            I::Scheme,
        ),
        (
            "the scheme in upper case",
            "SPIFFE://cluster.local/ns/bank/sa/payments",
            I::Scheme,
        ),
        ("no scheme", "cluster.local/ns/bank/sa/payments", I::Scheme),
        (
            "white space before it",
            " spiffe://cluster.local/ns/bank/sa/payments",
            I::Scheme,
        ),
        (
            "the trust domain in upper case",
            "spiffe://Cluster.local/ns/bank/sa/payments",
            of_domain('C'),
        ),
        (
            "the trust domain encoded",
            "spiffe://cluster%2elocal/ns/bank/sa/payments",
            of_domain('%'),
        ),
        (
            "a port",
            "spiffe://cluster.local:443/ns/bank/sa/payments",
            of_domain(':'),
        ),
        (
            "a user",
            "spiffe://user@cluster.local/ns/bank/sa/payments",
            of_domain('@'),
        ),
        (
            "no trust domain",
            "spiffe:///ns/bank/sa/payments",
            I::EmptyTrustDomain,
        ),
        (
            "a trust domain that is too long",
            &long_domain,
            I::TooLong { limit: 255 },
        ),
        ("no path", "spiffe://cluster.local", I::Path),
        (
            "a path of another shape",
            "spiffe://cluster.local/payments",
            I::Path,
        ),
        (
            "the words of the path in upper case",
            "spiffe://cluster.local/NS/bank/SA/payments",
            I::Path,
        ),
        (
            "the parts of the path exchanged",
            "spiffe://cluster.local/sa/payments/ns/bank",
            I::Path,
        ),
        (
            "a part of the path too many",
            "spiffe://cluster.local/ns/bank/sa/payments/x",
            I::Path,
        ),
        (
            "a slash at the end",
            "spiffe://cluster.local/ns/bank/sa/payments/",
            I::Path,
        ),
        (
            "two slashes",
            "spiffe://cluster.local//ns/bank/sa/payments",
            I::Path,
        ),
        (
            "an empty namespace",
            "spiffe://cluster.local/ns//sa/payments",
            I::EmptySegment,
        ),
        (
            "an empty service account",
            "spiffe://cluster.local/ns/bank/sa/",
            I::EmptySegment,
        ),
        (
            "a relative part",
            "spiffe://cluster.local/ns/bank/sa/..",
            I::RelativeSegment,
        ),
        (
            "a slash encoded",
            "spiffe://cluster.local/ns/bank%2Fvault/sa/payments",
            character('%'),
        ),
        (
            "a letter encoded",
            "spiffe://cluster.local/ns/bank/sa/%70ayments",
            character('%'),
        ),
        (
            "a query",
            "spiffe://cluster.local/ns/bank/sa/payments?x=1",
            character('?'),
        ),
        (
            "a fragment",
            "spiffe://cluster.local/ns/bank/sa/payments#x",
            character('#'),
        ),
        (
            "white space after it",
            "spiffe://cluster.local/ns/bank/sa/payments ",
            character(' '),
        ),
        (
            "a NUL and more after it",
            "spiffe://cluster.local/ns/bank/sa/payments\0.x",
            character('\0'),
        ),
        ("longer than allowed", &too_long, I::TooLong { limit: 2048 }),
    ];
    let case = |(name, id, reason)| (name, vec![uri(id)], Err(C::Identity(reason)));
    judge(rows(cases.into_iter().map(case).collect()));
}

#[test]
fn a_peer_of_another_name_is_not_taken_for_this_one() {
    let foreign = spiffe("other.example", "payments");
    let neighbour = identity("payments-2");
    judge(vec![
        Row::signed(
            "another trust domain",
            Leaf::of(&foreign),
            |_| {},
            Err(TlsRefusal::ForeignTrustDomain(foreign.clone())),
        )
        .only_as(&[Side::Client]),
        Row::signed(
            "another trust domain",
            Leaf::of(&foreign),
            |_| {},
            Err(expecting(&foreign)),
        )
        .only_as(&[Side::Server]),
        Row::signed(
            "another service account",
            Leaf::of(&neighbour),
            |_| {},
            Err(expecting(&neighbour)),
        )
        .only_as(&[Side::Server]),
    ]);
}

#[test]
fn names_that_two_readers_could_read_differently_are_refused() {
    let me = element(URI, ME.as_bytes());
    let raw = |name, content: Vec<u8>, expected: Result<(), C>| {
        let leaf = Leaf {
            names: vec![],
            ..payments()
        };
        let add =
            |params: &mut rcgen::CertificateParams| params.custom_extensions.push(extension(NAMES, content));
        Row::signed(name, leaf, add, expected.map_err(TlsRefusal::Invalid))
    };
    let list = |names: &[&[u8]]| element(0x30, &names.concat());
    let not_text = element(URI, b"spiffe://t\xff");
    let mut cut = list(&[&me]);
    cut.truncate(cut.len() - 1);
    let twice = |params: &mut rcgen::CertificateParams| {
        params.custom_extensions.push(extension(NAMES, list(&[&me])));
    };
    judge(vec![
        raw("names by hand", list(&[&me]), Ok(())),
        raw("an empty list of names", list(&[]), Err(C::NoUri)),
        raw("a URI that is not text", list(&[&not_text]), Err(C::Encoding)),
        raw(
            "a URI that is not text beside the identity",
            list(&[&me, &not_text]),
            Err(C::Encoding),
        ),
        raw(
            "a name of no known kind",
            list(&[&me, &element(0x89, b"x")]),
            Err(C::Encoding),
        ),
        raw(
            "bytes after the names",
            [list(&[&me]), vec![5, 0]].concat(),
            Err(C::Encoding),
        ),
        raw("a list that is cut", cut, Err(C::Encoding)),
        raw("no list", me.clone(), Err(C::Encoding)),
        Row::signed(
            "names twice",
            payments(),
            twice,
            Err(TlsRefusal::Invalid(C::Encoding)),
        ),
    ]);
}
