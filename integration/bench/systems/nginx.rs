//! Two nginx that do the same work: TCP in, mutual TLS 1.3 between, TCP out. Each lives in its pod's namespace, two
//! workers each, and the client's connections are redirected to it by nftables, as a tunnel's are.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::{fs, process};

use adit::lab::observe;
use anyhow::{Context, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{Handshake, System};
use crate::cost::Processes;
use crate::ground::{Ground, PORTS, nginx_folder};

/// The near nginx listens on the called port plus this.
const NEAR: u16 = 10_000;
/// The far nginx listens on the called port plus this.
const FAR: u16 = 20_000;
/// The name in the certificates.
const NAME: &str = "peer";

pub fn start(ground: &mut Ground) -> anyhow::Result<System> {
    let pods = ground.add_pods("nginx")?;
    let (near_folder, far_folder) = (nginx_folder("near")?, nginx_folder("far")?);
    let pki = Pki::new()?;
    pki.write(&near_folder)?;
    pki.write(&far_folder)?;
    let server = ground.address(&pods.server, 0)?.ip();
    let (mut near, mut far) = (String::new(), String::new());
    for port in PORTS {
        writeln!(
            near,
            "server {{ listen {} reuseport backlog=4096; proxy_pass {server}:{}; proxy_ssl on; }}",
            port + NEAR,
            port + FAR
        )?;
        writeln!(
            far,
            "server {{ listen {} ssl reuseport backlog=4096; proxy_pass {server}:{port}; }}",
            port + FAR
        )?;
    }
    let tls = |prefix: &str, verify: &str| {
        format!(
            "{prefix}_protocols TLSv1.3; {prefix}_certificate peer.pem; {prefix}_certificate_key peer-key.pem; {verify};"
        )
    };
    let near_tls = tls(
        "proxy_ssl",
        &format!(
            "proxy_ssl_trusted_certificate {}/ca.pem; proxy_ssl_verify on; proxy_ssl_name {NAME}",
            near_folder.display()
        ),
    );
    let far_tls = tls(
        "ssl",
        &format!(
            "ssl_client_certificate {}/ca.pem; ssl_verify_client on",
            far_folder.display()
        ),
    );
    let mut run = |pod: &str, folder: &Path, servers: &str| -> anyhow::Result<u32> {
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
             daemon off; worker_processes 2; pid {0}/pid;
             events {{ worker_connections 30000; }}
             stream {{ proxy_timeout 1h; {servers} }}",
            folder.display()
        );
        let namespace = ground.namespace(pod)?.clone();
        ground.nginx(&format!("nginx-of-{pod}"), &namespace, folder, &config)
    };
    let near = run(&pods.client, &near_folder, &format!("{near_tls}\n{near}"))?;
    let far = run(&pods.server, &far_folder, &format!("{far_tls}\n{far}"))?;
    redirect(ground, &pods.client, &server.to_string())?;
    let address = ground.address(&pods.server, PORTS[2] + FAR)?;
    Ok(System {
        name: "nginx",
        near: workers(near)?,
        far: workers(far)?,
        program: None,
        handshake: Some(Handshake {
            address,
            config: pki.client()?,
        }),
        pods,
    })
}

/// The family of an nginx that has started: what holds its process namespace, its master, two workers.
fn workers(id: u32) -> anyhow::Result<Processes> {
    observe::eventually("the workers of nginx", || {
        let family = Processes::family(id)?;
        Ok((family.0.len() == 4).then_some(family))
    })
}

fn redirect(ground: &Ground, pod: &str, server: &str) -> anyhow::Result<()> {
    let mut rules = String::new();
    for port in PORTS {
        writeln!(
            rules,
            "ip daddr {server} tcp dport {port} redirect to :{}",
            port + NEAR
        )?;
    }
    let text = format!(
        "table ip near {{
            chain output {{
                type nat hook output priority -100
                {rules}
            }}
        }}"
    );
    let mut nft = process::Command::new("nft");
    nft.arg(text);
    let status = adit_net::process::spawn(Some(ground.namespace(pod)?), nft)?.wait()?;
    ensure!(status.success(), "nft ended with {status}");
    Ok(())
}

/// A root, and one certificate that both ends use, of the same kind as the tunnels' own: ECDSA P-256.
struct Pki {
    root: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: KeyPair,
    pem: [String; 3],
}

impl Pki {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        // OpenSSL takes two certificates with the same name for one.
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, NAME);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &root)?;
        Ok(Self {
            pem: [root.pem(), leaf.pem(), key.serialize_pem()],
            root: root.der().clone(),
            leaf: leaf.der().clone(),
            key,
        })
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, text) in ["ca.pem", "peer.pem", "peer-key.pem"].into_iter().zip(&self.pem) {
            fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }

    fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).map_err(anyhow::Error::msg)?;
        let mut config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.leaf.clone()], key)?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}
