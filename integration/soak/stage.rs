//! The mesh of the soak, and whoever changes it: pods, policies, tunnels, one thing at a time, as a cluster's controllers
//! would.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit_net::link;
use anyhow::{Context, ensure};
use serde_json::json;

use super::bulk::{self, Order};
use super::gauge::{self, Reading};
use super::history::{Drain, History, Spell};
use super::load::{Route, Routes};
use super::misfits::Field;
use super::schedule::{Event, GUESTS, MISFITS};
use super::tap::Witness;
use super::tunnels::{DEADLINE, Draining, Running};
use crate::harness::bed::{Bed, NAMESPACE};
use crate::harness::credentials::{Ca, spiffe};
use crate::harness::tunnels::Tunnel;

/// The pods that stay, and their nodes.
const PODS: [(&str, usize); 5] = [
    ("client-1", 0),
    ("client-2", 1),
    ("server-1", 0),
    ("server-2", 1),
    ("guarded", 1),
];
/// Those of them that serve everybody.
const SERVERS: [&str; 2] = ["server-1", "server-2"];
/// A machine that is no part of the mesh.
const OUTSIDE: &str = "outside";
/// A pod that vanishes.
const MOTH: &str = "moth";
const SERVICE: &str = "bank";
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
/// What forbids `client-1` to call `guarded`.
const GUARD: &str = "bank/guard";

/// The names that series of connections may have.
pub fn cast() -> Vec<String> {
    let staying = PODS.iter().map(|(name, _)| (*name).to_owned());
    let others = [MOTH.to_owned(), "unknown".to_owned()];
    staying.chain((0..GUESTS).map(guest)).chain(others).collect()
}

fn guest(number: usize) -> String {
    format!("guest-{number}")
}

/// The mesh.
#[derive(Debug)]
pub struct Stage {
    bed: Bed,
    tunnels: [Running; 2],
    witness: Witness,
    draining: Vec<Draining>,
    misfits: Vec<JoinHandle<()>>,
    /// Dropped with the stage.
    _bulk: Vec<bulk::Server>,
    field: Field,
    guests: [bool; GUESTS],
    begun: Instant,
    history: History,
    played: BTreeMap<String, u64>,
    series_at_half: Option<usize>,
    defects: Vec<String>,
}

impl Stage {
    /// Builds everything, and makes the first of everything happen.
    ///
    /// # Errors
    /// What the kernel refuses, or a tunnel that does not work at all.
    pub fn set() -> anyhow::Result<Self> {
        let (mut bed, witness) = (populate()?, Witness::default());
        let tunnels = [
            Running::start(&mut bed, 0, &witness)?,
            Running::start(&mut bed, 1, &witness)?,
        ];
        bed.enrol(&PODS.map(|(name, _)| name))?;
        let field = field(&bed)?;
        let bulk = SERVERS
            .iter()
            .map(|server| bulk::Server::start(bed.namespace(server)?))
            .collect::<anyhow::Result<_>>()?;
        let mut stage = Self {
            bed,
            tunnels,
            witness,
            draining: Vec::new(),
            misfits: Vec::new(),
            _bulk: bulk,
            field,
            guests: [false; GUESTS],
            begun: Instant::now(),
            history: History::default(),
            played: BTreeMap::new(),
            series_at_half: None,
            defects: Vec::new(),
        };
        stage.rehearse()?;
        Ok(stage)
    }

    /// What is allocated at the first of everything is no leak.
    fn rehearse(&mut self) -> anyhow::Result<()> {
        let routes = self.routes()?;
        for route in routes.fresh.iter().chain([&routes.guarded.0]) {
            adit::lab::http::request(&route.from, route.to, "GET", "/").context(route.name.clone())?;
        }
        for route in &routes.echo {
            adit::lab::session::Session::open(&route.from, route.to)?.echo("hello")?;
        }
        for route in &routes.bulk {
            let order = Order {
                seed: 1,
                up: 16,
                down: 16,
            };
            bulk::exchange(&route.from, route.to, order).context(route.name.clone())?;
        }
        for misfit in MISFITS {
            // What it sees is its own affair.
            let _seen = self.field.play(misfit, 1);
        }
        for number in 0..GUESTS {
            self.arrive(number)?;
            self.leave(number)?;
        }
        self.policy(true)?;
        self.policy(false)?;
        self.history = History::default();
        Ok(())
    }

    /// Who calls whom.
    ///
    /// # Errors
    /// A pod is missing.
    pub fn routes(&self) -> anyhow::Result<Routes> {
        let route = |from: &str, to: &str, port: u16| {
            let socket = match to {
                SERVICE => SocketAddr::from((VIP, 80)),
                pod => self.bed.socket(pod, port)?,
            };
            anyhow::Ok(Route {
                name: format!("{from} to {to}"),
                from: self.bed.namespace(from)?.clone(),
                to: socket,
            })
        };
        let all = |pairs: &[(&str, &str)], port| {
            let routes = pairs.iter().map(|(from, to)| route(from, to, port));
            routes.collect::<anyhow::Result<Vec<_>>>()
        };
        let across = [("client-1", "server-2"), ("client-2", "server-1")];
        let within = [("client-1", "server-1"), ("client-2", "server-2")];
        let service = [("client-1", SERVICE), ("client-2", SERVICE)];
        let pods = [across, within].concat();
        let fresh = [service.as_slice(), &service, &pods, &[("client-2", "guarded")]].concat();
        Ok(Routes {
            fresh: all(&fresh, HTTP_PORT)?,
            echo: all(&pods, ECHO_PORT)?,
            bulk: all(&across, bulk::PORT)?,
            guarded: (
                route("client-1", "guarded", HTTP_PORT)?,
                route("client-1", "guarded", ECHO_PORT)?,
            ),
        })
    }

