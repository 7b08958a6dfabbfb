//! The limit of open files: a connection through the tunnel takes two, and the usual soft limit is 1024.
//!
//! A process that has run out of descriptors can neither read its configuration nor answer its operator, so connections
//! never get the last of them. The kernel gives out the lowest number that is free (POSIX, section 2.6): a connection
//! whose descriptor has a high number tells by that alone how many are in use.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The share of all descriptors that is kept from connections.
const RESERVE: u64 = 16;
/// What a tunnel needs for itself at least: listeners for operators and a few of their connections, files that are
/// read again, the log.
const LEAST_RESERVE: u64 = 32;
/// It never needs more.
const MOST_RESERVE: u64 = 1024;

/// The limit of open files before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFiles {
    /// The soft limit as it was found.
    pub before: u64,
    /// The soft limit now, which is the hard one.
    pub now: u64,
}

impl OpenFiles {
    /// Both as they are.
    ///
    /// # Errors
    /// Those of `getrlimit`.
    pub fn current() -> io::Result<Self> {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(Self {
            before: soft,
            now: soft,
        })
    }

    /// How many of them connections may have.
    pub fn for_connections(&self) -> u64 {
        let reserve = (self.now / RESERVE).clamp(LEAST_RESERVE, MOST_RESERVE);
        self.now.saturating_sub(reserve)
    }
}

/// Raises the soft limit of open files to the hard one, which takes no privilege.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(OpenFiles {
        before: soft,
        now: hard,
    })
}

/// How many descriptors the process has open.
///
/// # Errors
/// Those of reading `/proc/self/fd`.
pub fn count_open() -> io::Result<u64> {
    // The one that reads counts itself too.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1) as u64)
}

/// Whether a descriptor is one of the first `count`.
pub fn is_among_the_first(count: u64, descriptor: &impl AsFd) -> bool {
    let number: RawFd = descriptor.as_fd().as_raw_fd();
    u64::try_from(number).is_ok_and(|number| number < count)
}

/// A descriptor that is kept for the moment when there is none left: with it a connection can be accepted and told no.
#[derive(Default, Debug)]
pub struct Spare(RefCell<Option<File>>);

impl Spare {
    /// Takes one.
    pub fn new() -> Self {
        let spare = Self::default();
        spare.fill();
        spare
    }

    /// Does something with one descriptor more than there are; `None` if the spare one is used up. Another thread may
    /// be faster, and then `work` finds none.
    pub fn lend<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let spare = self.0.borrow_mut().take();
        if spare.is_none() {
            self.fill();
        }
        let spare = spare.or_else(|| self.0.borrow_mut().take())?;
        drop(spare);
        let done = work();
        self.fill();
        Some(done)
    }

    fn fill(&self) {
        // Where none is left, the next who needs it tries again.
        *self.0.borrow_mut() = File::open("/dev/null").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_open_files().unwrap().now, hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        assert_eq!(OpenFiles::current().unwrap().now, hard);
    }

    #[test]
    fn what_is_open_is_counted() {
        let before = count_open().unwrap();
        let files: Vec<_> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close files meanwhile.
        let now = count_open().unwrap();
        assert!(now.abs_diff(before + 50) < 30, "{before}, then {now}");
        drop(files);
    }

    #[test]
    fn connections_leave_some_to_the_process() {
        let of = |now| OpenFiles { before: now, now }.for_connections();
        assert_eq!(of(16), 0);
        assert_eq!(of(256), 224);
        assert_eq!(of(1024), 960);
        assert_eq!(of(1 << 20), (1 << 20) - 1024);
    }

    #[test]
    fn a_spare_descriptor_is_there_again_after_it_was_lent() {
        let spare = Spare::new();
        for _ in 0..3 {
            assert_eq!(spare.lend(|| spare.0.borrow().is_none()), Some(true));
            assert!(spare.0.borrow().is_some());
        }
    }

    #[test]
    fn a_descriptor_tells_how_many_are_in_use() {
        let file = File::open("/dev/null").unwrap();
        let number = u64::try_from(file.as_raw_fd()).unwrap();
        assert!(is_among_the_first(number + 1, &file));
        assert!(!is_among_the_first(number, &file));
    }
}
