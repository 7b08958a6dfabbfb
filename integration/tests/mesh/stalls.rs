//! Those who stall: peers at each stage, clients at each stage, applications. Each costs its own connection and its own
//! deadline, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::traffic::Traffic;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::scripted::{Client, Manner, Server};
use adit_integration::harness::tunnels::Tunnel;
use adit_mesh::Outcome;
use adit_mesh::constants::HBONE_PORT;
use anyhow::{Context, bail, ensure};
use socket2::{Domain, SockRef, Socket, Type};

/// Deadlines that a scenario can wait for.
const SETTINGS: &[(&str, &str)] = &[
    ("ADIT_CONNECT_TIMEOUT", "1s"),
    ("ADIT_TLS_TIMEOUT", "1s"),
    ("ADIT_HTTP2_TIMEOUT", "1s"),
    ("ADIT_CONNECT_ANSWER_TIMEOUT", "2s"),
];
/// Longer than any of the deadlines, shorter than two of them one after the other.
const SOON: Duration = Duration::from_millis(3800);
/// Those who call at a time.
const CALLERS: usize = 10;
/// Requests that go on meanwhile.
const ENOUGH: u64 = 20;

/// Two nodes with a tunnel each; `client` and `server` are enrolled.
fn build(peers: &[&str]) -> anyhow::Result<(Bed, [Tunnel; 2])> {
    let mut bed = Bed::new(2)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 1)?;
    bed.add_machine("plain", 1)?;
    for peer in peers {
        bed.add_bare(peer, 1)?;
    }
    bed.configure()?;
    let tunnels = [bed.start_tunnel(0, SETTINGS)?, bed.start_tunnel(1, SETTINGS)?];
    bed.enrol(&["client", "server"])?;
    Ok((bed, tunnels))
}

fn traffic(bed: &Bed) -> anyhow::Result<Traffic> {
    Traffic::start(bed.namespace("client")?, bed.socket("server", HTTP_PORT)?, 2)
}

fn no_failures(traffic: Traffic) -> anyhow::Result<()> {
    let enough = traffic.wait_answers(ENOUGH);
    let tally = traffic.stop();
    ensure!(tally.failures() == 0, "the others were disturbed: {tally:?}");
    enough
}

/// A peer that stalls at any stage costs those who call it one deadline, together, and nobody else anything.
pub fn a_peer_that_stalls_ends_at_its_deadline_and_holds_up_nobody() -> anyhow::Result<()> {
    let (bed, [tunnel, _other]) = build(&["silent", "mute", "undecided", "walled"])?;
    bed.wall_in("walled")?;
    let ca = Ca::of_the_mesh()?;
    let start =
        |pod: &str, manner| Server::start(bed.namespace(pod)?, HBONE_PORT, ca.peer(&spiffe(pod))?, manner);
    let _peers = [
        start("silent", Manner::Silent)?,
        start("mute", Manner::OnlyTls)?,
        start("undecided", Manner::NoAnswer)?,
    ];
    let others = traffic(&bed)?;
    let stages = [
        ("walled", Outcome::NetworkPolicy),
        ("silent", Outcome::TlsTimeout),
        ("mute", Outcome::Http2Failed),
        ("undecided", Outcome::ConnectAnswerTimeout),
    ];
    let mark = tunnel.mark()?;
    std::thread::scope(|scope| {
        let calls = stages
            .iter()
            .flat_map(|(peer, _)| std::iter::repeat_n(*peer, CALLERS));
        let calls: Vec<_> = calls
            .map(|peer| scope.spawn(|| refused_soon(&bed, peer)))
            .collect();
        calls
            .into_iter()
            .try_for_each(|call| call.join().expect("no panic"))
    })?;
    for (peer, outcome) in stages {
        tunnel.access(mark, &[("dst.workload", peer), ("outcome", &outcome.name())])?;
    }
    no_failures(others)
}

fn refused_soon(bed: &Bed, peer: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    bed.refused("client", bed.socket(peer, HTTP_PORT)?)?;
    let took = started.elapsed();
    ensure!(took < SOON, "it took {took:?} to be refused by {peer}");
    Ok(())
}

/// A client that stalls on a pod's HBONE port is cut at its deadline, however many there are.
pub fn a_client_that_stalls_ends_at_its_deadline_and_holds_up_nobody() -> anyhow::Result<()> {
    let (bed, [_other, tunnel]) = build(&[])?;
    let address = bed.socket("server", HBONE_PORT)?;
    let others = traffic(&bed)?;
    let mark = tunnel.mark()?;
    let started = Instant::now();
    let silent = (0..100)
        .map(|_| bed.connect("plain", address))
        .collect::<Result<Vec<_>, _>>()?;
    for mut client in silent {
        closed(&mut client, started + SOON)?;
    }
    let line = tunnel.access(mark, &[("outcome", "tls_timeout"), ("direction", "inbound")])?;
    ensure!(line["response_flags"] == "TLS_FAILURE", "other flags: {line}");
    let labels = [("outcome", "tls_timeout"), ("direction", "inbound")];
    tunnel.wait_metric("adit_refused_connections_total", &labels, 100.0)?;
    no_failures(others)
}

fn closed(client: &mut TcpStream, deadline: Instant) -> anyhow::Result<()> {
    let left = deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1));
    client.set_read_timeout(Some(left))?;
    match client.read(&mut [0; 64]) {
        Ok(0) => Ok(()),
        Ok(_) => bail!("the tunnel spoke first"),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error).context("a client that says nothing is not cut"),
    }
}

