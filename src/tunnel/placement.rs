//! When a pod gets a second worker, and when it gives it up again: a pure decision on measured loads.
//!
//! One worker per pod is best as long as it suffices: one HBONE connection per peer, nothing shared, and a few
//! listeners a pod. A worker that is busy nearly all the time adds latency to every connection of its pods; then, and
//! only while another worker is at most half busy, the pod that makes most of the work is started there as well. The
//! gap between the two thresholds, and the time that a state must last, keep pods from moving to and fro.
//!
//! Busy is who computes, not who waits to. And where the node's cores are taken, another thread adds task switches and a
//! second tunnel, and no bytes. So another worker joins only while a core has nothing to do.

use std::collections::HashMap;
use std::time::Duration;

use adit_mesh::Text;

/// How often loads are looked at.
pub const PERIOD: Duration = Duration::from_secs(1);
/// Share of the time above which a worker is saturated: queueing delay grows tenfold between 0.5 and 0.95.
const SATURATED: f64 = 0.9;
/// Share of the time up to which a worker has room for a pod that fills another.
const ROOM: f64 = 0.5;
/// Idle cores for a worker to join: one that it has for itself most of the time.
const FREE_CORES: f64 = 0.75;
/// Share of the time below which all workers of a pod together could be one again.
const IDLE: f64 = 0.3;
/// How many periods in a row a worker must be saturated: a burst of a second is not worth a listener.
const SATURATED_PERIODS: u32 = 2;
/// How many periods in a row the workers must be idle.
const IDLE_PERIODS: u32 = 30;

/// What a worker has done so far.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// How long its thread has been on a core since it began.
    pub busy: Duration,
    /// The work that each of its pods has made since it began.
    pub activity: Vec<(Text, u64)>,
}

/// What to change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Move {
    /// Start the pod on this worker as well.
    Join {
        /// The pod.
        pod: Text,
        /// The worker's index.
        worker: usize,
    },
    /// End the pod's instance on this worker.
    Leave {
        /// The pod.
        pod: Text,
        /// The worker's index.
        worker: usize,
    },
}

/// Follows the loads of all workers.
#[derive(Debug)]
pub struct Watch {
    workers: Vec<Watched>,
    idle_periods: u32,
    /// In the order in which they joined; a pod's home is not among them.
    joined: Vec<(Text, usize)>,
}

#[derive(Clone, Debug, Default)]
struct Watched {
    last: Load,
    saturated_periods: u32,
}

impl Watch {
    /// Follows this many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: vec![Watched::default(); workers],
            idle_periods: 0,
            joined: Vec::new(),
        }
    }

    /// Takes the loads of all workers after another `period`; at most one thing is changed at a time, so that its
    /// effect is seen before the next. `idle_cores`, asked only where a worker is saturated, tells how many cores had
    /// nothing to do since it was asked last, if that was in the period before.
    pub fn next(
        &mut self,
        period: Duration,
        loads: &[Load],
        idle_cores: impl FnOnce() -> Option<f64>,
    ) -> Option<Move> {
        let shares: Vec<f64> = self
            .workers
            .iter()
            .zip(loads)
            .map(|(watched, load)| {
                load.busy
                    .saturating_sub(watched.last.busy)
                    .div_duration_f64(period)
            })
            .collect();
        let growth: Vec<_> = self
            .workers
            .iter()
            .zip(loads)
            .map(|(watched, load)| watched.growth(load))
            .collect();
        for ((watched, load), share) in self.workers.iter_mut().zip(loads).zip(&shares) {
            watched.saturated_periods = if *share >= SATURATED {
                watched.saturated_periods + 1
            } else {
                0
            };
            watched.last = load.clone();
        }
        self.joined
            .retain(|(pod, worker)| loads[*worker].activity.iter().any(|(uid, _)| uid == pod));
        let all_idle = shares.iter().sum::<f64>() < IDLE;
        self.idle_periods = if all_idle { self.idle_periods + 1 } else { 0 };
        let saturated = self.workers.iter().any(|worker| worker.saturated_periods > 0);
        let free = saturated && idle_cores().is_some_and(|idle| idle >= FREE_CORES);
        free.then(|| self.relieve(&shares, &growth, loads))
            .flatten()
            .or_else(|| self.withdraw())
    }

    fn relieve(&mut self, shares: &[f64], growth: &[HashMap<&Text, u64>], loads: &[Load]) -> Option<Move> {
        let saturated = |index: &usize| self.workers[*index].saturated_periods >= SATURATED_PERIODS;
        let busy = (0..self.workers.len()).find(saturated)?;
        let with_room = |index: &usize| shares[*index] <= ROOM;
        let free = (0..self.workers.len())
            .filter(with_room)
            .min_by(|a, b| shares[*a].total_cmp(&shares[*b]))?;
        let absent = |pod: &&Text| !loads[free].activity.iter().any(|(uid, _)| uid == *pod);
        let (pod, _) = growth[busy]
            .iter()
            .filter(|(pod, grown)| **grown > 0 && absent(pod))
            .max_by(|(one, grown), (other, more)| (grown, one).cmp(&(more, other)))?;
        let pod = (*pod).clone();
        self.workers[busy].saturated_periods = 0;
        self.joined.push((pod.clone(), free));
        Some(Move::Join { pod, worker: free })
    }

    /// The last that joined leaves first.
    fn withdraw(&mut self) -> Option<Move> {
        if self.idle_periods < IDLE_PERIODS {
            return None;
        }
        let (pod, worker) = self.joined.pop()?;
        self.idle_periods = 0;
        Some(Move::Leave { pod, worker })
    }
}

