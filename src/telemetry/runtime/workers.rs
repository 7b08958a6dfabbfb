//! How many worker threads: what is configured, else the CPU limit, else the cores.
//!
//! Every connection of a pod is carried by its home worker, so a node whose tunnel has fewer workers than CPUs it may
//! use leaves throughput on the table, and one with more is throttled by its own quota. The CPU limit is therefore
//! the right number, and without one the cores (which `std` counts with the affinity mask and the cgroup's quota).
//! The variables are ztunnel's; the default for nodes without a limit is deliberately not its quarter of the cores.

use std::fmt;
use std::num::NonZeroUsize;

/// More threads than any node has cores; a larger number is a typing error.
const MOST_WORKERS: usize = 4096;
/// Chooses the number of workers: `N`, `0` for all, or `P%`.
pub const WORKER_THREADS: &str = "ZTUNNEL_WORKER_THREADS";
/// The CPU limit of the container, where one is set.
pub const RESOURCE_CPU_LIMIT: &str = "ZTUNNEL_RESOURCE_CPU_LIMIT";
/// The CPU limit as older manifests pass it.
pub const CPU_LIMIT: &str = "ZTUNNEL_CPU_LIMIT";
/// The CPU request of the container.
pub const RESOURCE_CPU_REQUEST: &str = "ZTUNNEL_RESOURCE_CPU_REQUEST";

/// Everything that has a say, as the environment has it. An empty string counts as not set, as in Kubernetes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sources {
    /// [`WORKER_THREADS`].
    pub worker_threads: Option<String>,
    /// `concurrency` of `PROXY_CONFIG`; 0 is all.
    pub concurrency: Option<u32>,
    /// [`RESOURCE_CPU_LIMIT`], a Kubernetes quantity such as `500m` or `1.5`.
    pub resource_cpu_limit: Option<String>,
    /// [`CPU_LIMIT`], a Kubernetes quantity.
    pub cpu_limit: Option<String>,
    /// [`RESOURCE_CPU_REQUEST`], a Kubernetes quantity; counts only where it is above the limit.
    pub resource_cpu_request: Option<String>,
    /// The cores that this process may run on.
    pub cores: NonZeroUsize,
}

impl Sources {
    /// What this process's environment and kernel say. `concurrency` comes from the caller, who has read
    /// `PROXY_CONFIG`.
    pub fn of_this_process(concurrency: Option<u32>) -> Self {
        let read = |name| std::env::var(name).ok();
        Self {
            worker_threads: read(WORKER_THREADS),
            concurrency,
            resource_cpu_limit: read(RESOURCE_CPU_LIMIT),
            cpu_limit: read(CPU_LIMIT),
            resource_cpu_request: read(RESOURCE_CPU_REQUEST),
            cores: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// The decision, with its reason for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workers {
    /// How many threads.
    pub count: NonZeroUsize,
    /// Where the number comes from.
    pub reason: Reason,
}

/// Where a number of workers comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// [`WORKER_THREADS`], with its value.
    WorkerThreads(String),
    /// `PROXY_CONFIG`, with its value.
    Concurrency(u32),
    /// A CPU limit: the variable and its value.
    CpuLimit(&'static str, String),
    /// The cores that the process may run on.
    Cores,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerThreads(value) => write!(f, "{WORKER_THREADS}={value}"),
            Self::Concurrency(value) => write!(f, "concurrency {value} of PROXY_CONFIG"),
            Self::CpuLimit(variable, value) => write!(f, "CPU limit {variable}={value}"),
            Self::Cores => f.write_str("available cores, no CPU limit set"),
        }
    }
}

/// A setting that is not a number of workers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidWorkers {
    /// Not a number of threads.
    #[error(
        "{WORKER_THREADS}={value:?}: give a number of threads (0 is all), or a percentage from 1% to 100%"
    )]
    Threads {
        /// The value.
        value: String,
    },
    /// Not an amount of CPU.
    #[error(
        "{variable}={value:?}: give an amount of CPU above 0 (and at most {MOST_WORKERS}), such as 2, 1.5 or 500m"
    )]
    Quantity {
        /// The variable.
        variable: &'static str,
        /// The value.
        value: String,
    },
    /// An absurd number.
    #[error("{setting} asks for {count} worker threads: at most {MOST_WORKERS} are possible")]
    TooMany {
        /// What asks for them.
        setting: String,
        /// How many.
        count: usize,
    },
}