/// A peer, and an application, that accept and never read: the sender waits, and everybody else goes on, also on the
/// same tunnel.
pub fn whoever_stops_reading_stops_its_own_sender_only() -> anyhow::Result<()> {
    let (bed, [tunnel, _other]) = build(&["greedy"])?;
    let ca = Ca::of_the_mesh()?;
    let peer = ca.peer(&spiffe("greedy"))?;
    let _peer = Server::start(bed.namespace("greedy")?, HBONE_PORT, peer, Manner::NeverReads)?;
    let sink = SocketAddr::from(([0, 0, 0, 0], 7000));
    let _sink = bed
        .namespace("server")?
        .run(|| std::net::TcpListener::bind(sink))
        .flatten()?;
    let others = traffic(&bed)?;
    let mut stuck = Vec::new();
    for (pod, port) in [("greedy", HTTP_PORT), ("server", 7000)] {
        let address = bed.socket(pod, port)?;
        for _ in 0..2 {
            let mut stream = bed.connect("client", address)?;
            fill(&mut stream)?;
            stuck.push(stream);
        }
    }
    bed.session("client", bed.socket("server", ECHO_PORT)?)?
        .echo("still here")?;
    let wanted = stuck.len() as f64;
    observe_open(&tunnel, wanted)?;
    no_failures(others)?;
    // They are still connected: nothing was given up on their behalf.
    observe_open(&tunnel, wanted)
}

fn observe_open(tunnel: &Tunnel, at_least: f64) -> anyhow::Result<()> {
    tunnel.wait_metric("istio_tcp_sockets_open", &[("reporter", "source")], at_least)
}

/// Writes until nothing more is taken for a while.
fn fill(stream: &mut TcpStream) -> anyhow::Result<()> {
    const MOST: usize = 256 << 20;
    stream.set_write_timeout(Some(Duration::from_millis(300)))?;
    let chunk = vec![b'x'; 1 << 20];
    let mut written = 0;
    while written < MOST {
        match stream.write(&chunk) {
            Ok(length) => written += length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(());
            }
            Err(error) => return Err(error).context("a sender whose receiver stopped is cut"),
        }
    }
    bail!("{MOST} bytes were taken for an application that does not read")
}

/// An application whose backlog is full does not answer; one that accepts and says nothing is none of our business.
pub fn an_application_that_stalls_ends_at_its_deadline_and_holds_up_nobody() -> anyhow::Result<()> {
    let (bed, tunnels) = build(&[])?;
    let namespace = bed.namespace("server")?;
    let full = SocketAddr::from(([0, 0, 0, 0], 7001));
    let quiet = SocketAddr::from(([0, 0, 0, 0], 7002));
    let listener = namespace.run(|| -> std::io::Result<_> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&full.into())?;
        listener.listen(0)?;
        Ok(listener)
    });
    let _full = listener.flatten()?;
    let waiting: Vec<_> = (0..4).map(|_| knock(&bed, 7001)).collect::<Result<_, _>>()?;
    let _quiet = namespace.run(|| std::net::TcpListener::bind(quiet)).flatten()?;
    let others = traffic(&bed)?;
    let marks = [tunnels[0].mark()?, tunnels[1].mark()?];
    let started = Instant::now();
    let patient = bed.connect("client", bed.socket("server", 7002)?)?;
    bed.refused("client", bed.socket("server", 7001)?)?;
    let took = started.elapsed();
    ensure!(took < SOON, "it took {took:?} to be refused");
    tunnels[0].access(marks[0], &[("outcome", "peer_refused")])?;
    let line = tunnels[1].access(
        marks[1],
        &[("outcome", "connect_timeout"), ("direction", "inbound")],
    )?;
    ensure!(
        line["error"]
            .as_str()
            .is_some_and(|told| told.contains("within 1s")),
        "{line}"
    );
    no_failures(others)?;
    ensure!(
        SockRef::from(&patient).take_error()?.is_none(),
        "the patient client was cut"
    );
    patient.set_read_timeout(Some(Duration::from_millis(1)))?;
    let silence = (&patient).read(&mut [0; 1]);
    ensure!(
        silence
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "the patient client saw {silence:?}"
    );
    drop(waiting);
    Ok(())
}

/// Fills a backlog from inside the pod, without waiting for it to answer.
fn knock(bed: &Bed, port: u16) -> anyhow::Result<Socket> {
    let socket = bed
        .namespace("server")?
        .run(|| Socket::new(Domain::IPV4, Type::STREAM, None))
        .flatten()?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error.into()),
        _ => Ok(socket),
    }
}

/// A client that finishes its TLS handshake and then says nothing does not stay for ever.
pub fn a_client_without_a_preface_is_cut() -> anyhow::Result<()> {
    let (bed, [_other, tunnel]) = build(&[])?;
    let peer = Ca::of_the_mesh()?.peer(&spiffe("client"))?;
    let address = bed.socket("server", HBONE_PORT)?;
    let before = tunnel.descriptors()?;
    let clients = (0..20)
        .map(|_| Client::shake_hands(bed.namespace("plain")?, address, &peer, &spiffe("server")))
        .collect::<Result<Vec<_>, _>>()?;
    adit::lab::observe::eventually("the tunnel to hold the connections", || {
        Ok((tunnel.descriptors()? >= before + clients.len()).then_some(()))
    })?;
    adit::lab::observe::eventually("the tunnel to give them up", || {
        Ok((tunnel.descriptors()? <= before).then_some(()))
    })
}
