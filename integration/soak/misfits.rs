//! Peers that misbehave. What they see is their own affair; that nobody else notices, and that nothing of them is left, is
//! found out by others. Each is over after a few seconds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use adit_mesh::constants::{HBONE_PORT, OUTBOUND_PORT, PLAINTEXT_PORT};
use adit_net::Namespace;
use adit_pki::Credentials;

use super::bulk::{self, Order};
use super::schedule::Misfit;
use crate::harness::bed;
use crate::harness::credentials::spiffe;
use crate::harness::scripted::Client;

/// How many connections one of them makes at most.
const MOST: usize = 12;
/// How long one of them waits for the tunnel to end it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where misfits come from, and whom they molest.
#[derive(Clone, Debug)]
pub struct Field {
    /// Outside of the mesh.
    pub outside: Namespace,
    /// A pod of the mesh.
    pub inside: Namespace,
    /// The pods that are molested, by name and address.
    pub servers: Vec<(String, Ipv4Addr)>,
    /// A certificate of the mesh, for those who have one.
    pub credentials: Arc<Credentials>,
}

impl Field {
    /// Misbehaves.
    ///
    /// # Errors
    /// What the misfit saw, which is none of anybody's business.
    pub fn play(&self, misfit: Misfit, seed: u64) -> anyhow::Result<()> {
        let mut random = fastrand::Rng::with_seed(seed);
        let (name, ip) = &self.servers[random.usize(..self.servers.len())];
        let port = |port: u16| SocketAddr::from((*ip, port));
        let hbone = port(HBONE_PORT);
        match misfit {
            Misfit::Silent => self.silent(hbone, &mut random),
            Misfit::Resets => self.resets(hbone, &mut random),
            Misfit::Garbage => garbage(&self.outside, hbone, &mut random),
            Misfit::PlainGarbage => garbage(&self.outside, port(PLAINTEXT_PORT), &mut random),
            Misfit::LoopGarbage => garbage(
                &self.inside,
                SocketAddr::from((Ipv4Addr::LOCALHOST, OUTBOUND_PORT)),
                &mut random,
            ),
            Misfit::AfterTls => {
                let mut tls = Client::shake_hands(&self.outside, hbone, &self.credentials, &spiffe(name))?;
                tls.write_all(&noise(&mut random))?;
                tls.flush()?;
                bed::reset(tls.sock)
            }
            Misfit::OnlyTls => {
                let tls = Client::shake_hands(&self.outside, hbone, &self.credentials, &spiffe(name))?;
                wait_end(tls.sock)
            }
            Misfit::Tunnels => self.tunnels(name, hbone, port(bulk::PORT), &mut random),
            Misfit::NeverReads => {
                let stream = bulk::connect(&self.inside, port(bulk::PORT))?;
                let order = Order {
                    seed,
                    up: 1,
                    down: 512,
                };
                order.write(&stream)?;
                (&stream).write_all(&[0; 1024])?;
                std::thread::sleep(Duration::from_millis(random.u64(100..2000)));
                bed::reset(stream)
            }
            Misfit::Fickle => {
                for _ in 0..random.usize(1..MOST) {
                    bed::reset(bulk::connect(&self.inside, port(bulk::PORT))?)?;
                }
                Ok(())
            }
        }
    }

    fn silent(&self, to: SocketAddr, random: &mut fastrand::Rng) -> anyhow::Result<()> {
        let connect = |_| bulk::connect(&self.outside, to);
        let held = (0..random.usize(1..MOST))
            .map(connect)
            .collect::<Result<Vec<_>, _>>()?;
        std::thread::sleep(Duration::from_millis(random.u64(100..5000)));
        drop(held);
        Ok(())
    }

    fn resets(&self, to: SocketAddr, random: &mut fastrand::Rng) -> anyhow::Result<()> {
        for _ in 0..random.usize(1..MOST) {
            let mut stream = bulk::connect(&self.outside, to)?;
            // The beginning of a TLS record that never comes.
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..random.usize(..11)])?;
            bed::reset(stream)?;
        }
        Ok(())
    }

    fn tunnels(
        &self,
        name: &str,
        hbone: SocketAddr,
        bulk: SocketAddr,
        random: &mut fastrand::Rng,
    ) -> anyhow::Result<()> {
        let client = Client::connect(&self.outside, hbone, &self.credentials, &spiffe(name))??;
        let mut streams = Vec::new();
        for _ in 0..random.usize(1..MOST) {
            // Nobody listens on this port: each is refused for itself.
            let _refused = client.open(&SocketAddr::new(bulk.ip(), 1).to_string()).err();
            streams.extend(client.open(&bulk.to_string()).ok());
        }
        // Everything at once, in the middle.
        drop(client);
        Ok(())
    }
}

fn noise(random: &mut fastrand::Rng) -> Vec<u8> {
    (0..random.usize(1..8192)).map(|_| random.u8(..)).collect()
}

fn garbage(from: &Namespace, to: SocketAddr, random: &mut fastrand::Rng) -> anyhow::Result<()> {
    let mut stream = bulk::connect(from, to)?;
    stream.write_all(&noise(random))?;
    match random.bool() {
        true => bed::reset(stream),
        false => wait_end(stream),
    }
}

/// Until the tunnel ends it, or it is long enough.
fn wait_end(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}