/// Decides the number of workers: [`WORKER_THREADS`], else `concurrency`, else the CPU limit (rounded up, at least
/// the request), else the cores. "All" and percentages refer to the CPU limit where there is one.
///
/// # Errors
/// A setting that cannot be understood, even where another one decides: it would be a surprise later.
pub fn decide(sources: &Sources) -> Result<Workers, InvalidWorkers> {
    let limit = cpu_limit(sources)?;
    let (all, reason) = match limit {
        Some((count, variable, value)) => (count, Reason::CpuLimit(variable, value)),
        None => (sources.cores.get(), Reason::Cores),
    };
    let (count, reason) = if let Some(value) = set(&sources.worker_threads) {
        (threads(value, all)?, Reason::WorkerThreads(value.to_owned()))
    } else if let Some(concurrency) = sources.concurrency {
        let count = if concurrency == 0 {
            all
        } else {
            concurrency as usize
        };
        (count, Reason::Concurrency(concurrency))
    } else {
        (all, reason)
    };
    match NonZeroUsize::new(count) {
        Some(count) if count.get() <= MOST_WORKERS => Ok(Workers { count, reason }),
        _ => Err(InvalidWorkers::TooMany {
            setting: reason.to_string(),
            count,
        }),
    }
}

fn set(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

fn threads(value: &str, all: usize) -> Result<usize, InvalidWorkers> {
    let invalid = || InvalidWorkers::Threads {
        value: value.to_owned(),
    };
    if let Some(percentage) = value.strip_suffix('%') {
        let percentage: usize = percentage.trim().parse().map_err(|_| invalid())?;
        if !(1..=100).contains(&percentage) {
            return Err(invalid());
        }
        return Ok((all * percentage).div_ceil(100).max(1));
    }
    let count: usize = value.parse().map_err(|_| invalid())?;
    Ok(if count == 0 { all } else { count })
}

fn cpu_limit(sources: &Sources) -> Result<Option<(usize, &'static str, String)>, InvalidWorkers> {
    let mut limit = None;
    for (variable, value) in [
        (CPU_LIMIT, &sources.cpu_limit),
        (RESOURCE_CPU_LIMIT, &sources.resource_cpu_limit),
    ] {
        if let Some(value) = set(value) {
            limit = Some((quantity(variable, value)?, variable, value.to_owned()));
        }
    }
    if let Some(value) = set(&sources.resource_cpu_request)
        && value != "0"
    {
        let request = quantity(RESOURCE_CPU_REQUEST, value)?;
        if let Some((count, ..)) = &mut limit {
            *count = (*count).max(request);
        }
    }
    Ok(limit)
}

/// A Kubernetes quantity of CPU in whole cores, rounded up (`resource.Quantity`: plain, or with the suffix `m`).
fn quantity(variable: &'static str, value: &str) -> Result<usize, InvalidWorkers> {
    let (number, divisor) = match value.strip_suffix('m') {
        Some(milli) => (milli, 1000.0),
        None => (value, 1.0),
    };
    // `f64` would also take "inf", "nan" and exponents.
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    match number.parse::<f64>() {
        Ok(amount) if plain && amount > 0.0 && amount / divisor <= MOST_WORKERS as f64 => {
            Ok((amount / divisor).ceil() as usize)
        }
        _ => Err(InvalidWorkers::Quantity {
            variable,
            value: value.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        Sources {
            worker_threads: None,
            concurrency: None,
            resource_cpu_limit: None,
            cpu_limit: None,
            resource_cpu_request: None,
            cores: NonZeroUsize::new(16).expect("not 0"),
        }
    }

    fn decided(change: impl FnOnce(&mut Sources)) -> Result<(usize, String), InvalidWorkers> {
        let mut sources = sources();
        change(&mut sources);
        decide(&sources).map(|workers| (workers.count.get(), workers.reason.to_string()))
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn takes_what_is_configured_then_the_limit_then_the_cores() {
        assert_eq!(
            decided(|_| {}),
            Ok((16, "available cores, no CPU limit set".into()))
        );
        let limited = |s: &mut Sources| s.resource_cpu_limit = text("2500m");
        assert_eq!(
            decided(limited),
            Ok((3, "CPU limit ZTUNNEL_RESOURCE_CPU_LIMIT=2500m".into()))
        );
        let concurrent = |s: &mut Sources| {
            limited(s);
            s.concurrency = Some(4);
        };
        assert_eq!(
            decided(concurrent),
            Ok((4, "concurrency 4 of PROXY_CONFIG".into()))
        );
        let explicit = |s: &mut Sources| {
            concurrent(s);
            s.worker_threads = text("5");
        };
        assert_eq!(decided(explicit), Ok((5, "ZTUNNEL_WORKER_THREADS=5".into())));
    }

    #[test]
    fn reads_every_spelling_of_a_number_of_threads() {
        let cases = [
            ("7", 7),
            ("0", 16),
            ("50%", 8),
            ("1%", 1),
            ("100%", 16),
            ("33%", 6),
            (" 2 ", 2),
            ("", 16),
        ];
        for (value, count) in cases {
            let decided = decided(|s| s.worker_threads = text(value));
            assert_eq!(decided.map(|(count, _)| count), Ok(count), "{value:?}");
        }
    }

    #[test]
    fn all_and_percentages_refer_to_the_limit() {
        let with = |threads: &str| {
            decided(|s| {
                s.cpu_limit = text("4");
                s.worker_threads = text(threads);
            })
            .map(|(count, _)| count)
        };
        assert_eq!(with("0"), Ok(4));
        assert_eq!(with("50%"), Ok(2));
        assert_eq!(
            decided(|s| {
                s.cpu_limit = text("4");
                s.concurrency = Some(0);
            })
            .map(|d| d.0),
            Ok(4)
        );
    }

    #[test]
    fn reads_every_spelling_of_a_limit_and_rounds_up() {
        for (value, count) in [
            ("500m", 1),
            ("1.5", 2),
            ("2", 2),
            ("1001m", 2),
            ("0.1", 1),
            (".5", 1),
        ] {
            let decided = decided(|s| s.resource_cpu_limit = text(value));
            assert_eq!(decided.map(|(count, _)| count), Ok(count), "{value:?}");
        }
    }

    #[test]
    fn the_newer_limit_counts_and_a_request_above_it_raises_it() {
        let both = |s: &mut Sources| {
            s.cpu_limit = text("8");
            s.resource_cpu_limit = text("2");
        };
        assert_eq!(decided(both).map(|d| d.0), Ok(2));
        let raised = |s: &mut Sources| {
            both(s);
            s.resource_cpu_request = text("3");
        };
        assert_eq!(decided(raised).map(|d| d.0), Ok(3));
        assert_eq!(
            decided(|s| s.resource_cpu_request = text("3")).map(|d| d.0),
            Ok(16),
            "no limit"
        );
    }

    #[test]
    fn refuses_what_is_no_number_of_workers() {
        for value in ["-1", "two", "0%", "101%", "%", "1.5", "5 %x"] {
            let expected = Err(InvalidWorkers::Threads { value: value.into() });
            assert_eq!(decided(|s| s.worker_threads = text(value)), expected);
        }
        for value in [
            "0",
            "-1",
            "inf",
            "nan",
            "1e3",
            "m",
            "2 cores",
            "1..2",
            "4097",
            "99999999999999999999",
        ] {
            let expected = Err(InvalidWorkers::Quantity {
                variable: CPU_LIMIT,
                value: value.into(),
            });
            assert_eq!(decided(|s| s.cpu_limit = text(value)), expected);
        }
        let expected = InvalidWorkers::TooMany {
            setting: "ZTUNNEL_WORKER_THREADS=5000".into(),
            count: 5000,
        };
        assert_eq!(decided(|s| s.worker_threads = text("5000")), Err(expected));
    }
}
