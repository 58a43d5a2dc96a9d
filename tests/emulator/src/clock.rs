//! The emulator's clock, which tests may move forward, and the signal that ends waiting threads.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time plus what tests advanced it by.
#[derive(Debug)]
pub(crate) struct Clock {
    advanced_ms: AtomicI64,
    started_ms: i64,
    started: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            advanced_ms: AtomicI64::new(0),
            started_ms: wall_ms(),
            started: Instant::now(),
        }
    }

    /// Milliseconds since the Unix epoch on this clock.
    pub(crate) fn now_ms(&self) -> i64 {
        // Monotonic from the start on, so that a step of the machine's clock cannot reopen a rate window.
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.started_ms
            .saturating_add(elapsed)
            .saturating_add(self.advanced_ms.load(Ordering::SeqCst))
    }

    /// Milliseconds on this clock since the emulator started.
    pub(crate) fn since_start_ms(&self) -> i64 {
        self.now_ms().saturating_sub(self.started_ms)
    }

    /// Real milliseconds since the emulator started, whatever the clock was advanced by.
    pub(crate) fn real_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.advanced_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn reset(&self) {
        self.advanced_ms.store(0, Ordering::SeqCst);
    }
}

fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_millis()).ok())
        .unwrap_or_default()
}

/// A one-way signal: everything that waits in the emulator waits on this, so that stopping is immediate.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn set(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.stopped.lock()
    }

    /// Waits for `span`; true when the emulator stopped meanwhile.
    pub(crate) fn wait(&self, span: Duration) -> bool {
        let deadline = Instant::now() + span;
        let mut stopped = self.stopped.lock();
        while !*stopped {
            if self.changed.wait_until(&mut stopped, deadline).timed_out() {
                break;
            }
        }
        *stopped
    }
}
