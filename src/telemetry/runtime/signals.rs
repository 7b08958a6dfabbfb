//! The signals that end a process: SIGTERM (Kubernetes) and SIGINT (a person). The first asks for a drain; a second
//! SIGINT means that the person does not want to wait.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asked for the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// SIGINT, usually Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// The process's termination signals, caught from the moment this exists: make it before anything that needs an
/// orderly end.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches the signals; needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// The kernel refused to install a handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Completes with the next signal. Cancelling it loses none.
    pub async fn next(&mut self) -> Shutdown {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Shutdown::Interrupt,
            Some(()) = self.terminate.recv() => Shutdown::Terminate,
            else => std::future::pending().await,
        }
    }

    /// Completes with the next SIGINT; a further SIGTERM changes nothing, since the drain it asks for has begun. The
    /// caller ends the process.
    pub async fn impatient(&mut self) {
        while self.next().await != Shutdown::Interrupt {}
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal as Number, raise};

    use super::*;

    // One test, because the signals are the whole process's.
    #[tokio::test]
    async fn reports_each_signal_and_is_impatient_only_at_an_interrupt() {
        let mut signals = Signals::catch().expect("handlers can be installed");
        raise(Number::SIGTERM).expect("a signal to ourselves");
        assert_eq!(signals.next().await, Shutdown::Terminate);
        raise(Number::SIGTERM).expect("a signal to ourselves");
        raise(Number::SIGINT).expect("a signal to ourselves");
        signals.impatient().await;
        assert_eq!(Shutdown::Interrupt.to_string(), "SIGINT");
    }
}
