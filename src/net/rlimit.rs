//! The limit of open files: a connection through the tunnel takes two, and the usual soft limit is 1024.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit of open files before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFiles {
    /// The soft limit as it was found.
    pub before: u64,
    /// The soft limit now, which is the hard one.
    pub now: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_open_files().unwrap().now, hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
