//! How many of the machine's cores have nothing to do.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Between readings of this age the mean says nothing about now.
const OLD: Duration = Duration::from_secs(3);

/// Follows the idle time of the cores that this process may use, whoever uses them.
#[derive(Default, Debug)]
pub struct Cores {
    last: Option<(Instant, Duration)>,
}

impl Cores {
    /// How many cores were idle in the mean since the last call, which has to be some tenths of a second to three seconds
    /// ago: `None` if it was not. Where the process has a quota of CPU time, others' idle cores are counted all the same.
    ///
    /// # Errors
    /// Those of reading `/proc/stat`.
    pub fn idle(&mut self) -> io::Result<Option<f64>> {
        let (now, idle) = (Instant::now(), idle_time()?);
        let last = self.last.replace((now, idle));
        Ok(last.and_then(|(then, before)| {
            let passed = now.duration_since(then);
            (passed <= OLD).then(|| idle.saturating_sub(before).div_duration_f64(passed))
        }))
    }
}

/// The idle time since the start of the machine, of all cores that this process may use together.
fn idle_time() -> io::Result<Duration> {
    let usable = sched_getaffinity(Pid::from_raw(0))?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    let ticks = idle_ticks(BufReader::new(File::open("/proc/stat")?), |core| {
        // Without a number that the set knows, it is not among them.
        core < CpuSet::count() && usable.is_set(core).unwrap_or(false)
    })?;
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}

/// The lines of the cores stand before everything that is long: `cpu0 user nice system idle iowait …` (proc(5)).
fn idle_ticks(stat: impl BufRead, usable: impl Fn(usize) -> bool) -> io::Result<u64> {
    let mut ticks = 0;
    for line in stat.lines() {
        let line = line?;
        let Some(core) = line.strip_prefix("cpu") else {
            break;
        };
        let mut fields = core.split_ascii_whitespace();
        let number = fields.next().and_then(|number| number.parse().ok());
        if core.starts_with(' ') || !number.is_some_and(&usable) {
            continue;
        }
        let waiting = fields.skip(3).take(2);
        ticks += waiting.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  10 20 30 400 50 6 7 8 0 0\n\
                        cpu0 5 10 15 100 20 3 3 4 0 0\n\
                        cpu1 5 10 15 300 30 3 4 4 0 0\n\
                        intr 12345 0 1\n\
                        cpu2 not a core\n";

    #[test]
    fn idle_and_waiting_for_disks_are_idle() {
        assert_eq!(idle_ticks(STAT.as_bytes(), |_| true).unwrap(), 450);
        assert_eq!(idle_ticks(STAT.as_bytes(), |core| core == 1).unwrap(), 330);
        assert_eq!(idle_ticks("".as_bytes(), |_| true).unwrap(), 0);
    }

    #[test]
    fn the_first_reading_is_compared_with_nothing() {
        let mut cores = Cores::default();
        assert_eq!(cores.idle().unwrap(), None);
        std::thread::sleep(Duration::from_millis(200));
        let idle = cores.idle().unwrap().unwrap();
        let all = CpuSet::count() as f64;
        assert!((0.0..=all).contains(&idle), "{idle}");
        cores.last = cores
            .last
            .map(|(then, idle)| (then.checked_sub(2 * OLD).unwrap(), idle));
        assert_eq!(cores.idle().unwrap(), None);
    }
}
