//! Takes lines to their destination and never makes a worker wait.
//!
//! A destination that is slow (a full pipe, a disk) must not slow traffic, so what does not fit into a bounded buffer
//! is dropped and counted; `adit_log_lines_dropped_total` says so, and so does a line once there is room again.
//! Everything that waits is written at once, and after a write the thread rests for a moment while the next lines gather:
//! a line after a pause goes out at once, and under load one write carries hundreds. Waking the thread for each line cost
//! more than the line (a wake-up, two task switches and a write for every connection).
//!
//! Threads append to one of several buffers, each its own as far as possible, so that workers do not meet at a lock.
//! Lines of one thread keep their order; between threads the timestamps tell.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use super::format::{Format, Line};

/// What may wait to be written, in bytes: about 15,000 access lines.
pub const CAPACITY: usize = 8 << 20;
/// Enough that few workers share one.
const BUFFERS: usize = 32;
/// How long lines gather after a write: a hundred wake-ups a second at most, and nobody who reads along notices.
const GATHER: Duration = Duration::from_millis(10);
/// A buffer that grew larger in a burst is given back.
const KEPT: usize = 64 << 10;
/// How long the end of the process waits for a destination that does not take the rest.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Appends lines. Clones append to the same log.
#[derive(Clone, Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug)]
struct Shared {
    format: Format,
    buffers: [Mutex<Lines>; BUFFERS],
    capacity: usize,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    closing: AtomicBool,
    /// The writer thread sleeps until it is woken.
    asleep: AtomicBool,
    /// The writer thread is not writing and found nothing to write.
    idle: Mutex<bool>,
    became_idle: Condvar,
}

#[derive(Default, Debug)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
}

impl Writer {
    /// Starts the thread that writes to `sink`. Lines are in `format`.
    ///
    /// # Errors
    /// The kernel gave no thread.
    pub fn start(format: Format, sink: impl Write + Send + 'static) -> io::Result<(Self, Flush)> {
        Self::with_capacity(format, CAPACITY, sink)
    }

    /// [`Self::start`] with another capacity, in bytes.
    ///
    /// # Errors
    /// The kernel gave no thread.
    pub fn with_capacity(
        format: Format,
        capacity: usize,
        sink: impl Write + Send + 'static,
    ) -> io::Result<(Self, Flush)> {
        let shared = Arc::new(Shared {
            format,
            buffers: std::array::from_fn(|_| Mutex::default()),
            capacity,
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            idle: Mutex::new(false),
            became_idle: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&theirs, sink))?;
        let writer = Self {
            shared,
            thread: thread.thread().clone(),
        };
        Ok((writer.clone(), Flush { writer }))
    }

    /// How lines look.
    pub fn format(&self) -> Format {
        self.shared.format
    }

    /// Appends a line, which ends with its line feed; false if it was dropped for want of room.
    pub fn append(&self, line: &[u8]) -> bool {
        let shared = &self.shared;
        let room = |waiting: usize| {
            let sum = waiting.checked_add(line.len())?;
            (sum <= shared.capacity).then_some(sum)
        };
        let counted = shared
            .waiting
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, room);
        if counted.is_err() {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let mut lines = lock(&shared.buffers[own_buffer()]);
        lines.bytes.extend_from_slice(line);
        lines.count += 1;
        drop(lines);
        // Only the first line after a pause has to wake the thread. It says that it sleeps before it looks for the last
        // time whether anything is counted, and we count before we look whether it sleeps: one of us sees the other.
        if shared.asleep.load(Ordering::SeqCst) && shared.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        true
    }

    /// How many lines were dropped, for want of room or because the destination failed.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything appended before is written, at most `within`; false if it is not. Blocks: not for
    /// workers.
    pub fn flush(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut idle = lock(&self.shared.idle);
        self.thread.unpark();
        while !(*idle && self.shared.waiting.load(Ordering::Acquire) == 0) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            idle = match self.shared.became_idle.wait_timeout(idle, left) {
                Ok((idle, _)) => idle,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }
}

/// Writes what is left and ends the log's thread when it is dropped, waiting a bounded time.
#[derive(Debug)]
pub struct Flush {
    writer: Writer,
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.writer.flush(LAST_WAIT);
        self.writer.shared.closing.store(true, Ordering::Release);
        self.writer.thread.unpark();
    }
}

/// The life of the writer thread.
fn write_all(shared: &Shared, mut sink: impl Write) {
    let mut spare = Vec::new();
    let mut reported = 0;
    loop {
        *lock(&shared.idle) = false;
        let mut wrote = false;
        for buffer in &shared.buffers {
            wrote |= write_one(shared, buffer, &mut spare, &mut sink);
        }
        report_dropped(shared, &mut reported, &mut sink);
        if wrote {
            // Whoever waits for the end of it wakes us.
            std::thread::park_timeout(GATHER);
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        if shared.waiting.load(Ordering::SeqCst) > 0 {
            // A line is counted and will be in its buffer in a moment.
            shared.asleep.store(false, Ordering::SeqCst);
            std::thread::yield_now();
            continue;
        }
        *lock(&shared.idle) = true;
        shared.became_idle.notify_all();
        if shared.closing.load(Ordering::Acquire) {
            return;
        }
        // An unpark since the buffers were looked at makes this return at once.
        std::thread::park();
    }
}

fn write_one(shared: &Shared, buffer: &Mutex<Lines>, spare: &mut Vec<u8>, sink: &mut impl Write) -> bool {
    let count = {
        let mut lines = lock(buffer);
        std::mem::swap(&mut lines.bytes, spare);
        std::mem::take(&mut lines.count)
    };
    if spare.is_empty() {
        return false;
    }
    if sink.write_all(spare).and_then(|()| sink.flush()).is_err() {
        // There is nowhere to say it: whoever scrapes sees the number.
        shared.dropped.fetch_add(count, Ordering::Relaxed);
    }
    shared.waiting.fetch_sub(spare.len(), Ordering::AcqRel);
    spare.clear();
    spare.shrink_to(KEPT);
    true
}

/// Says in the log itself that it is not complete.
fn report_dropped(shared: &Shared, reported: &mut u64, sink: &mut impl Write) {
    let dropped = shared.dropped.load(Ordering::Relaxed);
    if dropped > *reported && shared.waiting.load(Ordering::Relaxed) < shared.capacity / 2 {
        let mut buffer = String::new();
        let mut line = Line::begin(&mut buffer, shared.format, SystemTime::now(), "warn", "log");
        line.message("log lines were dropped: the log could not keep up");
        line.number("dropped", dropped - *reported);
        // If it cannot be written, the number is still right.
        let _ = sink.write_all(line.end());
        *reported = dropped;
    }
}

/// The buffer of this thread: threads are dealt out in turn.
fn own_buffer() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.with(|own| match own.get() {
        Some(index) => index,
        None => {
            let index = NEXT.fetch_add(1, Ordering::Relaxed) % BUFFERS;
            own.set(Some(index));
            index
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
