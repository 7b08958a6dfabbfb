//! What happens when, as a function of a seed.

use std::time::Duration;

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    /// A replica of the service comes, or goes in order if it is there.
    Guest(usize),
    /// A pod comes, is talked to, and vanishes in the middle of it: its peers keep half a connection.
    Moth(usize),
    /// A policy forbids what was allowed, or allows it again.
    Policy,
    /// The tunnel of the first node is replaced.
    Tunnel,
    /// A peer misbehaves; the number seeds how.
    Misfit(Misfit, u64),
}

/// How a peer misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Misfit {
    /// Connections to the HBONE port that say nothing, for a while.
    Silent,
    /// Connections to the HBONE port that are reset after a few bytes.
    Resets,
    /// Random bytes on the HBONE port.
    Garbage,
    /// Random bytes on the port for plaintext.
    PlainGarbage,
    /// Random bytes on the port for outbound connections, from within the pod.
    LoopGarbage,
    /// Random bytes after a TLS handshake in order.
    AfterTls,
    /// A TLS handshake in order, and nothing after it.
    OnlyTls,
    /// Tunnels to ports on which nobody listens, and one that is torn down in the middle.
    Tunnels,
    /// An application that asks for a lot and never reads, and resets in the end.
    NeverReads,
    /// Applications that connect and reset at once.
    Fickle,
}

/// All manners.
pub const MISFITS: [Misfit; 10] = [
    Misfit::Silent,
    Misfit::Resets,
    Misfit::Garbage,
    Misfit::PlainGarbage,
    Misfit::LoopGarbage,
    Misfit::AfterTls,
    Misfit::OnlyTls,
    Misfit::Tunnels,
    Misfit::NeverReads,
    Misfit::Fickle,
];

/// How many replicas come and go; the number's parity is the node.
pub const GUESTS: usize = 4;

/// How often each happens, on average. A minute sees every kind several times.
const PERIODS: [(Kind, Duration); 5] = [
    (Kind::Guest, Duration::from_secs(3)),
    (Kind::Moth, Duration::from_secs(14)),
    (Kind::Policy, Duration::from_secs(4)),
    (Kind::Tunnel, Duration::from_secs(11)),
    (Kind::Misfit, Duration::from_millis(900)),
];

#[derive(Clone, Copy)]
enum Kind {
    Guest,
    Moth,
    Policy,
    Tunnel,
    Misfit,
}

/// The events of so long a soak, in order, each with when it is due after the beginning.
pub fn schedule(seed: u64, length: Duration) -> Vec<(Duration, Event)> {
    let mut all = Vec::new();
    for (index, (kind, period)) in PERIODS.into_iter().enumerate() {
        // A stream of its own, so that another period of one kind leaves the others as they are.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(index as u64));
        let mut at = Duration::ZERO;
        loop {
            at += period.mul_f64(0.5 + random.f64());
            if at >= length {
                break;
            }
            all.push((at, event(kind, &mut random)));
        }
    }
    all.sort_unstable();
    all
}

fn event(kind: Kind, random: &mut fastrand::Rng) -> Event {
    match kind {
        Kind::Guest => Event::Guest(random.usize(..GUESTS)),
        Kind::Moth => Event::Moth(random.usize(..2)),
        Kind::Policy => Event::Policy,
        Kind::Tunnel => Event::Tunnel,
        Kind::Misfit => Event::Misfit(MISFITS[random.usize(..MISFITS.len())], random.u64(..)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_seed_decides() {
        assert_eq!(schedule(7, MINUTE), schedule(7, MINUTE));
        assert_ne!(schedule(7, MINUTE), schedule(8, MINUTE));
    }

    #[test]
    fn a_minute_sees_every_kind_in_order_and_in_time() {
        for seed in 0..200 {
            let all = schedule(seed, MINUTE);
            assert!(all.is_sorted(), "{seed}");
            assert!(all.iter().all(|(at, _)| *at < MINUTE), "{seed}");
            let count = |wanted: fn(&Event) -> bool| all.iter().filter(|(_, event)| wanted(event)).count();
            assert!(count(|event| matches!(event, Event::Guest(_))) >= 8, "{seed}");
            assert!(count(|event| matches!(event, Event::Moth(_))) >= 2, "{seed}");
            assert!(count(|event| matches!(event, Event::Policy)) >= 6, "{seed}");
            assert!(count(|event| matches!(event, Event::Tunnel)) >= 3, "{seed}");
            assert!(count(|event| matches!(event, Event::Misfit(..))) >= 40, "{seed}");
        }
    }

    #[test]
    fn a_longer_soak_begins_as_a_shorter_one() {
        let short = schedule(3, MINUTE);
        assert_eq!(schedule(3, MINUTE * 2)[..short.len()], short);
    }
}
