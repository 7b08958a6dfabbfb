//! Certificates that must be refused, on both directions, and those that change while traffic runs.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::host;
use adit::lab::observe::{self, Mark};
use adit::lab::traffic::Traffic;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::{Ca, Validity, identity_of, spiffe};
use adit_integration::harness::document::replace;
use adit_integration::harness::rogue::Rogue;
use adit_integration::harness::scripted::{Client, Manner, Server, failure};
use adit_integration::harness::tunnels::Tunnel;
use adit_mesh::Outcome;
use adit_mesh::constants::HBONE_PORT;
use adit_pki::Credentials;
use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

/// A workload of a mesh that nobody said to trust.
const EVIL: &str = "spiffe://evil.example/ns/bank/sa/client";
/// A workload of a mesh that the tunnels are told to trust.
const PARTNER: &str = "spiffe://partner.example/ns/bank/sa/client";

/// What a peer is refused with, and part of the reason; `None` if it is not.
type Refusal = Option<(Outcome, &'static str)>;

/// Two nodes with a tunnel each, told of an alias and of a revocation list; `client` and `server` are enrolled.
struct Stage {
    bed: Bed,
    tunnels: [Tunnel; 2],
    ca: Ca,
    crl: PathBuf,
}

impl Stage {
    fn build(peers: &[&str]) -> anyhow::Result<Self> {
        let mut bed = Bed::new(2)?;
        bed.add_pod("client", 0)?;
        bed.add_pod("server", 1)?;
        bed.add_machine("plain", 1)?;
        for peer in peers {
            bed.add_bare(peer, 1)?;
        }
        bed.configure()?;
        let (ca, crl) = (Ca::of_the_mesh()?, host::path("crl.pem"));
        ca.revoke(&crl, &[])?;
        let path = crl.display().to_string();
        let settings = [
            ("CRL_PATH", path.as_str()),
            ("ADIT_TRUST_DOMAIN_ALIASES", "partner.example"),
        ];
        let tunnels = [bed.start_tunnel(0, &settings)?, bed.start_tunnel(1, &settings)?];
        bed.enrol(&["client", "server"])?;
        Ok(Self {
            bed,
            tunnels,
            ca,
            crl,
        })
    }

    /// Revokes certificates, and waits until both tunnels know.
    fn revoke(&self, serials: &[String]) -> anyhow::Result<()> {
        let marks = self.marks()?;
        self.ca.revoke(&self.crl, serials)?;
        self.wait_lines(marks, "certificates obey the changed trust")
    }

    fn marks(&self) -> anyhow::Result<[Mark; 2]> {
        Ok([self.tunnels[0].mark()?, self.tunnels[1].mark()?])
    }

    fn wait_lines(&self, marks: [Mark; 2], words: &str) -> anyhow::Result<()> {
        for (tunnel, mark) in self.tunnels.iter().zip(marks) {
            tunnel.line(mark, &[words])?;
        }
        Ok(())
    }

    fn connect(&self, peer: &Credentials) -> anyhow::Result<Result<Client, adit_hbone::Failure>> {
        let address = self.bed.socket("server", HBONE_PORT)?;
        Client::connect(self.bed.namespace("plain")?, address, peer, &spiffe("server"))
    }

    /// Connects as this peer and opens a tunnel to the server's echo port.
    fn admitted(&self, peer: &Credentials) -> anyhow::Result<(Client, adit_hbone::Stream)> {
        let client = self.connect(peer)??;
        ensure!(
            identity_of(&client.peer())? == spiffe("server"),
            "the server proved to be somebody else"
        );
        let authority = self.bed.socket("server", ECHO_PORT)?.to_string();
        let (mut stream, _) = client.open(&authority).map_err(failure)?;
        let echoed = client.exchange(&mut stream, b"hello\n")?;
        ensure!(echoed == "hello\n", "{echoed:?} came back");
        Ok((client, stream))
    }

    /// Connects as this peer, and is refused with this outcome in the server's log.
    fn turned_away(&self, peer: &Credentials, outcome: Outcome, says: &str) -> anyhow::Result<()> {
        let mark = self.tunnels[1].mark()?;
        self.must_not_open(self.connect(peer)?)?;
        self.told(1, mark, "inbound", outcome, says)
    }

    /// In TLS 1.3 a client learns only after its handshake that it was refused.
    fn must_not_open(&self, connected: Result<Client, adit_hbone::Failure>) -> anyhow::Result<()> {
        let authority = self.bed.socket("server", ECHO_PORT)?.to_string();
        let opened = connected.is_ok_and(|client| client.open(&authority).is_ok());
        ensure!(!opened, "a peer was let in that should not be");
        Ok(())
    }

    fn told(
        &self,
        tunnel: usize,
        mark: Mark,
        direction: &str,
        outcome: Outcome,
        says: &str,
    ) -> anyhow::Result<()> {
        let fields = [("outcome", outcome.name()), ("direction", direction.to_owned())];
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let line = self.tunnels[tunnel].access(mark, &fields)?;
        ensure!(
            line["response_flags"] == outcome.response_flags(),
            "other flags: {line}"
        );
        ensure!(
            line["error"].as_str().is_some_and(|told| told.contains(says)),
            "not {says:?}: {line}"
        );
        Ok(())
    }
}

/// Clients of a pod's HBONE port: one proper, one of a trusted mesh, and all kinds of others.
pub fn a_client_without_a_proper_certificate_is_refused() -> anyhow::Result<()> {
    let stage = Stage::build(&[])?;
    let (ca, foreign) = (&stage.ca, Ca::open("foreign-ca")?);
    let client = spiffe("client");
    stage.admitted(&*ca.peer(&client)?)?;
    stage
        .admitted(&*ca.peer(PARTNER)?)
        .context("a peer of a trust domain that is an alias")?;

    stage.turned_away(
        &*ca.peer(EVIL)?,
        Outcome::IdentityMismatch,
        "foreign trust domain",
    )?;
    let expired = ca.flawed(&client, Validity::Past, ca)?;
    stage.turned_away(&expired, Outcome::TlsFailed, "has expired")?;
    let early = ca.flawed(&client, Validity::Future, ca)?;
    stage.turned_away(&early, Outcome::TlsFailed, "not valid yet")?;
    let stranger = foreign.flawed(&client, Validity::Now, ca)?;
    stage.turned_away(&stranger, Outcome::TlsFailed, "does not chain to a trusted root")?;
    let revoked = ca.peer(&client)?;
    stage.revoke(&[revoked.serial()])?;
    stage.turned_away(&revoked, Outcome::CertificateRevoked, "is revoked")?;

    let mark = stage.tunnels[1].mark()?;
    let address = stage.bed.socket("server", HBONE_PORT)?;
    let (namespace, expected) = (stage.bed.namespace("plain")?, spiffe("server"));
    stage.must_not_open(Client::connect_anonymously(
        namespace,
        address,
        &*ca.peer(&client)?,
        &expected,
    )?)?;
    stage.told(1, mark, "inbound", Outcome::TlsFailed, "presented no certificate")?;
    stage
        .admitted(&*ca.peer(&client)?)
        .context("a proper client after all of these")?;
    Ok(())
}

/// A certificate that is revoked while its bearer shakes hands, and takes its time, lets nobody in.
pub fn a_revocation_during_a_handshake_is_not_missed() -> anyhow::Result<()> {
    let stage = Stage::build(&[])?;
    let peer = stage.ca.peer(&spiffe("client"))?;
    let mark = stage.tunnels[1].mark()?;
    let address = stage.bed.socket("server", HBONE_PORT)?;
    let plain = stage.bed.namespace("plain")?;
    let mut slow = Rogue::call(plain, address, peer.clone(), &spiffe("server"))?;
    slow.shake_hands_around(|| stage.revoke(&[peer.serial()]))?;
    stage.told(
        1,
        mark,
        "inbound",
        Outcome::CertificateRevoked,
        "revoked during the handshake",
    )?;
    slow.wait_end()
}

/// Servers on the HBONE port of the address that was called.
pub fn a_server_without_a_proper_certificate_is_refused() -> anyhow::Result<()> {
    let names = [
        "proper", "other", "evil", "expired", "early", "stranger", "revoked",
    ];
    let stage = Stage::build(&names)?;
    let (ca, foreign) = (&stage.ca, Ca::open("foreign-ca")?);
    let revoked = ca.peer(&spiffe("revoked"))?;
    stage.revoke(&[revoked.serial()])?;
    let peers: [(&str, Arc<Credentials>, Refusal); 7] = [
        ("proper", ca.peer(&spiffe("proper"))?, None),
        (
            "other",
            ca.peer(&spiffe("somebody"))?,
            Some((Outcome::IdentityMismatch, "expected")),
        ),
        (
            "evil",
            ca.peer(EVIL)?,
            Some((Outcome::IdentityMismatch, "evil.example")),
        ),
        (
            "expired",
            ca.flawed(&spiffe("expired"), Validity::Past, ca)?,
            Some((Outcome::TlsFailed, "has expired")),
        ),
        (
            "early",
            ca.flawed(&spiffe("early"), Validity::Future, ca)?,
            Some((Outcome::TlsFailed, "not valid yet")),
        ),
        (
            "stranger",
            foreign.flawed(&spiffe("stranger"), Validity::Now, ca)?,
            Some((Outcome::TlsFailed, "does not chain to a trusted root")),
        ),
        (
            "revoked",
            revoked,
            Some((Outcome::CertificateRevoked, "is revoked")),
        ),
    ];
    for (pod, credentials, expected) in peers {
        let _server = Server::start(stage.bed.namespace(pod)?, HBONE_PORT, credentials, Manner::Serves)?;
        let (mark, address) = (stage.tunnels[0].mark()?, stage.bed.socket(pod, HTTP_PORT)?);
        match expected {
            None => drop(stage.bed.call("client", address)?),
            Some((outcome, says)) => {
                stage.bed.refused("client", address)?;
                stage
                    .told(0, mark, "outbound", outcome, says)
                    .with_context(|| pod.to_owned())?;
            }
        }
    }
    Ok(())
}

/// A revocation ends what lives, in both directions, and leaves the others alone.
pub fn a_revocation_closes_live_connections() -> anyhow::Result<()> {
    let stage = Stage::build(&["peer"])?;
    let server = stage.ca.peer(&spiffe("peer"))?;
    let namespace = stage.bed.namespace("peer")?;
    let _server = Server::start(namespace, HBONE_PORT, server.clone(), Manner::NeverReads)?;
    let good = stage.ca.peer(&spiffe("client"))?;
    let (good_client, mut good_stream) = stage.admitted(&good)?;
    let mut bystander = stage
        .bed
        .session("client", stage.bed.socket("server", ECHO_PORT)?)?;

    let inbound = stage.ca.peer(&spiffe("client"))?;
    let (client, mut stream) = stage.admitted(&inbound)?;
    let address = stage.bed.socket("peer", ECHO_PORT)?;
    let mut outbound = adit::lab::session::Session::open(stage.bed.namespace("client")?, address)?;
    let opened = [("destination_workload", "unknown"), ("reporter", "source")];
    stage.tunnels[0].wait_metric("istio_tcp_connections_opened_total", &opened[1..], 2.0)?;
    let marks = stage.marks()?;
    stage.revoke(&[inbound.serial(), server.serial()])?;
    ensure!(
        !client.wait_end(&mut stream)?,
        "the revoked client's stream ended as if in order"
    );
    outbound.wait_cut()?;
    let says = "revoked while the connection lived";
    stage.told(1, marks[1], "inbound", Outcome::CertificateRevoked, says)?;
    stage.told(0, marks[0], "outbound", Outcome::CertificateRevoked, says)?;
    for (tunnel, reporter) in stage.tunnels.iter().zip(["source", "destination"]) {
        tunnel.wait_metric(
            "istio_crl_policy_rejections_total",
            &[("reporter", reporter)],
            1.0,
        )?;
        let labels = [("response_flags", "CERT_REVOKED"), ("reporter", reporter)];
        tunnel.wait_metric("istio_tcp_connections_closed_total", &labels, 1.0)?;
    }
    stage.turned_away(&inbound, Outcome::CertificateRevoked, "is revoked")?;
    stage.bed.refused("client", address)?;
    bystander.echo("still here")?;
    let echoed = good_client.exchange(&mut good_stream, b"me too\n")?;
    ensure!(echoed == "me too\n", "{echoed:?} came back");
    Ok(())
}

/// A list that cannot be read at the start stops it; one that breaks later keeps what it said.
pub fn a_revocation_list_that_cannot_be_read_never_opens_anything() -> anyhow::Result<()> {
    let mut stage = Stage::build(&[])?;
    replace(&host::path("garbage.pem"), "not a list\n")?;
    for (path, says) in [
        ("/run/adit/missing.pem", "cannot read"),
        ("/run/adit/garbage.pem", "holds no revocation list"),
    ] {
        let mut tunnel = stage.bed.launch(0, &[("CRL_PATH", path)])?;
        let text = tunnel.wait_failure(1)?;
        ensure!(
            text.contains(says) && text.contains(path),
            "it does not say {says:?} of {path}:\n{text}"
        );
    }
    let revoked = stage.ca.peer(&spiffe("client"))?;
    stage.revoke(&[revoked.serial()])?;
    let marks = stage.marks()?;
    replace(&stage.crl, "no longer a list\n")?;
    stage.wait_lines(marks, "its last good content stays in force")?;
    stage.turned_away(&revoked, Outcome::CertificateRevoked, "is revoked")?;
    stage.admitted(&*stage.ca.peer(&spiffe("client"))?)?;
    stage.revoke(&[])?;
    stage
        .admitted(&revoked)
        .context("a list that is good again and names nobody")?;
    Ok(())
}

/// Both ends of a pair get new certificates while they talk, and no request notices.
pub fn certificates_are_renewed_under_traffic() -> anyhow::Result<()> {
    let stage = Stage::build(&[])?;
    let address = stage.bed.socket("server", HTTP_PORT)?;
    let traffic = Traffic::start(stage.bed.namespace("client")?, address, 2)?;
    traffic.wait_answers(50)?;
    for (tunnel, account) in stage.tunnels.iter().zip(["client", "server"]) {
        let identity = spiffe(account);
        let old = tunnel
            .serials()?
            .get(&identity)
            .cloned()
            .context("no certificate in the dump")?;
        let asked = tunnel.admin("POST", &format!("/certificates/renew?identity={identity}"))?;
        ensure!(asked.status == 200, "the renewal is refused: {asked:?}");
        let new = observe::eventually(format_args!("a new certificate of {identity}"), || {
            Ok(tunnel
                .serials()?
                .get(&identity)
                .filter(|serial| **serial != old)
                .cloned())
        })?;
        tunnel.line(Mark::default(), &["new certificate", &new])?;
        tunnel.wait_metric("adit_certificate_expiry_seconds", &[("identity", &identity)], 1.0)?;
        traffic.wait_answers(50)?;
    }
    let unknown = stage.tunnels[0].admin("POST", "/certificates/renew?identity=spiffe://a/ns/b/sa/c")?;
    ensure!(unknown.status == 404, "somebody else's certificate: {unknown:?}");
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");
    Ok(())
}

/// The root is replaced as it should be: trusted first, used next, the old one dropped last.
pub fn roots_are_replaced_under_traffic() -> anyhow::Result<()> {
    let (old, new) = (Ca::open("old-ca")?, Ca::open("new-ca")?);
    let bundle = host::path("roots.pem");
    replace(&bundle, &old.root()?)?;
    let mut bed = Bed::new(2)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 1)?;
    bed.add_machine("plain", 1)?;
    bed.configure()?;
    let bundle_path = bundle.display().to_string();
    let start = |bed: &mut Bed, node, ca: &Ca| {
        let directory = ca.directory().display().to_string();
        bed.start_tunnel(
            node,
            &[("ADIT_TRUST_BUNDLE", &bundle_path), ("ADIT_LOCAL_CA", &directory)],
        )
    };
    let mut before = [start(&mut bed, 0, &old)?, start(&mut bed, 1, &old)?];
    bed.enrol(&["client", "server"])?;
    let traffic = Traffic::start(bed.namespace("client")?, bed.socket("server", HTTP_PORT)?, 2)?;
    traffic.wait_answers(50)?;

    trust(&bundle, &[&old, &new], &before)?;
    traffic.wait_answers(50)?;
    let mut after = Vec::new();
    for (node, retired) in before.iter_mut().enumerate() {
        after.push(start(&mut bed, node, &new)?);
        retired.signal(Signal::SIGTERM)?;
        let (status, _) = retired.wait_end()?;
        ensure!(status.success(), "the old tunnel ended with {status}");
        traffic.wait_answers(50)?;
    }
    trust(&bundle, &[&new], &after)?;
    traffic.wait_answers(50)?;
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "requests failed: {tally:?}");

    let mark = after[1].mark()?;
    let late = old.flawed(&spiffe("client"), Validity::Now, &new)?;
    let address = bed.socket("server", HBONE_PORT)?;
    let connected = Client::connect(bed.namespace("plain")?, address, &late, &spiffe("server"))?;
    let authority = bed.socket("server", ECHO_PORT)?.to_string();
    ensure!(
        !connected.is_ok_and(|client| client.open(&authority).is_ok()),
        "the old root is still trusted"
    );
    after[1].access(mark, &[("outcome", "tls_failed"), ("direction", "inbound")])?;
    Ok(())
}

/// Makes these roots the bundle, and waits until the tunnels know.
fn trust(bundle: &std::path::Path, roots: &[&Ca], tunnels: &[Tunnel]) -> anyhow::Result<()> {
    let marks = tunnels.iter().map(Tunnel::mark).collect::<Result<Vec<_>, _>>()?;
    let text = roots.iter().map(|ca| ca.root()).collect::<Result<String, _>>()?;
    replace(bundle, &text)?;
    ensure!(
        fs::read_to_string(bundle)? == text,
        "another bundle than was written"
    );
    tunnels.iter().zip(marks).try_for_each(|(tunnel, mark)| {
        tunnel
            .line(mark, &["certificates obey the changed trust"])
            .map(drop)
    })
}
