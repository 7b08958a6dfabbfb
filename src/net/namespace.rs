//! Network namespaces: how the tunnel, which lives in one of its own, owns sockets in every pod's.
//!
//! A socket belongs for ever to the namespace of the thread that created it, so it is enough to be there for the one
//! system call. A thread that could not come back would serve other pods from the wrong network; the process ends
//! rather than run on like that.

use std::cell::RefCell;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::statfs::NSFS_MAGIC;
use thiserror::Error;

use crate::constants::TUNNEL_MARK;

thread_local! {
    /// Where this thread is, once it has been anywhere: `setns` back needs a descriptor, and opening one for each
    /// visit would cost more than the visit.
    static HERE: RefCell<Option<Arc<OwnedFd>>> = const { RefCell::new(None) };
}

/// A network namespace, held open: it lives at least as long as this value.
///
/// Two values are equal when they are the same namespace, however they were opened.
#[derive(Clone, Debug)]
pub struct Namespace {
    fd: Arc<OwnedFd>,
    id: NamespaceId,
}

/// What tells namespaces apart: device and inode of their file in nsfs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NamespaceId {
    /// The device number of nsfs.
    pub device: u64,
    /// The inode number, which `ip netns` and `/proc/PID/ns/net` show.
    pub inode: u64,
}

impl Namespace {
    /// Takes a descriptor that somebody handed over, after making sure that it is a network namespace.
    ///
    /// # Errors
    /// [`NamespaceError::NotANetworkNamespace`] when it is any other kind of file.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NamespaceError> {
        let kind = namespace_type(fd.as_fd());
        if kind != Ok(libc::CLONE_NEWNET) {
            return Err(NamespaceError::NotANetworkNamespace);
        }
        let stat = nix::sys::stat::fstat(&fd).map_err(NamespaceError::Identify)?;
        Ok(Self {
            fd: Arc::new(fd),
            id: NamespaceId {
                device: stat.st_dev,
                inode: stat.st_ino,
            },
        })
    }

    /// Opens a namespace by path, such as `/proc/PID/ns/net` or `/run/netns/NAME`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NamespaceError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| NamespaceError::Open {
            path: path.to_owned(),
            errno: errno_of(&error),
        })?;
        Self::from_fd(file.into())
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NamespaceError> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Makes a new namespace, empty but for a loopback device that is down. It goes when the last value, process,
    /// socket or mount that holds it goes.
    pub fn create() -> Result<Self, NamespaceError> {
        // A thread of its own, because there is no other way to make a namespace than to move into it.
        let made = std::thread::Builder::new()
            .name("netns-create".to_owned())
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Create)?;
                Self::current()
            })
            .map_err(|error| NamespaceError::Create(errno_of(&error)))?;
        made.join()
            .unwrap_or(Err(NamespaceError::Create(Errno::ECANCELED)))
    }

    /// Device and inode.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Runs `work` on this thread inside the namespace and comes back, also when `work` panics.
    ///
    /// `work` must not wait for other tasks of an async runtime: the whole thread is elsewhere meanwhile.
    /// If the thread cannot come back, the process is aborted.
    ///
    /// # Errors
    /// When the namespace cannot be entered (CAP_SYS_ADMIN is missing); `work` has not run then.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let home = match HERE.with_borrow(Clone::clone) {
            Some(home) => home,
            None => Arc::new(File::open("/proc/thread-self/ns/net")?.into()),
        };
        nix::sched::setns(&*self.fd, CloneFlags::CLONE_NEWNET)?;
        HERE.set(Some(self.fd.clone()));
        let _way_back = WayBack { home };
        Ok(work())
    }

    /// Moves the calling thread into the namespace for the rest of its life. What it creates from here on, threads
    /// and processes included, is there too.
    pub fn enter(&self) -> io::Result<()> {
        nix::sched::setns(&*self.fd, CloneFlags::CLONE_NEWNET)?;
        HERE.set(Some(self.fd.clone()));
        Ok(())
    }

    /// Gives the namespace a name in the file system, as `ip netns add` does, so that tools can find it. An empty
    /// file is made at `path`; the name lasts until the returned value is dropped.
    pub fn mount_at(&self, path: impl Into<PathBuf>) -> Result<MountedName, NamespaceError> {
        let path = path.into();
        let failed = |errno| NamespaceError::Mount {
            path: path.clone(),
            errno,
        };
        File::create_new(&path).map_err(|error| failed(errno_of(&error)))?;
        let source = format!("/proc/thread-self/fd/{}", self.fd.as_raw_fd());
        let none: Option<&str> = None;
        if let Err(errno) = nix::mount::mount(Some(source.as_str()), &path, none, MsFlags::MS_BIND, none) {
            // The error that counts is the mount's; the empty file is ours to remove.
            let _ = std::fs::remove_file(&path);
            return Err(failed(errno));
        }
        Ok(MountedName { path })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Namespace {}

impl Hash for Namespace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// A namespace's name in the file system; dropping it takes the name away.
#[derive(Debug)]
pub struct MountedName {
    path: PathBuf,
}

impl MountedName {
    /// Where the name is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MountedName {
    fn drop(&mut self) {
        if let Err(error) = nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH) {
            tracing::warn!(path = %self.path.display(), %error, "a namespace's name could not be unmounted");
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a namespace's name could not be removed");
        }
    }
}