    /// The tunnel that is never replaced.
    pub fn lasting(&self) -> &Tunnel {
        &self.tunnels[1].tunnel
    }

    /// Waits until both tunnels are quiet, and says what they hold.
    ///
    /// # Errors
    /// They do not come to rest.
    pub fn measure_quiet(&self) -> anyhow::Result<[Reading; 2]> {
        Ok([
            gauge::quiet(&self.tunnels[0].tunnel).context("the first tunnel")?,
            gauge::quiet(&self.tunnels[1].tunnel).context("the second tunnel")?,
        ])
    }

    /// Waits until both tunnels hold what they held `before`, as long as that may take.
    ///
    /// # Errors
    /// They do not answer.
    pub fn measure_until(&self, before: &[Reading; 2]) -> anyhow::Result<[Reading; 2]> {
        Ok([
            gauge::until(&self.tunnels[0].tunnel, &before[0].held)?,
            gauge::until(&self.tunnels[1].tunnel, &before[1].held)?,
        ])
    }

    /// Plays the events, each when it is due or as soon as the one before is over, for `length`; in the end everything is
    /// as it was.
    ///
    /// # Errors
    /// Something does not happen that an event waits for.
    pub fn play(
        &mut self,
        events: &[(Duration, Event)],
        length: Duration,
        begun: Instant,
    ) -> anyhow::Result<()> {
        self.begun = begun;
        for (due, event) in events {
            self.pass_until(*due)?;
            if self.series_at_half.is_none() && *due > length / 2 {
                self.series_at_half = Some(gauge::read(self.lasting())?.series);
            }
            let played = self.event(*event);
            played.with_context(|| self.scene(&format!("{event:?}, due after {due:?}")))?;
        }
        self.pass_until(length)?;
        self.settle().with_context(|| self.scene("settling"))
    }

    /// Series of the lasting tunnel after half of the time.
    pub fn series_at_half(&self) -> Option<usize> {
        self.series_at_half
    }

    /// What tunnels said about connections that failed, with when.
    pub fn evidence(&self) -> Vec<(Duration, String)> {
        let since = |at: Instant| at.saturating_duration_since(self.begun);
        let all = self.witness.all().into_iter();
        all.map(|(at, line)| (since(at), line)).collect()
    }

    /// What happened how often, what excuses or demands failures, and what was found on the way.
    pub fn into_findings(mut self) -> (BTreeMap<String, u64>, History, Vec<String>) {
        self.defects
            .extend(self.tunnels.iter().flat_map(Running::defects));
        let issued = self.tunnels.iter().map(Running::certificates).sum();
        self.happened("a certificate was issued", issued);
        (self.played, self.history, self.defects)
    }

    fn happened(&mut self, what: &str, times: u64) {
        *self.played.entry(what.to_owned()).or_default() += times;
    }

