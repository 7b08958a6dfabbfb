//! What is buffered because nobody takes it: bounded for each pod, whichever side does not take it.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::observe;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::plain;
use adit_integration::harness::prober::Prober;
use adit_integration::harness::rogue::frames::{
    self, END_HEADERS, HEADERS, INITIAL_WINDOW_SIZE, LARGEST_WINDOW, WINDOW_UPDATE,
};
use adit_integration::harness::rogue::{Lair, Rogue};
use adit_integration::harness::tunnels::Tunnel;
use adit_integration::harness::usage::{Usage, forget_peak};
use adit_integration::harness::watch::Watch;
use adit_mesh::constants::HBONE_PORT;
use anyhow::ensure;

use super::{REACHED, build};

const MIB: u64 = 1 << 20;
/// A port of an application that accepts and never reads.
const SINK: u16 = 7000;

/// Writes until nothing is taken for a while, or it is reset; how much was taken.
fn pour(mut stream: &TcpStream) -> anyhow::Result<(u64, bool)> {
    const QUIET: Duration = Duration::from_millis(300);
    let chunk = vec![b'x'; 64 << 10];
    stream.set_nonblocking(true)?;
    let (mut taken, mut last) = (0, Instant::now());
    while last.elapsed() < QUIET {
        match stream.write(&chunk) {
            Ok(count) => {
                taken += count as u64;
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(observe::INTERVAL),
            Err(_) => return Ok((taken, true)),
        }
    }
    Ok((taken, false))
}

/// The memory that a tunnel took beyond what it had.
fn more(tunnel: &Tunnel, before: Usage) -> anyhow::Result<u64> {
    Ok(Usage::of(tunnel)?.peak.saturating_sub(before.resident))
}

/// An application that has stopped reading, on many connections: the pod's share holds, by giving up those that hold
/// most, and the pod's other connections go on in the same tunnel.
pub fn the_stream_that_holds_most_is_given_up_and_no_other() -> anyhow::Result<()> {
    const SHARE: u64 = 6 * MIB;
    const CONNECTIONS: usize = 12;
    let (bed, [_first, tunnel]) = build(&[("ADIT_BUFFERED_BYTES_PER_POD", "6291456")], false)?;
    let sink = plain::listen(bed.namespace("server")?, SINK)?;
    let quiet = Prober::start(bed.namespace("client")?, bed.socket("server", ECHO_PORT)?)?;
    let watch = Watch::begin(&tunnel)?;
    forget_peak(&tunnel)?;
    let before = Usage::of(&tunnel)?;
    let address = bed.socket("server", SINK)?;
    let (mut held, mut reset) = (Vec::new(), 0);
    for _ in 0..CONNECTIONS {
        let client = bed.connect("client", address)?;
        held.push(plain::accept(&sink)?);
        let (_, ended) = pour(&client)?;
        reset += usize::from(ended);
        held.push((client, address));
    }
    let more = more(&tunnel, before)?;
    let lap = quiet.lap();
    println!(
        "{CONNECTIONS} connections to who does not read, a share of {} KiB: {} KiB more memory, {reset} noticed a reset \
         at once; meanwhile {:.0} requests a second, the slowest {:?}",
        SHARE / 1024,
        more / 1024,
        lap.rate(),
        lap.slowest()
    );
    watch.risen(REACHED, &[("limit", "buffered_bytes_per_pod")], 1)?;
    let line = watch.line("inbound", "overloaded", &[])?;
    let told = line["error"].as_str().unwrap_or_default();
    ensure!(told.contains("ADIT_BUFFERED_BYTES_PER_POD"), "{line}");
    ensure!(more < SHARE + 16 * MIB, "{more} bytes more memory");
    ensure!(lap.failure.is_none() && !lap.answers.is_empty(), "{lap:?}");
    let given_up = watch.rise(REACHED, &[("limit", "buffered_bytes_per_pod")])?;
    ensure!(given_up < CONNECTIONS as f64, "all were given up");
    ensure!(bed.call("client", bed.socket("server", HTTP_PORT)?)? == "server");
    Ok(())
}

/// A peer that opens its windows and then takes nothing: applications wait, nobody is cut off, and what is queued for it
/// is bounded.
pub fn a_peer_that_takes_nothing_makes_senders_wait() -> anyhow::Result<()> {
    const SHARE: u64 = 2 * MIB;
    const CONNECTIONS: usize = 40;
    let settings = [("ADIT_BUFFERED_BYTES_PER_POD", "2097152")];
    let (mut bed, [tunnel, other]) = build(&settings, true)?;
    bed.add_bare("rogue", 1)?;
    bed.apply(&[&tunnel, &other])?;
    let credentials = Ca::of_the_mesh()?.peer(&spiffe("rogue"))?;
    let _lair = Lair::open(bed.namespace("rogue")?, HBONE_PORT, credentials, takes_nothing)?;
    let quiet = Prober::start(bed.namespace("client")?, bed.socket("server", ECHO_PORT)?)?;
    forget_peak(&tunnel)?;
    let before = Usage::of(&tunnel)?;
    let address = bed.socket("rogue", HTTP_PORT)?;
    let callers: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| bed.connect("client", address))
        .collect::<Result<_, _>>()?;
    // Each has its stream, and the quiet one has one.
    tunnel.wait_metric("adit_pool_streams", &[], CONNECTIONS as f64 + 1.0)?;
    let poured = std::thread::scope(|scope| {
        let pouring: Vec<_> = callers
            .iter()
            .map(|caller| scope.spawn(|| pour(caller)))
            .collect();
        let ends = pouring
            .into_iter()
            .map(|pouring| pouring.join().expect("no panic"));
        ends.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let more = more(&tunnel, before)?;
    let lap = quiet.lap();
    println!(
        "{CONNECTIONS} senders to who takes nothing, a share of {} KiB: {} KiB more memory; meanwhile {:.0} requests a \
         second, the slowest {:?}",
        SHARE / 1024,
        more / 1024,
        lap.rate(),
        lap.slowest()
    );
    ensure!(
        poured.iter().all(|(_, reset)| !reset),
        "senders were cut off: {poured:?}"
    );
    ensure!(more < SHARE + 8 * MIB, "{more} bytes more memory");
    ensure!(lap.failure.is_none() && !lap.answers.is_empty(), "{lap:?}");
    ensure!(bed.call("client", bed.socket("server", HTTP_PORT)?)? == "server");
    Ok(())
}

/// Opens every window, accepts every CONNECT of some time, and then reads no more.
fn takes_nothing(rogue: &mut Rogue) -> anyhow::Result<()> {
    rogue.greet(&[(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)])?;
    rogue.send(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - 65_535).to_be_bytes())?;
    for _ in 0..40 {
        let stream = rogue.expect(HEADERS)?.stream;
        rogue.send(HEADERS, END_HEADERS, stream, frames::OK)?;
    }
    rogue.hold();
    Ok(())
}
