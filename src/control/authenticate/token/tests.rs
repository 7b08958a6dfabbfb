use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://issuer.example";

struct Stage {
    pair: KeyPair,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        stage.publish(&stage.pair, "k1");
        stage
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    fn publish(&self, pair: &KeyPair, id: &str) {
        let encoding = EncodingKey::from_ec_der(&pair.serialize_der());
        let key =
            jsonwebtoken::jwk::Jwk::from_encoding_key(&encoding, Algorithm::ES256).expect("a public key");
        let mut key = serde_json::to_value(key).expect("JSON");
        key["kid"] = id.into();
        std::fs::write(self.path(), json!({ "keys": [key] }).to_string()).expect("written");
    }

    fn issuer(&self) -> TokenIssuer {
        let made = TokenIssuer::open(
            ISSUER.to_owned(),
            "istio-ca".to_owned(),
            self.path(),
            TrustDomain::default(),
        );
        made.expect("keys")
    }

    fn sign(&self, claims: &Value) -> String {
        sign(&self.pair, "k1", claims)
    }
}

fn sign(pair: &KeyPair, id: &str, claims: &Value) -> String {
    let header = Header {
        kid: Some(id.to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    encode(&header, claims, &EncodingKey::from_ec_der(&pair.serialize_der())).expect("signed")
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// The claims of a good token, with one of them replaced.
fn claims(name: &str, value: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": ["other", "istio-ca"],
        "sub": "system:serviceaccount:adit-system:adit-tunnel",
        "exp": now() + 600,
        "nbf": now(),
        "kubernetes.io": { "namespace": "adit-system", "pod": { "name": "t1", "uid": "u1" } },
    });
    if !name.is_empty() {
        claims[name] = value;
    }
    claims
}

async fn refused(issuer: &TokenIssuer, token: &str) -> String {
    match issuer.verify(token).await {
        Err(Denied::Unauthenticated(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_proves_the_account_and_the_pod() {
    let stage = Stage::new();
    let caller = stage
        .issuer()
        .verify(&stage.sign(&claims("", Value::Null)))
        .await
        .expect("it holds");
    assert_eq!(
        caller.identity.to_string(),
        "spiffe://cluster.local/ns/adit-system/sa/adit-tunnel"
    );
    let pod = caller.pod.expect("bound to a pod");
    assert_eq!((&*pod.name, &*pod.uid), ("t1", "u1"));
}

#[tokio::test]
async fn a_token_that_is_not_for_us_proves_nothing() {
    let stage = Stage::new();
    let issuer = stage.issuer();
    for (name, value) in [
        ("iss", json!("https://other.example")),
        ("aud", json!("other")),
        ("aud", Value::Null),
        ("exp", json!(now() - 120)),
        ("exp", Value::Null),
        ("nbf", json!(now() + 120)),
        ("sub", json!("alice")),
        ("sub", json!("system:serviceaccount:only-one")),
        ("sub", json!("system:serviceaccount:other:adit-tunnel")),
    ] {
        let reason = refused(&issuer, &stage.sign(&claims(name, value.clone()))).await;
        assert!(
            reason.starts_with("the token does not hold: "),
            "{name} {value}: {reason}"
        );
    }
}

#[tokio::test]
async fn a_token_that_somebody_else_signed_proves_nothing() {
    let stage = Stage::new();
    let issuer = stage.issuer();
    let good = claims("", Value::Null);
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    refused(&issuer, &sign(&other, "k1", &good)).await;
    refused(&issuer, &sign(&stage.pair, "k2", &good)).await;
    // With a secret that everybody knows: the published key.
    let public = std::fs::read(stage.path()).expect("the keys");
    let header = Header {
        kid: Some("k1".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let forged = encode(&header, &good, &EncodingKey::from_secret(&public)).expect("signed");
    let reason = refused(&issuer, &forged).await;
    assert!(reason.contains("HS256 are not taken"), "{reason}");
    // Without any signature.
    let token = stage.sign(&good);
    let unsigned = token.rsplit_once('.').expect("three parts").0.to_owned() + ".";
    refused(&issuer, &unsigned).await;
    refused(&issuer, "no token").await;
}

#[tokio::test]
async fn keys_are_replaced_while_we_run_and_the_last_good_ones_stay() {
    let stage = Stage::new();
    let issuer = stage.issuer();
    let good = claims("", Value::Null);
    std::fs::write(stage.path(), "{").expect("written");
    touch(&stage.path(), 1);
    assert!(issuer.verify(&stage.sign(&good)).await.is_ok());
    let next = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    stage.publish(&next, "k2");
    touch(&stage.path(), 2);
    assert!(issuer.verify(&sign(&next, "k2", &good)).await.is_ok());
    refused(&issuer, &stage.sign(&good)).await;
}

/// Makes sure that the time of change is another, also where it is coarse.
fn touch(path: &Path, later: u64) {
    let file = std::fs::File::options().append(true).open(path).expect("a file");
    let time = SystemTime::now() + std::time::Duration::from_secs(later);
    file.set_modified(time).expect("a time");
}

#[test]
fn keys_that_are_none_stop_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let open = || {
        TokenIssuer::open(
            ISSUER.to_owned(),
            "a".to_owned(),
            path.clone(),
            TrustDomain::default(),
        )
    };
    assert!(
        open()
            .expect_err("no file")
            .to_string()
            .contains("cannot be read")
    );
    std::fs::write(&path, "[]").expect("written");
    assert!(open().expect_err("no keys").to_string().contains("RFC 7517"));
}
