//! What a client may and may not send to our server, by the sections of HTTP/2 (RFC 9113) and HPACK (RFC 7541): the cases
//! of h2spec that concern a server of CONNECT, as a table. Each row is the frames of a client on a connection of its own,
//! and what has to come back; a row in which the h2 crate does something else than the RFC asks says what, and why that
//! does no harm.

mod flow;
mod frames;
mod framing;
mod hpack;
mod messages;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

use adit_hbone::Settings;
use adit_hbone::server::Incoming;
use adit_mesh::Outcome;
use rustls::ClientConfig;
use tokio::task::spawn_local;

use crate::support::certificates::Ca;
use crate::support::script::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, Script, WINDOW_UPDATE, WITH_PRIORITY, literal,
};
use crate::support::server::Server;
use crate::support::{echo, run, settings};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// The stream by which is seen that the connection serves on.
const PROBE: u32 = 2001;
const PROBE_PING: &[u8; 8] = b"are you?";

/// What comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Back {
    /// The connection serves on, and no stream was reset.
    Served,
    /// One stream is reset with this error, and the connection serves on.
    Stream(u32, u32),
    /// One stream is answered with a refusal, and the connection serves on.
    Refused(u32),
    /// One stream carries bytes, this many on it in all, and the connection serves on.
    Bytes(u32, usize),
    /// The connection ends with this error.
    Connection(u32),
    /// The connection ends without a word of HTTP/2.
    Closed,
}

use Back::{Bytes, Closed, Connection, Refused, Served, Stream};

/// One row.
struct Case {
    /// The section of RFC 9113, or of HPACK.
    section: &'static str,
    what: &'static str,
    send: fn(&mut Script),
    back: Back,
    /// What the RFC asks for where that is something else, and why the difference does no harm.
    deviation: Option<(Back, &'static str)>,
}

const fn case(section: &'static str, what: &'static str, send: fn(&mut Script), back: Back) -> Case {
    Case {
        section,
        what,
        send,
        back,
        deviation: None,
    }
}

impl Case {
    const fn though(self, asked: Back, why: &'static str) -> Self {
        Self {
            deviation: Some((asked, why)),
            ..self
        }
    }
}

/// Why another error is as good.
const ONE_CODE: &str = "h2 has one error for whatever it cannot decode; the connection ends all the same";
/// Why the end of the connection is as good as that of a stream.
const OWN_CONNECTION: &str =
    "section 5.4.1 allows it: whoever breaks the rule loses its own connection, and nobody else's";

/// Runs the rows against one server.
fn conforms(cases: &'static [Case]) {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::start(&ledger, small(), answer).await;
        let config = web.client_config(&[ledger.identity().clone()].into());
        let address = server.address;
        let judged = tokio::task::spawn_blocking(move || judge(cases, address, &config));
        let wrong = judged.await.expect("no panic");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// Limits that a case can reach.
fn small() -> Settings {
    Settings {
        stream_window: 65_535,
        connection_window: 4 * 65_535,
        window_limit: 4 * 65_535,
        max_streams: 8,
        max_frame: 16_384,
        ..settings()
    }
}

/// Port 9 takes bytes and never says any, port 10 does not even take them; others echo. Like the tunnel, it refuses what
/// is not a CONNECT.
fn answer(incoming: Incoming) {
    let port = incoming
        .authority()
        .and_then(|authority| authority.rsplit(':').next()?.parse::<u16>().ok());
    let Some(port) = port else {
        return incoming.refuse(Outcome::BadRequest);
    };
    // A client that has left already needs no answer.
    let Ok(mut stream) = incoming.accept(None) else {
        return;
    };
    spawn_local(async move {
        match port {
            9 => {
                while crate::support::read(&mut stream)
                    .await
                    .is_ok_and(|data| data.is_some())
                {}
                hold(stream).await
            }
            10 => hold(stream).await,
            _ => echo(stream).await,
        }
    });
}

/// Keeps our side of a stream open until the connection ends.
async fn hold(mut stream: adit_hbone::Stream) {
    let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
}

fn judge(cases: &[Case], address: SocketAddr, config: &Arc<ClientConfig>) -> Vec<String> {
    let judge = |case: &Case| {
        println!("{} {}", case.section, case.what);
        if let Some((asked, why)) = case.deviation {
            assert!(asked != case.back && !why.is_empty(), "no deviation");
        }
        let found = observe(case, address, config);
        (found != case.back).then(|| {
            format!(
                "{} {}: {found:?}, expected {:?}",
                case.section, case.what, case.back
            )
        })
    };
    cases.iter().filter_map(judge).collect()
}

/// What comes back. Whether the connection serves on is only asked where it should: a server that has closed answers
/// what comes late with a reset, which may overtake its last words.
fn observe(case: &Case, address: SocketAddr, config: &Arc<ClientConfig>) -> Back {
    let mut peer = Script::connect_to(address, config.clone());
    (case.send)(&mut peer);
    let probed = !matches!(case.back, Connection(_) | Closed);
    if probed {
        probe(&mut peer);
    }
    let (mut back, mut ponged, mut bytes) = (Served, false, 0);
    while let Some(found) = peer.next() {
        let code = |at: usize| u32::from_be_bytes(found.payload[at..at + 4].try_into().expect("four bytes"));
        match (found.kind, found.stream) {
            (GOAWAY, _) if code(4) != NO_ERROR => {
                let code = code(4);
                assert!(peer.next().is_none(), "more after the error");
                return Connection(code);
            }
            (RST_STREAM, stream) if back == Served => back = Stream(stream, code(0)),
            (PING, _) if found.payload == PROBE_PING => ponged = found.flags & ACK != 0,
            (HEADERS, PROBE) if accepts(&found.payload) && ponged => return back,
            (HEADERS, stream) if !accepts(&found.payload) && back == Served => back = Refused(stream),
            (DATA, stream) if matches!(case.back, Bytes(..)) => {
                bytes += found.payload.len();
                back = Bytes(stream, bytes);
            }
            _ => {}
        }
    }
    Closed
}

fn probe(peer: &mut Script) {
    peer.send(PING, 0, 0, PROBE_PING);
    peer.connect(PROBE);
}

/// Whether a header block begins with status 200, after changes of the size of its table.
fn accepts(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte >> 5 != 1) == Some(&0x88)
}

/// Preface and SETTINGS, as every client begins.
fn begin(peer: &mut Script) {
    peer.raw(PREFACE);
    peer.send(SETTINGS, 0, 0, &[]);
}

/// A CONNECT that stays open: its server side says nothing and takes what comes.
fn open(peer: &mut Script, stream: u32) {
    begin(peer);
    peer.send(HEADERS, END_HEADERS, stream, &to("10.0.0.2:9"));
}

/// A CONNECT whose bytes come back.
fn open_echo(peer: &mut Script, stream: u32) {
    begin(peer);
    peer.connect(stream);
}

/// A CONNECT that both sides have ended.
fn closed(peer: &mut Script, stream: u32) {
    open_echo(peer, stream);
    peer.send(DATA, END_STREAM, stream, &[]);
    while peer.next_about(stream).flags & END_STREAM == 0 {}
}

/// The header block of a CONNECT to `authority`.
fn to(authority: &str) -> Vec<u8> {
    [literal(2, "CONNECT"), literal(1, authority)].concat()
}

/// A header field with a literal name.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A setting.
fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}
