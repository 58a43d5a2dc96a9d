//! What the scheduler keeps over a restart and a failover.

use alloc::vec::Vec;

use super::call::BaseKey;

/// State to keep, taken by [`state`](super::Scheduler::state) and given back to
/// [`restore`](super::Scheduler::restore). Stored by the caller, who also writes its base keys as names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Wall clock when it was taken, unix ms.
    pub unix_ms: Option<u64>,
    /// The month counted, in months since January 1970 (UTC).
    pub month: Option<u32>,
    /// Its calls.
    pub calls: u64,
    /// Calls that polls have saved up; `None`: as many as they may.
    pub poll_credit: Option<u64>,
    /// Calls that refreshes and background work have saved up; `None`: as many as they may.
    pub background_credit: Option<u64>,
    /// Bases that may not be called as usual.
    pub bases: Vec<SavedBase>,
}

/// A base that may not be called as usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedBase {
    /// Which.
    pub base: BaseKey,
    /// How long the lock-out still lasted, in ms.
    pub silent_ms: u64,
    /// The month Airtable called spent.
    pub refused_month: Option<u32>,
    /// Its breaker was not closed.
    pub breaker_open: bool,
}
