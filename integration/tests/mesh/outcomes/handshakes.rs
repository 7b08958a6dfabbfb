//! What can go wrong between a client's tunnel and its peer, up to the answer to the CONNECT.

use adit::lab::apps::HTTP_PORT;
use adit::lab::host;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::scripted::Manner;
use adit_mesh::Outcome;

use super::{Case, Counted, Held, Stage, Teller};

/// The peers, by what they do.
const PEERS: &[&str] = &[
    "foreign",
    "silent",
    "impostor",
    "revoked",
    "mute",
    "undecided",
    "walled",
];

/// Adds pods for peers that follow a script, and one that no packet comes through to.
pub(super) fn prepare(bed: &mut Bed, _: &Ca) -> anyhow::Result<()> {
    for peer in PEERS {
        bed.add_bare(peer, 1)?;
    }
    bed.wall_in("walled")
}

/// Starts the peers. The one whose certificate is revoked is one that the tunnels know to be.
pub(super) fn script(stage: &mut Stage) -> anyhow::Result<()> {
    let foreign = Ca::open("foreign-ca")?.flawed(&spiffe("foreign"), Default::default(), &stage.ca)?;
    let revoked = stage.ca.peer(&spiffe("revoked"))?;
    let mark = stage.tunnels[0].mark()?;
    stage.ca.revoke(&host::path("crl.pem"), &[revoked.serial()])?;
    stage.tunnels[0].line(mark, &["certificates obey the changed trust"])?;
    let own = |name: &str| stage.ca.peer(&spiffe(name));
    let (silent, mute, undecided) = (own("silent")?, own("mute")?, own("undecided")?);
    let impostor = own("somebody-else")?;
    stage.script("foreign", foreign, Manner::Serves)?;
    stage.script("silent", silent, Manner::Silent)?;
    stage.script("impostor", impostor, Manner::Serves)?;
    stage.script("revoked", revoked, Manner::Serves)?;
    stage.script("mute", mute, Manner::OnlyTls)?;
    stage.script("undecided", undecided, Manner::NoAnswer)
}

pub(super) const CASES: &[Case] = &[
    case(Outcome::TlsFailed, "trusted root", |stage| call(stage, "foreign")),
    case(
        Outcome::TlsTimeout,
        "no end of the TLS handshake within 1s",
        |stage| call(stage, "silent"),
    ),
    case(
        Outcome::IdentityMismatch,
        "sa/somebody-else, expected spiffe://",
        |stage| call(stage, "impostor"),
    ),
    case(Outcome::CertificateRevoked, "is revoked", |stage| {
        call(stage, "revoked")
    }),
    case(
        Outcome::Http2Failed,
        "no SETTINGS from the peer within 1s",
        |stage| call(stage, "mute"),
    ),
    case(
        Outcome::ConnectAnswerTimeout,
        "no answer to the CONNECT within 2s",
        |stage| call(stage, "undecided"),
    ),
    case(Outcome::NetworkPolicy, "did not answer within 1s", |stage| {
        call(stage, "walled")
    }),
];

const fn case(outcome: Outcome, says: &'static str, provoke: fn(&mut Stage) -> anyhow::Result<Held>) -> Case {
    Case {
        outcome,
        teller: Teller::Client,
        counted: Counted::Failed,
        says,
        provoke,
    }
}

fn call(stage: &mut Stage, peer: &str) -> anyhow::Result<Held> {
    let address = stage.bed.socket(peer, HTTP_PORT)?;
    stage.bed.refused("client", address)?;
    Ok(Box::new(()))
}
