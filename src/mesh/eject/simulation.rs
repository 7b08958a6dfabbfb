//! Endpoints that come, go, flap and fail, at random: what is chosen is always among the best that are left, no more
//! than the share is ejected, and no ejection lasts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Ejector, Settings};
use crate::balance::{Choice, Load, NoLoad, Ranks, choose};
use crate::fixtures::{joins, key, mesh, pod, service};
use crate::registry::{Registry, ResourceName, Update};
use crate::service::{Balancing, BalancingMode, Scope, ServiceKey};
use crate::text::Text;
use crate::workload::{Health, Workload};

const STEPS: usize = 600;
/// Dials for one connection, as on the data path.
const ATTEMPTS: usize = 5;
const ZONES: [&str; 3] = ["a", "b", "c"];

#[test]
fn the_best_endpoints_that_are_left_are_chosen_whatever_happens() {
    // 308 and 381: an endpoint with little capacity got a quarter more than its share.
    adit_simulation::play("balancer and ejection", 20, &[308, 381], |random| {
        let mut world = World::new(random);
        for _ in 0..STEPS {
            world.step();
            world.check();
        }
        world.end();
    });
}

/// A service whose endpoints live their own lives, and a worker that connects to them.
struct World {
    random: fastrand::Rng,
    registry: Registry,
    service: ServiceKey,
    ejector: Ejector,
    now: Duration,
    /// Whether each endpoint takes connections.
    up: BTreeMap<Text, bool>,
    /// Failures in a row.
    failures: BTreeMap<Text, u32>,
    /// Endpoints that were ejected since they were last known to be like new.
    marked: BTreeSet<Text>,
    open: Vec<Text>,
    joined: usize,
}

struct View<'a> {
    world: &'a World,
    asked: RefCell<usize>,
}

impl Load for View<'_> {
    fn active(&self, uid: &str) -> u32 {
        *self.asked.borrow_mut() += 1;
        let open = self.world.open.iter().filter(|other| *other == uid).count();
        u32::try_from(open).expect("few")
    }

    fn ejected(&self, uid: &str) -> bool {
        self.world.ejector.is_ejected(self.world.now, uid)
    }
}

impl World {
    fn new(mut random: fastrand::Rng) -> Self {
        let balancing = Balancing {
            mode: random
                .choice([
                    BalancingMode::Standard,
                    BalancingMode::Strict,
                    BalancingMode::Failover,
                ])
                .expect("three"),
            preferences: Box::new([Scope::Zone, Scope::Node]),
            ..Balancing::default()
        };
        // Tells the tunnel where it is.
        let here = pod("here", "10.9.0.1", |pod| pod.locality.zone = "a".into());
        let ledger = service("ledger", "10.250.0.1", |service| service.balancing = balancing);
        let settings = Settings {
            share: random.u8(1..=100),
            ..Settings::default()
        };
        Self {
            registry: mesh([here.into(), ledger.into()]),
            service: key("bank/ledger"),
            ejector: Ejector::new(settings),
            now: Duration::ZERO,
            up: BTreeMap::new(),
            failures: BTreeMap::new(),
            marked: BTreeSet::new(),
            open: Vec::new(),
            joined: 0,
            random,
        }
    }

    fn step(&mut self) {
        match self.random.u8(..20) {
            0..3 => self.now += Duration::from_millis(self.random.u64(..3_000)),
            3 => self.now += Duration::from_secs(self.random.u64(..400)),
            4..6 => self.flip(),
            6..8 => self.join(),
            8 => self.leave(),
            9 => self.change(),
            10..12 => {
                if !self.open.is_empty() {
                    self.open.swap_remove(self.random.usize(..self.open.len()));
                }
            }
            _ => self.connect(),
        }
    }

    fn any(&mut self) -> Option<Text> {
        let uids: Vec<_> = self.up.keys().cloned().collect();
        self.random.choice(uids)
    }

    fn flip(&mut self) {
        if let Some(up) = self.any().and_then(|uid| self.up.get_mut(&uid)) {
            *up = !*up;
        }
    }

    fn join(&mut self) {
        self.joined += 1;
        let (n, random) = (self.joined, &mut self.random);
        let address = format!("10.1.{}.{}", n >> 8, n & 255);
        let endpoint = pod(&format!("ledger-{n}"), &address, |pod| {
            joins(pod, "ledger");
            settle(pod, random);
        });
        self.up.insert(endpoint.uid.clone(), self.random.u8(..4) > 0);
        self.registry.apply([Update::from(endpoint)]);
    }

    fn leave(&mut self) {
        if let Some(uid) = self.any() {
            self.up.remove(&uid);
            self.registry.apply([Update::Remove(ResourceName::Workload(uid))]);
        }
    }

    fn change(&mut self) {
        if let Some(uid) = self.any() {
            let mut changed = Workload::clone(self.registry.workload(&uid).expect("a member"));
            settle(&mut changed, &mut self.random);
            self.registry.apply([Update::from(changed)]);
        }
    }

    /// Dials one endpoint after the other, as the data path does.
    fn connect(&mut self) {
        let Some(ranks) = self.registry.ranks(&self.service).cloned() else {
            return;
        };
        let mut tried = Vec::new();
        while tried.len() < ATTEMPTS {
            let mut random = self.random.fork();
            let view = View {
                world: self,
                asked: RefCell::default(),
            };
            let mut choice = Choice {
                random: &mut random,
                load: &view,
                tried: &tried,
            };
            let chosen = choose(&ranks, &mut choice, |_| true).map(|chosen| chosen.uid.clone());
            assert!(*view.asked.borrow() <= 2, "the load of two is looked at");
            self.check_choice(&ranks, &tried, chosen.as_ref());
            let Some(uid) = chosen else { return };
            if self.up[&uid] {
                self.succeeded(uid);
                return;
            }
            self.failed(&uid);
            tried.push(uid);
        }
    }

