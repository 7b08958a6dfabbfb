//! Makes the part of the corpus that is certificates and messages anew:
//! `cargo run --example seeds`, in this folder. The keys are thrown away, so that nothing more can be signed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use adit_discovery::wire;
use adit_mesh::Identity;
use adit_zds::WorkloadInfo;
use adit_zds::message;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use time::OffsetDateTime;

const WORKLOAD: &str = "spiffe://cluster.local/ns/bank/sa/payments";
const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    pem: String,
}

fn main() {
    let root = ca("a root of the corpus", None);
    let intermediate = ca("an intermediate of the corpus", Some(&root));
    let stranger = ca("another root", None);
    certificates(&root, &intermediate, &stranger);
    lists(&root, &stranger);
    requests();
    messages();
    resources();
}

fn certificates(root: &Ca, intermediate: &Ca, stranger: &Ca) {
    let uri = |text: &str| SanType::URI(text.try_into().expect("ASCII"));
    let dns = SanType::DnsName("payments.bank.svc".try_into().expect("ASCII"));
    let workload = leaf(root, vec![uri(WORKLOAD)]);
    let below = leaf(intermediate, vec![uri(WORKLOAD)]);
    let foreign = leaf(stranger, vec![uri(WORKLOAD)]);
    write("certificate", "workload.der", &workload);
    write("certificate", "stranger.der", &foreign);
    write("certificate", "no-name.der", &leaf(root, vec![]));
    write(
        "certificate",
        "dns-and-uri.der",
        &leaf(root, vec![dns, uri(WORKLOAD)]),
    );
    write(
        "certificate",
        "two-uris.der",
        &leaf(root, vec![uri(WORKLOAD), uri("spiffe://td/ns/a/sa/b")]),
    );
    write("certificate", "root.der", &root.der);
    write("chain", "root-signs", &counted(&[&workload]));
    write(
        "chain",
        "intermediate-signs",
        &counted(&[&below, &intermediate.der]),
    );
    write(
        "chain",
        "with-the-root",
        &counted(&[&below, &intermediate.der, &root.der]),
    );
    write("chain", "wrong-order", &counted(&[&intermediate.der, &below]));
    write("chain", "stranger-signs", &counted(&[&foreign, &stranger.der]));
    write("bundle", "root.pem", root.pem.as_bytes());
    let both = format!("# the old root\n{}# the new root\n{}", root.pem, stranger.pem);
    write("bundle", "two-roots.pem", both.as_bytes());
    write("bundle", "empty.pem", b"");
}

fn lists(root: &Ca, stranger: &Ca) {
    let (list, _) = list(root, &[77]);
    write("crl", "revoking.der", &list);
    let (list, pem) = self::list(root, &[5, 6]);
    write("crl", "of-others.der", &list);
    let (_, foreign) = self::list(stranger, &[77]);
    write("crl", "two.pem", format!("{pem}{foreign}").as_bytes());
}

fn requests() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(WORKLOAD.try_into().expect("ASCII"))];
    let csr = params.serialize_request(&key).expect("a request");
    write("csr", "workload.der", csr.der());
    let identity: Identity = WORKLOAD.parse().expect("an identity");
    let ours = adit_pki::Request::new(&identity).expect("a request");
    write("csr", "ours.der", ours.csr());
    for (name, algorithm) in [
        ("p384.der", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("ed25519.der", &rcgen::PKCS_ED25519),
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        write(
            "csr",
            name,
            params.serialize_request(&key).expect("a request").der(),
        );
    }
}

fn messages() {
    let workload = WorkloadInfo {
        name: "payments-1".to_owned(),
        namespace: "bank".to_owned(),
        service_account: "payments".to_owned(),
    };
    write("zds", "hello", &message::hello());
    write("zds", "add", &message::add("uid-1", &workload));
    write("zds", "keep", &message::keep("uid-1"));
    write("zds", "delete", &message::delete("uid-1"));
    write("zds", "snapshot-sent", &message::snapshot_sent());
    write("zds", "done", &message::answer(&Ok(())));
    write(
        "zds",
        "failed",
        &message::answer(&Err("no such namespace".to_owned())),
    );
}

/// What the mesh files of the corpus hold, as it travels: the name, a newline, the resource.
fn resources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/mesh_file");
    let files = fs::read_dir(folder).expect("a corpus of mesh files");
    let mut all = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(file.expect("a file").path()).unwrap_or_default();
        let Some((registry, _)) = adit_fuzz::registry(&text) else {
            continue;
        };
        let workloads = registry
            .workloads()
            .map(|it| (it.uid.to_string(), wire::write_workload(it)));
        let services = registry
            .services()
            .map(|it| (it.key.to_string(), wire::write_service(it)));
        let policies = registry
            .policies()
            .map(|it| (it.key.to_string(), wire::write_policy(it)));
        all.extend(workloads.chain(services).chain(policies));
    }
    for (name, resource) in all {
        let seed = [name.as_bytes(), b"\n", &resource].concat();
        let file: String = name
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        write("resource", &file, &seed);
    }
}

fn ca(name: &str, above: Option<&Ca>) -> Ca {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date(-DAY), date(DAY));
    let certificate = match above {
        Some(above) => params.signed_by(&key, &above.issuer),
        None => params.self_signed(&key),
    };
    let certificate = certificate.expect("a certificate");
    Ca {
        der: certificate.der().to_vec(),
        pem: certificate.pem(),
        issuer: Issuer::new(params, key),
    }
}

fn leaf(by: &Ca, names: Vec<SanType>) -> Vec<u8> {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.serial_number = Some(SerialNumber::from_slice(&[77]));
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    (params.not_before, params.not_after) = (date(-DAY), date(DAY));
    params
        .signed_by(&key, &by.issuer)
        .expect("a certificate")
        .der()
        .to_vec()
}

fn list(by: &Ca, serials: &[u8]) -> (Vec<u8>, String) {
    let revoked = |serial: &u8| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&[*serial]),
        revocation_time: date(-DAY),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date(-DAY),
        next_update: date(DAY),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(&by.issuer).expect("a list");
    (list.der().to_vec(), list.pem().expect("PEM"))
}

fn counted(certificates: &[&[u8]]) -> Vec<u8> {
    let length = |der: &[u8]| u16::try_from(der.len()).expect("short").to_be_bytes();
    certificates
        .iter()
        .flat_map(|der| [&length(der)[..], der].concat())
        .collect()
}

fn date(from_now: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW + from_now).expect("a date")
}

fn write(target: &str, name: &str, content: &[u8]) {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), content).expect("a seed");
}