    fn pass_until(&mut self, due: Duration) -> anyhow::Result<()> {
        /// How often tunnels that drain are looked at.
        const LOOK: Duration = Duration::from_millis(100);
        loop {
            self.reap()?;
            let left = due.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        let name = match event {
            Event::Guest(number) if self.guests[number] => {
                self.leave(number)?;
                "a replica left".to_owned()
            }
            Event::Guest(number) => {
                self.arrive(number)?;
                "a replica came".to_owned()
            }
            Event::Moth(node) => {
                self.moth(node)?;
                "a pod vanished in the middle of a connection".to_owned()
            }
            Event::Policy => {
                let forbidden = self.history.spells.last().is_some_and(|spell| spell.forbidden);
                self.policy(!forbidden)?;
                "a policy changed".to_owned()
            }
            Event::Tunnel => {
                self.replace()?;
                "a tunnel was replaced".to_owned()
            }
            Event::Misfit(misfit, seed) => {
                let field = self.field.clone();
                self.misfits.retain(|misfit| !misfit.is_finished());
                self.misfits.push(std::thread::spawn(move || {
                    // What it sees is its own affair.
                    let _seen = field.play(misfit, seed);
                }));
                format!("misbehaved: {misfit:?}")
            }
        };
        self.happened(&name, 1);
        Ok(())
    }

    fn apply(&self) -> anyhow::Result<()> {
        self.bed
            .apply(&self.tunnels.each_ref().map(|running| &running.tunnel))
    }

    fn arrive(&mut self, number: usize) -> anyhow::Result<()> {
        let name = guest(number);
        self.bed.add_pod(&name, number % 2)?;
        self.bed.enrol(&[&name])?;
        self.bed.mesh.serves(&name, SERVICE, NAMESPACE, json!({}));
        self.apply()?;
        self.guests[number] = true;
        Ok(())
    }

    fn leave(&mut self, number: usize) -> anyhow::Result<()> {
        let name = guest(number);
        self.bed.mesh.workload(&name)["services"] = json!({});
        self.apply()?;
        let status = self.bed.world.end_app(&name)?;
        ensure!(status.success(), "{name} ended with {status}");
        self.take_away(&name)?;
        self.guests[number] = false;
        Ok(())
    }

    fn take_away(&mut self, name: &str) -> anyhow::Result<()> {
        self.bed.world.remove_pod(name)?;
        self.bed
            .mesh
            .workloads
            .retain(|workload| workload["name"] != name);
        self.apply()
    }

    fn moth(&mut self, node: usize) -> anyhow::Result<()> {
        self.bed.add_pod(MOTH, node)?;
        self.apply()?;
        self.bed.enrol(&[MOTH])?;
        let echo = self.bed.socket(MOTH, ECHO_PORT)?;
        let _open = [
            self.bed.session("client-1", echo)?,
            self.bed.session("client-2", echo)?,
        ];
        link::remove(self.bed.namespace(MOTH)?, "eth0")?;
        self.take_away(MOTH)
    }

    fn policy(&mut self, forbidden: bool) -> anyhow::Result<()> {
        let written = self.begun.elapsed();
        let policies = if forbidden { json!([GUARD]) } else { json!([]) };
        self.bed.mesh.workload("guarded")["authorizationPolicies"] = policies;
        self.apply()?;
        let applied = self.begun.elapsed();
        self.history.spells.push(Spell {
            forbidden,
            written,
            applied,
        });
        Ok(())
    }

    fn replace(&mut self) -> anyhow::Result<()> {
        let new = Running::start(&mut self.bed, 0, &self.witness)?;
        let old = std::mem::replace(&mut self.tunnels[0], new);
        let told = self.begun.elapsed();
        self.draining.push(old.drain()?);
        let deadline = told + DEADLINE;
        self.history.drains.push(Drain { told, deadline });
        Ok(())
    }

    /// Looks at tunnels that were told to end, and takes away those that have.
    fn reap(&mut self) -> anyhow::Result<()> {
        for draining in std::mem::take(&mut self.draining) {
            match draining.look()? {
                Err(draining) => self.draining.push(draining),
                Ok(ended) => {
                    self.defects.extend(ended.defects);
                    self.happened("a connection was cut at a deadline, and named", ended.cut);
                    self.happened("a certificate was issued", ended.certificates);
                    self.bed.world.remove_pod(&ended.name)?;
                }
            }
        }
        Ok(())
    }

    /// Back to the beginning: nobody is there who was not, nothing is forbidden, and nothing drains.
    fn settle(&mut self) -> anyhow::Result<()> {
        for number in 0..GUESTS {
            if self.guests[number] {
                self.leave(number)?;
            }
        }
        self.policy(false)?;
        while !self.draining.is_empty() {
            self.pass_until(self.begun.elapsed() + Duration::from_millis(100))?;
        }
        for misfit in self.misfits.drain(..) {
            if misfit.join().is_err() {
                self.defects.push("a misfit panicked".to_owned());
            }
        }
        Ok(())
    }

    /// For an error message: where it happened, and the last words of the tunnels.
    fn scene(&self, what: &str) -> String {
        let words = self.tunnels.iter().map(Running::last_words);
        format!("{what}\n{}", words.collect::<Vec<_>>().join("\n"))
    }
}

/// The pods that stay, and what the mesh knows of them.
fn populate() -> anyhow::Result<Bed> {
    let mut bed = Bed::new(2)?;
    for (pod, node) in PODS {
        bed.add_pod(pod, node)?;
    }
    bed.add_machine(OUTSIDE, 0)?;
    bed.mesh
        .add_service(SERVICE, NAMESPACE, &VIP.to_string(), json!({ "80": HTTP_PORT }));
    for server in SERVERS {
        bed.mesh.serves(server, SERVICE, NAMESPACE, json!({}));
    }
    let client = spiffe("client-1").replace("spiffe://", "");
    let condition = json!({ "principals": [{ "Exact": client }] });
    bed.mesh.add_policy("guard", NAMESPACE, "Deny", condition);
    bed.configure()?;
    Ok(bed)
}

/// Whom misfits molest, and from where.
fn field(bed: &Bed) -> anyhow::Result<Field> {
    Ok(Field {
        outside: bed.namespace(OUTSIDE)?.clone(),
        inside: bed.namespace("client-1")?.clone(),
        servers: SERVERS
            .iter()
            .map(|name| Ok(((*name).to_owned(), bed.world.pod(name)?.attachment.addresses.v4)))
            .collect::<anyhow::Result<_>>()?,
        credentials: Ca::of_the_mesh()?.peer(&spiffe("client-1"))?,
    })
}
