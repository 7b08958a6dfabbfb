//! Passive ejection: endpoints that refuse connections are passed over for a while.
//!
//! A dial in vain costs the connection that made it a round trip or a timeout, so an endpoint that failed several times
//! in a row is left alone, first shortly, then twice as long each time it comes back no better. When its time is
//! over it is on probation: one success makes it well, one failure ejects it again. How often it was ejected is
//! remembered until it has been well for a while, so that an endpoint which flaps is not tried every few seconds for ever.
//!
//! No more than a share of a service's endpoints is ejected at once. If most of them fail, the network or this node
//! is the more likely culprit, and the few that are left would fall under the load of all (what Envoy calls panic).
//!
//! Only failures to *connect* count, which this node observes itself; how long the application then takes or what it
//! answers says nothing here. A pure state machine: time is an argument, counted from any fixed moment.

use std::collections::HashMap;
use std::time::Duration;

use crate::service::ServiceKey;
use crate::text::Text;

/// When an endpoint is ejected, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Failures in a row that eject. Three: one or two may be a pod's restart or a lost packet.
    pub failures: u32,
    /// How long the first time. Five seconds: what a container needs to start again.
    pub shortest: Duration,
    /// How long at most, and how long an endpoint must have been well to be like new. Five minutes.
    pub longest: Duration,
    /// The share of a service's endpoints, in percent, that may be ejected at once; of two or more, one always may.
    /// Half: the others must be able to carry the load.
    pub share: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 3,
            shortest: Duration::from_secs(5),
            longest: Duration::from_secs(300),
            share: 50,
        }
    }
}

/// Remembers the endpoints that are in trouble; those that are well cost nothing.
#[derive(Debug, Default)]
pub struct Ejector {
    settings: Settings,
    troubled: HashMap<Text, Endpoint>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Endpoint {
    /// The service that it was called for when it failed.
    service: ServiceKey,
    /// In a row.
    failures: u32,
    /// How often it was ejected.
    ejections: u32,
    /// When the last ejection ends, or ended; before the first one, when it failed last.
    until: Duration,
}

impl Ejector {
    /// Below this many troubled endpoints, forgetting some frees less than it costs.
    const SMALLEST_SWEEP: usize = 64;

    /// An ejector that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Whether the endpoint is to be passed over.
    pub fn is_ejected(&self, now: Duration, uid: &str) -> bool {
        self.troubled
            .get(uid)
            .is_some_and(|endpoint| endpoint.is_ejected(now))
    }

    /// How many endpoints are ejected.
    pub fn ejected(&self, now: Duration) -> usize {
        self.troubled
            .values()
            .filter(|endpoint| endpoint.is_ejected(now))
            .count()
    }

    /// The endpoint took a connection.
    pub fn succeeded(&mut self, now: Duration, uid: &str) {
        let Some(endpoint) = self.troubled.get_mut(uid) else {
            return;
        };
        endpoint.failures = 0;
        // One that was dialled for want of another, and took it, need not wait for its time to be over.
        endpoint.until = endpoint.until.min(now);
        if endpoint.ejections == 0 {
            self.troubled.remove(uid);
        }
    }

    /// The endpoint, one of `members` of `service`, could not be connected to; tells whether that ejects it.
    pub fn failed(&mut self, now: Duration, uid: &Text, service: &ServiceKey, members: usize) -> bool {
        self.sweep(now);
        let room = self.has_room(now, service, members);
        let Settings {
            failures,
            shortest,
            longest,
            ..
        } = self.settings;
        let endpoint = self.troubled.entry(uid.clone()).or_insert_with(|| Endpoint {
            service: service.clone(),
            failures: 0,
            ejections: 0,
            until: now,
        });
        if endpoint.is_ejected(now) {
            return false;
        }
        if now >= endpoint.until + longest {
            (endpoint.failures, endpoint.ejections) = (0, 0);
        }
        endpoint.failures = endpoint.failures.saturating_add(1);
        endpoint.service = service.clone();
        if endpoint.failures < failures || !room {
            endpoint.until = now;
            return false;
        }
        let doubled = 2_u32.saturating_pow(endpoint.ejections);
        endpoint.until = now + shortest.saturating_mul(doubled).min(longest);
        endpoint.ejections = endpoint.ejections.saturating_add(1);
        true
    }

    /// Forgets endpoints that are gone: they take no room from those that live.
    pub fn retain(&mut self, lives: impl Fn(&str) -> bool) {
        self.troubled.retain(|uid, _| lives(uid));
    }

    fn has_room(&self, now: Duration, service: &ServiceKey, members: usize) -> bool {
        let share = members.saturating_mul(usize::from(self.settings.share)) / 100;
        let most = if members >= 2 { share.max(1) } else { 0 };
        let of_service = self
            .troubled
            .values()
            .filter(|endpoint| endpoint.service == *service);
        of_service.filter(|endpoint| endpoint.is_ejected(now)).count() < most
    }

    /// Forgets endpoints whose troubles are long over; at a cost that is constant per failure.
    fn sweep(&mut self, now: Duration) {
        if self.troubled.len() < self.sweep_at.max(Self::SMALLEST_SWEEP) {
            return;
        }
        let longest = self.settings.longest;
        self.troubled.retain(|_, endpoint| now < endpoint.until + longest);
        self.sweep_at = self.troubled.len() * 2;
    }
}

impl Endpoint {
    fn is_ejected(&self, now: Duration) -> bool {
        self.ejections > 0 && now < self.until
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
