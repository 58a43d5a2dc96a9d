//! The clocks: the wall's, and the scheduler's, which only goes forward.

use std::time::Instant;

static OPENED: once_cell::sync::Lazy<Instant> = once_cell::sync::Lazy::new(Instant::now);

/// Monotonic ms since the module was loaded: the scheduler's time.
pub(crate) fn mono_ms() -> u64 {
    // The scheduler takes 0 for "before everything": start a little later.
    OPENED.elapsed().as_millis() as u64 + 1_000_000
}
