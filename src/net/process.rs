//! Child processes that cannot outlive us: in a network namespace of choice, and ended by the kernel when we end,
//! however that happens.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::namespace::Namespace;

/// What the thread that starts processes is asked to do.
type Job = Box<dyn FnOnce() + Send>;

/// Starts a process in the namespace (`None`: the one in which the first call was made). The kernel kills it when this
/// process ends.
pub fn spawn(namespace: Option<&Namespace>, mut command: Command) -> io::Result<Child> {
    die_with_parent(&mut command);
    let namespace = namespace.cloned();
    let (answer, answered) = channel();
    let job: Job = Box::new(move || {
        let outcome = match namespace {
            Some(namespace) => namespace.run(|| command.spawn()).flatten(),
            None => command.spawn(),
        };
        // Nobody waits any more: the child goes with us.
        let _ = answer.send(outcome);
    });
    let gone = || io::Error::other("the thread that starts processes has ended");
    starter()?.send(job).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

/// The kernel's notion of a parent is the *thread* that started the child, so one thread that lives as long as the
/// process starts them all.
fn starter() -> io::Result<&'static Sender<Job>> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    if let Some(starter) = STARTER.get() {
        return Ok(starter);
    }
    let (jobs, queue) = channel::<Job>();
    std::thread::Builder::new()
        .name("starter".to_owned())
        .spawn(move || queue.into_iter().for_each(|job| job()))?;
    // Of two threads that came here at once, one starter is kept; the other one's queue closes, and it ends.
    Ok(STARTER.get_or_init(|| jobs))
}

/// Makes the kernel kill the child when the thread that starts it ends, also when that is by a crash. Start it from a
/// thread that lives long; [`spawn`] takes care of that.
pub fn die_with_parent(command: &mut Command) {
    let parent = Pid::this();
    let prepare = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before the line above.
        if getppid() == parent {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    #[expect(unsafe_code, reason = "the only way to run something between fork and exec")]
    // SAFETY: the closure makes two system calls and allocates nothing, so it is sound in the child of a process with
    // threads.
    unsafe {
        command.pre_exec(prepare);
    }
}