/// Brings the thread home when dropped.
struct WayBack {
    home: Arc<OwnedFd>,
}

impl Drop for WayBack {
    fn drop(&mut self) {
        if let Err(errno) = nix::sched::setns(&*self.home, CloneFlags::CLONE_NEWNET) {
            eprintln!(
                "adit: a thread cannot return from a pod's network namespace ({errno}); \
                 it would serve other pods from the wrong network, so the process ends"
            );
            std::process::abort();
        }
        HERE.set(Some(self.home.clone()));
    }
}

/// Makes sure, once at start, that this process may do what every connection will need.
///
/// # Errors
/// Names the capability that is missing.
pub fn check_privileges() -> Result<(), NamespaceError> {
    let own = Namespace::current()?;
    own.run(|| ()).map_err(|error| NamespaceError::Privilege {
        capability: "CAP_SYS_ADMIN",
        purpose: "enter the network namespaces of pods (setns)",
        errno: errno_of(&error),
    })?;
    let missing = |error: io::Error| NamespaceError::Privilege {
        capability: "CAP_NET_ADMIN",
        purpose: "mark sockets so that they are not redirected to the tunnel (SO_MARK)",
        errno: errno_of(&error),
    };
    let probe = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).map_err(missing)?;
    probe.set_mark(TUNNEL_MARK).map_err(missing)
}

/// Moves the calling thread into new namespaces, a network namespace among them.
pub(crate) fn unshare(flags: CloneFlags) -> Result<(), Errno> {
    nix::sched::unshare(flags)?;
    // What was remembered is the namespace that the thread has just left.
    HERE.set(None);
    Ok(())
}

/// The `CLONE_NEW...` constant of a namespace's kind.
fn namespace_type(fd: BorrowedFd<'_>) -> Result<i32, Errno> {
    // The number of the request below means other things to other files: ask only a file that is a namespace.
    if nix::sys::statfs::fstatfs(fd)?.filesystem_type() != NSFS_MAGIC {
        return Err(Errno::ENOTTY);
    }
    #[expect(unsafe_code, reason = "no safe wrapper exists for this ioctl")]
    // SAFETY: the descriptor is open for the duration of the call, and this request takes no argument.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
    Errno::result(kind)
}

/// The error number of an I/O error, comparable where `io::Error` is not.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Why a namespace cannot be used.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum NamespaceError {
    /// The file cannot be opened.
    #[error("the network namespace {} cannot be opened: {errno}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The descriptor is something else.
    #[error("the descriptor is not a network namespace")]
    NotANetworkNamespace,
    /// The descriptor's device and inode cannot be read.
    #[error("the network namespace cannot be identified: {0}")]
    Identify(Errno),
    /// No new namespace can be made.
    #[error(
        "no network namespace can be created: {0}; it takes CAP_SYS_ADMIN, or a user namespace of one's own"
    )]
    Create(Errno),
    /// The name cannot be made.
    #[error("the network namespace cannot be named {}: {errno}", path.display())]
    Mount {
        /// The name.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The process lacks a capability.
    #[error(
        "{capability} is missing: it is needed to {purpose} ({errno}); add it to the container's capabilities"
    )]
    Privilege {
        /// The capability's name.
        capability: &'static str,
        /// What it is needed for.
        purpose: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}