    fn succeeded(&mut self, uid: Text) {
        self.ejector.succeeded(self.now, &uid);
        assert!(!self.ejector.is_ejected(self.now, &uid), "{uid} serves");
        self.failures.remove(&uid);
        self.open.push(uid);
    }

    fn failed(&mut self, uid: &Text) {
        let members = self.registry.endpoints(&self.service).count();
        let was = self.ejector.is_ejected(self.now, uid);
        let ejected = self.ejector.failed(self.now, uid, &self.service, members);
        let failures = self.failures.entry(uid.clone()).or_default();
        *failures += 1;
        assert!(!(was && ejected), "{uid} was ejected already");
        if ejected {
            let needed = self.ejector.settings.failures;
            let on_probation = self.marked.contains(uid);
            assert!(
                on_probation || *failures >= needed,
                "{uid} after {failures} failures"
            );
            self.marked.insert(uid.clone());
            let allowed = (members * usize::from(self.ejector.settings.share) / 100).max(1);
            let all = self.ejector.ejected(self.now);
            assert!(
                members >= 2 && all <= allowed,
                "{all} of {members}, {allowed} allowed"
            );
        }
        assert_eq!(self.ejector.is_ejected(self.now, uid), was || ejected);
    }

    /// What was chosen is of the first rank that has an endpoint which is well; where none is, of the first that has
    /// one at all.
    fn check_choice(&self, ranks: &Ranks, tried: &[Text], chosen: Option<&Text>) {
        let well = |uid: &Text| !self.ejector.is_ejected(self.now, uid);
        let left: Vec<Vec<_>> = ranks
            .iter()
            .map(|rank| rank.endpoints().map(|endpoint| &endpoint.uid))
            .map(|uids| uids.filter(|uid| !tried.contains(uid)).collect())
            .collect();
        let best = left.iter().find(|uids| uids.iter().any(|uid| well(uid)));
        let expected: Vec<_> = match best {
            Some(uids) => uids.iter().copied().filter(|uid| well(uid)).collect(),
            None => left.into_iter().find(|uids| !uids.is_empty()).unwrap_or_default(),
        };
        match chosen {
            Some(chosen) => assert!(expected.contains(&chosen), "{chosen} of {expected:?}"),
            None => assert!(expected.is_empty(), "none of {expected:?}"),
        }
    }

    fn check(&mut self) {
        let Self { ejector, now, .. } = self;
        let longest = ejector.settings.longest;
        let ejected = ejector
            .troubled
            .keys()
            .filter(|uid| ejector.is_ejected(*now, uid));
        assert_eq!(ejected.count(), ejector.ejected(*now));
        assert_eq!(ejector.ejected(*now + longest), 0, "every ejection ends");
        let limit = ejector.sweep_at.max(Ejector::SMALLEST_SWEEP);
        assert!(ejector.troubled.len() <= limit, "what is over is forgotten");
        for endpoint in self
            .registry
            .ranks(&self.service)
            .iter()
            .flat_map(|ranks| ranks.iter())
            .flat_map(|rank| rank.endpoints())
        {
            assert_eq!(endpoint.health, Health::Healthy);
        }
    }

    /// When all is well again, each endpoint of the best rank gets its share.
    fn end(&mut self) {
        const DRAWS: u32 = 3_000;
        self.now += self.ejector.settings.longest;
        let Some(ranks) = self.registry.ranks(&self.service) else {
            return;
        };
        let Some(best) = ranks.iter().next() else { return };
        let mut counts: BTreeMap<&Text, u32> = BTreeMap::new();
        for _ in 0..DRAWS {
            let mut choice = Choice {
                random: &mut self.random,
                load: &NoLoad,
                tried: &[],
            };
            let chosen = choose(ranks, &mut choice, |_| true).expect("somebody is there");
            *counts.entry(&chosen.uid).or_default() += 1;
        }
        let total: u32 = best.endpoints().map(|endpoint| endpoint.capacity).sum();
        for endpoint in best.endpoints() {
            let share = f64::from(endpoint.capacity) / f64::from(total);
            let expected = share * f64::from(DRAWS);
            let count = f64::from(counts.remove(&endpoint.uid).unwrap_or(0));
            // Six standard deviations of a binomial: once in a hundred million times by chance.
            let tolerance = 6.0 * (expected * (1.0 - share)).sqrt() + 1.0;
            assert!(
                (count - expected).abs() <= tolerance,
                "{}: {count} instead of {expected}",
                endpoint.uid
            );
        }
        assert!(counts.is_empty(), "from a lower rank: {counts:?}");
    }
}

/// Gives a pod a place, a capacity and a health.
fn settle(pod: &mut Workload, random: &mut fastrand::Rng) {
    pod.locality.zone = random.choice(ZONES).expect("three").into();
    pod.node = random.choice(["node-1", "node-2"]).expect("two").into();
    pod.capacity = random.choice([1, 1, 2, 5]).expect("four");
    pod.health = if random.u8(..5) == 0 {
        Health::Unhealthy
    } else {
        Health::Healthy
    };
}
