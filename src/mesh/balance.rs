//! Which endpoint of a service takes a connection.
//!
//! Endpoints stand in ranks ([`ranks`]); a rank is used only while none before it has an endpoint left. Within one,
//! the choice is by *two random choices* (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
//! 2001): draw two endpoints in proportion to their capacity and take the one with fewer active connections per unit
//! of capacity. That keeps the longest queue exponentially shorter than drawing one, needs to look at two endpoints
//! instead of all, and, unlike taking the least loaded of all, does not send every node's next connection to the
//! same endpoint that has just come up.
//!
//! Load is what this worker sees; nothing is shared between workers or nodes. Endpoints that refused connections
//! ([`crate::eject`]) are passed over while any other is left, in whichever rank; when none is, they are
//! tried all the same, for an ejection is a guess and a refusal is certain.

mod members;
pub mod ranks;

use std::sync::Arc;

pub use ranks::{Place, Rank, Ranks};

use crate::text::Text;
use crate::workload::Workload;

/// What the caller knows about endpoints, by workload uid. It is asked for a handful of candidates per
/// connection, never for all unless all but a few are excluded.
pub trait Load {
    /// Connections that this worker has open to the endpoint.
    fn active(&self, uid: &str) -> u32;
    /// Whether the endpoint is passed over for now because it refused connections.
    fn ejected(&self, uid: &str) -> bool;
}

/// Knows nothing: every endpoint is idle and well.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoLoad;

impl Load for NoLoad {
    fn active(&self, _: &str) -> u32 {
        0
    }

    fn ejected(&self, _: &str) -> bool {
        false
    }
}

/// What a choice may depend on beside the endpoints: randomness, what the worker knows about them, and which
/// of them this connection has tried already.
pub struct Choice<'a> {
    /// The source of randomness.
    pub random: &'a mut fastrand::Rng,
    /// How busy endpoints are, and which are ejected.
    pub load: &'a dyn Load,
    /// The uids that this connection has dialled in vain; none of them is chosen again.
    pub tried: &'a [Text],
}

/// How many draws are made for two candidates before all endpoints of a rank are looked at. With half of them
/// excluded, eight draws fail to give two once in thirty times; the price is then one pass, not a wrong choice.
const DRAWS: usize = 8;

/// Chooses an endpoint for which `usable` holds; `None` if there is none that was not tried.
pub fn choose<'a>(
    ranks: &'a Ranks,
    choice: &mut Choice<'_>,
    usable: impl Fn(&Workload) -> bool,
) -> Option<&'a Arc<Workload>> {
    let Choice { random, load, tried } = choice;
    let load = *load;
    let candidate = |endpoint: &Workload| !tried.contains(&endpoint.uid) && usable(endpoint);
    let well = |endpoint: &Workload| candidate(endpoint) && !load.ejected(&endpoint.uid);
    let best = ranks.iter().find_map(|rank| among(rank, random, load, &well));
    best.or_else(|| {
        ranks
            .iter()
            .find_map(|rank| among(rank, random, load, &candidate))
    })
}

fn among<'a>(
    rank: &'a Rank,
    random: &mut fastrand::Rng,
    load: &dyn Load,
    allowed: &dyn Fn(&Workload) -> bool,
) -> Option<&'a Arc<Workload>> {
    let mut first: Option<&Arc<Workload>> = None;
    if rank.len() > 1 {
        for _ in 0..DRAWS {
            let drawn = rank.draw(random)?;
            match first {
                Some(first) if Arc::ptr_eq(first, drawn) => {}
                _ if !allowed(drawn) => {}
                Some(first) => return Some(lighter(first, drawn, load)),
                None => first = Some(drawn),
            }
        }
    }
    // What was drawn stays drawn: drawing again would give those that are hard to draw more than their share.
    let first = first.or_else(|| scan(rank, random, allowed))?;
    let other = |endpoint: &Workload| endpoint.uid != first.uid && allowed(endpoint);
    match scan(rank, random, &other) {
        Some(second) => Some(lighter(first, second, load)),
        None => Some(first),
    }
}

/// Draws one of the allowed endpoints by looking at all: for the rare rank of which most are excluded, or in which one
/// has almost all of the capacity.
fn scan<'a>(
    rank: &'a Rank,
    random: &mut fastrand::Rng,
    allowed: &dyn Fn(&Workload) -> bool,
) -> Option<&'a Arc<Workload>> {
    let mut total = 0_u64;
    let mut drawn = None;
    for endpoint in rank.endpoints().filter(|endpoint| allowed(endpoint)) {
        let weight = u64::from(endpoint.capacity.max(1));
        total += weight;
        // The newcomer is kept with the probability of its share so far, which gives every endpoint its share in the
        // end (Chao, "A general purpose unequal probability sampling plan", 1982).
        if random.u64(..total) < weight {
            drawn = Some(endpoint);
        }
    }
    drawn
}

/// The one with fewer active connections per unit of capacity; the first of equals.
fn lighter<'a>(first: &'a Arc<Workload>, second: &'a Arc<Workload>, load: &dyn Load) -> &'a Arc<Workload> {
    let burden = |endpoint: &Workload, other: &Workload| {
        u64::from(load.active(&endpoint.uid)) * u64::from(other.capacity.max(1))
    };
    if burden(second, first) < burden(first, second) {
        second
    } else {
        first
    }
}

#[cfg(test)]
mod tests;
