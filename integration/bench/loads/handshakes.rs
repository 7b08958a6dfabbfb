//! New tunnels: TLS 1.3 handshakes with client certificates, two at a time, against the server's end alone. Each is
//! over when the server has accepted the client's certificate: it has sent a session ticket or its first bytes.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_net::Namespace;
use anyhow::{Context, anyhow, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::Sample;
use crate::ground::Ground;
use crate::systems::System;

const THREADS: usize = 2;

pub fn run(ground: &Ground, system: &System, time: Duration) -> anyhow::Result<Sample> {
    let handshake = system.handshake.as_ref().context("it takes no handshakes")?;
    let namespace = ground.namespace(&system.pods.outsider)?;
    let before = system.far.cpu()?;
    let started = Instant::now();
    let mut latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| repeat(namespace, handshake.address, &handshake.config, started + time)))
            .collect();
        threads.into_iter().try_fold(Vec::new(), |mut all, thread| {
            all.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
            anyhow::Ok(all)
        })
    })?;
    let elapsed = started.elapsed();
    let cpu = system.far.cpu()?.saturating_sub(before);
    latencies.sort();
    let percentile = |percent: usize| {
        latencies
            .get(latencies.len() * percent / 100)
            .map(Duration::as_micros)
    };
    let made = latencies.len() as f64;
    let micros = |percent| percentile(percent).map_or(f64::NAN, |micros| micros as f64);
    Ok(Sample::from([
        ("conn_per_s", made / elapsed.as_secs_f64()),
        ("p50_us", micros(50)),
        ("p99_us", micros(99)),
        ("cpu_ms_per_conn", cpu.as_secs_f64() * 1e3 / made),
    ]))
}

fn repeat(
    namespace: &Namespace,
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    end: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let started = Instant::now();
        let stream = namespace
            .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))
            .flatten()
            .with_context(|| format!("cannot connect to {address}"))?;
        shake_hands(stream, config)?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

fn shake_hands(mut stream: TcpStream, config: &Arc<ClientConfig>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut session = ClientConnection::new(config.clone(), ServerName::try_from("peer")?)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    while session.wants_write() {
        session.write_tls(&mut stream)?;
    }
    loop {
        if session.tls13_tickets_received() > 0 || session.reader().read(&mut [0]).is_ok() {
            return Ok(());
        }
        if session.read_tls(&mut stream)? == 0 {
            bail!("the server closed before it had accepted the certificate");
        }
        session.process_new_packets()?;
    }
}
