//! The order of sends and changes, behind a lock of its own: a leaf, under which no other is taken. And the clocks.

use parking_lot::{Mutex, MutexGuard};
use podium_core::token::Tokens;
use std::time::Instant;

static ORDER: once_cell::sync::Lazy<Mutex<Tokens>> = once_cell::sync::Lazy::new(Mutex::default);

/// The order itself. Held for moments.
pub(crate) fn order() -> MutexGuard<'static, Tokens> {
    ORDER.lock()
}

/// The wall clock, unix us: numbers stay near it, so that their order holds over a restart.
pub(crate) fn now_us() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.as_micros() as u64)
        .unwrap_or(0)
}

/// The next number in the order.
pub(crate) fn next() -> u64 {
    order().next(now_us())
}

/// Can a number of a data set be one of the order of sends and changes?
pub(crate) fn believes(seq: u64) -> bool {
    let now = now_us();
    seq <= podium_core::outside::latest(now)
        // Only a clock that was put back far leads here; whoever has the order then has no such doubt.
        || ORDER.try_lock().is_none_or(|order| order.believes(seq, now))
}

static OPENED: once_cell::sync::Lazy<Instant> = once_cell::sync::Lazy::new(Instant::now);

/// Monotonic ms since the module was loaded: the scheduler's time.
pub(crate) fn mono_ms() -> u64 {
    // The scheduler takes 0 for "before everything": start a little later.
    OPENED.elapsed().as_millis() as u64 + 1_000_000
}

/// The number under which something was sent: given back when this is dropped, however that comes.
///
/// What changed since is remembered for as long as it is out. Not to be dropped under [`order`].
#[derive(Debug)]
pub(crate) struct Sent(u64);

impl Sent {
    /// Something is sent now.
    pub(crate) fn now() -> Sent {
        Sent(order().sent(now_us()))
    }
    pub(crate) fn number(&self) -> u64 {
        self.0
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        order().landed(self.0);
    }
}
