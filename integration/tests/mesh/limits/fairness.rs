//! Fairness: what a storm on one pod leaves to the others, in figures.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::traffic::Traffic;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::prober::Prober;
use adit_integration::harness::scripted::Client;
use adit_mesh::constants::HBONE_PORT;
use anyhow::ensure;

use super::build;

/// How long is measured before a storm, and while it lasts.
const WHILE: Duration = Duration::from_secs(2);
/// Those who make a storm at a time.
const STORMERS: usize = 8;
/// What 99 of 100 requests may take in a storm, on a machine that makes the storm as well.
const SLOW: Duration = Duration::from_secs(2);
/// Of its rate before, a quiet client keeps at least this share; the storm takes CPU from clients too.
const SHARE: f64 = 0.05;

/// New connections and requests of a quiet pod, before and during storms on its neighbour: of new tunnels with a TLS
/// handshake each, and of connections out of a pod.
pub fn a_storm_on_one_pod_leaves_the_others_their_share() -> anyhow::Result<()> {
    let (bed, [_first, _second]) = build(&[], false)?;
    let peer = Ca::of_the_mesh()?.peer(&spiffe("client"))?;
    let server = bed.socket("server", HBONE_PORT)?;
    let handshake = || {
        let stranger = bed.namespace("stranger")?;
        Client::shake_hands(stranger, server, &peer, &spiffe("server")).map(drop)
    };
    // The quiet ones: a pod beside the stormed one, called from a pod beside the storming one.
    measure(&bed, "new tunnels to the neighbour", &handshake)?;
    let echo = bed.socket("server", ECHO_PORT)?;
    let connect = || bed.connect("client", echo).map(drop);
    measure(&bed, "new connections of the neighbour", &connect)
}

/// What the quiet pod's clients got in some time.
struct Figures {
    rate: f64,
    slow: Duration,
    slowest: Duration,
    new: f64,
}

fn measure(bed: &Bed, storm: &str, stormer: &(impl Fn() -> anyhow::Result<()> + Sync)) -> anyhow::Result<()> {
    let calm = watch(bed)?;
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let (stormy, length) = std::thread::scope(|scope| {
        for _ in 0..STORMERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // What is refused belongs to a storm.
                    count.fetch_add(u64::from(stormer().is_ok()), Ordering::Relaxed);
                }
            });
        }
        let started = Instant::now();
        let stormy = watch(bed);
        stop.store(true, Ordering::Relaxed);
        (stormy, started.elapsed())
    });
    let stormy = stormy?;
    println!(
        "{storm}: {:.0} a second. Requests of a quiet pod: {:.0} a second before, {:.0} meanwhile, 99 % within {:?} \
         before, {:?} meanwhile, the slowest {:?} and {:?}. New connections of it: {:.0} a second, and {:.0}",
        count.load(Ordering::Relaxed) as f64 / length.as_secs_f64(),
        calm.rate,
        stormy.rate,
        calm.slow,
        stormy.slow,
        calm.slowest,
        stormy.slowest,
        calm.new,
        stormy.new,
    );
    ensure!(stormy.slow < SLOW, "{storm}: 99 % took up to {:?}", stormy.slow);
    ensure!(
        stormy.rate > calm.rate * SHARE,
        "{storm}: {} of {} requests a second",
        stormy.rate,
        calm.rate
    );
    ensure!(
        stormy.new > calm.new * SHARE,
        "{storm}: {} of {} connections a second",
        stormy.new,
        calm.new
    );
    Ok(())
}

/// Lets the quiet clients go on for a while; none of them may fail.
fn watch(bed: &Bed) -> anyhow::Result<Figures> {
    let address = |port| -> anyhow::Result<SocketAddr> { bed.socket("neighbour", port) };
    let requests = Prober::start(bed.namespace("other")?, address(ECHO_PORT)?)?;
    let connections = Traffic::start(bed.namespace("other")?, address(HTTP_PORT)?, 1)?;
    let started = Instant::now();
    std::thread::sleep(WHILE);
    let lap = requests.lap();
    let tally = connections.stop();
    let length = started.elapsed();
    ensure!(lap.failure.is_none(), "{:?}", lap.failure);
    ensure!(tally.failures() == 0, "{tally:?}");
    Ok(Figures {
        rate: lap.rate(),
        slow: lap.percentile(99),
        slowest: lap.slowest(),
        new: tally.answers() as f64 / length.as_secs_f64(),
    })
}