impl Watched {
    fn growth<'a>(&self, load: &'a Load) -> HashMap<&'a Text, u64> {
        let before: HashMap<_, _> = self
            .last
            .activity
            .iter()
            .map(|(pod, work)| (pod, *work))
            .collect();
        let grown = |(pod, work): &'a (Text, u64)| {
            (
                pod,
                work.saturating_sub(before.get(pod).copied().unwrap_or_default()),
            )
        };
        load.activity.iter().map(grown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers that are busy for a share of each period, and pods that make work in it.
    struct Bench {
        idle_cores: Option<f64>,
        watch: Watch,
        loads: Vec<Load>,
    }

    impl Bench {
        fn new(pods: &[&[&str]]) -> Self {
            let load = |pods: &&[&str]| Load {
                busy: Duration::ZERO,
                activity: pods.iter().map(|pod| (Text::from(*pod), 0)).collect(),
            };
            Self {
                idle_cores: Some(1.0),
                watch: Watch::new(pods.len()),
                loads: pods.iter().map(load).collect(),
            }
        }

        fn period(&mut self, shares: &[f64], work: &[(&str, u64)]) -> Option<Move> {
            for (load, share) in self.loads.iter_mut().zip(shares) {
                load.busy += PERIOD.mul_f64(*share);
                for (pod, total) in &mut load.activity {
                    *total += work
                        .iter()
                        .find(|(name, _)| pod == name)
                        .map_or(0, |(_, work)| *work);
                }
            }
            let moved = self.watch.next(PERIOD, &self.loads, || self.idle_cores);
            match &moved {
                Some(Move::Join { pod, worker }) => self.loads[*worker].activity.push((pod.clone(), 0)),
                Some(Move::Leave { pod, worker }) => {
                    self.loads[*worker].activity.retain(|(uid, _)| uid != pod)
                }
                None => {}
            }
            moved
        }
    }

    #[test]
    fn the_busiest_pod_of_a_saturated_worker_joins_one_with_room() {
        let mut bench = Bench::new(&[&["a", "b"], &["c"]]);
        assert_eq!(
            bench.period(&[1.0, 0.1], &[("a", 5), ("b", 50)]),
            None,
            "one second is a burst"
        );
        let moved = bench.period(&[1.0, 0.1], &[("a", 5), ("b", 50)]);
        assert_eq!(
            moved,
            Some(Move::Join {
                pod: "b".into(),
                worker: 1
            })
        );
    }

    #[test]
    fn nobody_joins_where_there_is_no_room() {
        let mut bench = Bench::new(&[&["a"], &["b"]]);
        for _ in 0..10 {
            assert_eq!(bench.period(&[1.0, 0.8], &[("a", 5), ("b", 5)]), None);
        }
    }

    #[test]
    fn nobody_joins_where_no_core_is_free() {
        let mut bench = Bench::new(&[&["a"], &[]]);
        for idle_cores in [Some(0.5), None] {
            bench.idle_cores = idle_cores;
            for _ in 0..10 {
                assert_eq!(bench.period(&[1.0, 0.0], &[("a", 5)]), None, "{idle_cores:?}");
            }
        }
        bench.idle_cores = Some(0.8);
        assert!(bench.period(&[1.0, 0.0], &[("a", 5)]).is_some());
    }

    #[test]
    fn a_joined_worker_leaves_after_half_a_minute_of_rest_and_not_before() {
        let mut bench = Bench::new(&[&["a"], &[]]);
        bench.period(&[1.0, 0.0], &[("a", 5)]);
        assert!(bench.period(&[1.0, 0.0], &[("a", 5)]).is_some());
        for _ in 0..IDLE_PERIODS - 1 {
            assert_eq!(bench.period(&[0.1, 0.0], &[]), None);
        }
        assert_eq!(
            bench.period(&[0.1, 0.0], &[]),
            Some(Move::Leave {
                pod: "a".into(),
                worker: 1
            })
        );
        assert_eq!(bench.period(&[0.1, 0.0], &[]), None, "the home stays");
    }

    #[test]
    fn a_pod_does_not_join_the_same_worker_twice() {
        let mut bench = Bench::new(&[&["a"], &[]]);
        let joins = (0..20)
            .filter_map(|_| bench.period(&[1.0, 0.4], &[("a", 5)]))
            .count();
        assert_eq!(joins, 1);
    }
}
