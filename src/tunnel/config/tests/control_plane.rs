//! The control plane, as a DaemonSet written for ztunnel describes it.

use std::time::Duration;

use adit_discovery::ControlPlane;
use adit_discovery::channel::{Roots, Token};

use super::*;
use crate::config::{CertificateSource, MeshSource};

const ADDRESS: &str = "https://istiod.istio-system.svc:15012/";
/// In place of the required variables: a pod.
const POD: [(&str, &str); 5] = [
    ("LOCAL_XDS_PATH", ""),
    ("ADIT_LOCAL_CA", ""),
    ("POD_NAME", "ztunnel-x1"),
    ("POD_NAMESPACE", "istio-system"),
    ("SERVICE_ACCOUNT", "ztunnel"),
];

/// Both control planes that are made of these variables: for the mesh and for certificates.
fn both(variables: &[(&str, &str)]) -> Result<(ControlPlane, ControlPlane), ConfigError> {
    let config = with(&[&POD, variables].concat())?;
    let MeshSource::ControlPlane(mesh) = config.mesh else {
        panic!("a file");
    };
    let CertificateSource::ControlPlane(certificates) = config.certificates.source else {
        panic!("a directory");
    };
    Ok((*mesh, *certificates))
}

/// That for the mesh, with an address given for certificates.
fn mesh(variables: &[(&str, &str)]) -> Result<ControlPlane, ConfigError> {
    both(&[&[("CA_ADDRESS", "ca:1")], variables].concat()).map(|both| both.0)
}

#[test]
fn in_kubernetes_the_default_is_istios() {
    let (mesh, certificates) = both(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]).expect("valid");
    assert_eq!(mesh, certificates);
    assert_eq!(mesh.address.to_string(), ADDRESS);
    assert_eq!(
        mesh.roots,
        Roots::File("./var/run/secrets/istio/root-cert.pem".into())
    );
    assert_eq!((mesh.token, mesh.alternative), (None, None));
    assert_eq!(mesh.cluster, "Kubernetes");
}

#[test]
fn an_address_is_that_of_the_variable_then_of_the_document() {
    let document = ("PROXY_CONFIG", "discoveryAddress: control.adit-system.svc:15012");
    let address = |variables: &[(&str, &str)]| mesh(variables).expect("valid").address.to_string();
    assert_eq!(address(&[document]), "https://control.adit-system.svc:15012/");
    assert_eq!(
        address(&[document, ("XDS_ADDRESS", "other:1")]),
        "https://other:1/"
    );
    assert_eq!(
        address(&[("XDS_ADDRESS", "https://[::1]:15012")]),
        "https://[::1]:15012/"
    );
}

#[test]
fn an_address_that_is_none_is_refused() {
    for bad in [
        "http://istiod:15012",
        "https://",
        "https://istiod/path",
        "a b",
        "grpc://istiod:1",
    ] {
        match mesh(&[("XDS_ADDRESS", bad)]) {
            Err(ConfigError::Invalid { variable, value, .. }) => {
                assert_eq!((variable, &*value), ("XDS_ADDRESS", bad))
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[test]
fn roots_are_a_file_a_text_or_the_systems() {
    let roots = |value| {
        mesh(&[("XDS_ADDRESS", "a:1"), ("XDS_ROOT_CA", value)])
            .expect("valid")
            .roots
    };
    assert_eq!(roots("SYSTEM"), Roots::System);
    assert_eq!(roots("/roots.pem"), Roots::File("/roots.pem".into()));
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----";
    assert_eq!(roots(pem), Roots::Pem(pem.to_owned()));
    let (_, certificates) = both(&[
        ("XDS_ADDRESS", "a:1"),
        ("CA_ADDRESS", "a:1"),
        ("CA_ROOT_CA", "/ca.pem"),
    ])
    .expect("valid");
    assert_eq!(certificates.roots, Roots::File("/ca.pem".into()));
}

#[test]
fn a_token_is_a_file_or_a_text() {
    let token = |value| {
        mesh(&[("XDS_ADDRESS", "a:1"), ("AUTH_TOKEN", value)])
            .expect("valid")
            .token
    };
    assert_eq!(token("/var/token"), Some(Token::File("/var/token".into())));
    assert_eq!(token("ey.ab.c"), Some(Token::Literal("ey.ab.c".to_owned())));
    assert_eq!(token(""), None);
}

#[test]
fn names_and_headers_are_taken_as_they_are_given() {
    let made = mesh(&[
        ("XDS_ADDRESS", "a:1"),
        ("ALT_XDS_HOSTNAME", "istiod.istio-system.svc"),
        ("XDS_HEADER_X-TENANT", " bank "),
    ]);
    let made = made.expect("valid");
    assert_eq!(made.headers["x-tenant"], "bank");
    let name = made.alternative.expect("a name");
    assert_eq!(name.to_str(), "istiod.istio-system.svc");
    let bad = mesh(&[("XDS_ADDRESS", "a:1"), ("XDS_HEADER_a b", "c")]);
    assert!(matches!(bad, Err(ConfigError::Header { .. })), "{bad:?}");
    let bad = mesh(&[("XDS_ADDRESS", "a:1"), ("ALT_XDS_HOSTNAME", "a b")]);
    assert!(matches!(bad, Err(ConfigError::Invalid { .. })), "{bad:?}");
}

#[test]
fn outside_of_kubernetes_an_address_is_needed() {
    let missing = |variables: &[(&str, &str)]| match both(variables) {
        Err(ConfigError::Missing { variable, .. }) => variable,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&[]), "XDS_ADDRESS");
    assert_eq!(missing(&[("XDS_ADDRESS", "a:1")]), "CA_ADDRESS");
    let nobody = [
        ("XDS_ADDRESS", "a:1"),
        ("POD_NAME", ""),
        ("POD_NAMESPACE", ""),
        ("SERVICE_ACCOUNT", ""),
    ];
    assert_eq!(missing(&nobody), "POD_NAME");
}

#[test]
fn a_tunnel_describes_itself_as_ztunnel_does() {
    let config = with(
        &[
            &POD[2..],
            &[
                ("NODE_NAME", "n1"),
                ("INSTANCE_IP", "10.0.0.7"),
                ("ISTIO_META_X", "y"),
            ],
        ]
        .concat(),
    );
    let node = config.expect("valid").node.description();
    assert_eq!(
        node.id,
        "ztunnel~10.0.0.7~ztunnel-x1.istio-system~istio-system.svc.cluster.local"
    );
    let fields = node.metadata.expect("metadata").fields;
    let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "ADIT_VERSION",
            "CLUSTER_ID",
            "INSTANCE_IPS",
            "NAME",
            "NAMESPACE",
            "NODE_NAME",
            "SERVICE_ACCOUNT",
            "X"
        ]
    );
}

#[test]
fn what_is_kept_for_a_successor_is_off_unless_a_directory_is_given() {
    let state = |variables: &[(&str, &str)]| with(variables).expect("valid").state;
    assert_eq!(state(&[("ADIT_STATE_KEYS", "false")]), None);
    let kept = state(&[("ADIT_STATE_DIR", "/run/x")]).expect("a directory");
    assert_eq!((kept.max_age, kept.keys), (Duration::from_secs(86_400), true));
    let less = state(&[
        ("ADIT_STATE_DIR", "/run/x"),
        ("ADIT_STATE_KEYS", "false"),
        ("ADIT_STATE_MAX_AGE", "1h"),
    ]);
    let less = less.expect("a directory");
    assert_eq!((less.max_age, less.keys), (Duration::from_secs(3600), false));
}
