//! What the scheduler may spend: rates, threads, retries, the month.

/// The limits of a [`Scheduler`](super::Scheduler). Start from `Limits::default()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls a second and base, in thousandths (4000 = 4/s; 500 = one every two seconds). At least 1.
    pub rate_milli: u64,
    /// The calls in a second at which Airtable itself locks a base out.
    pub ceiling_per_s: u32,
    /// Calls a second of the token, over all bases.
    pub token_rate_per_s: u32,
    /// By how much the way of one call to Airtable may be longer than that of the next, in ms.
    pub network_jitter_ms: u64,
    /// Calls under way at once: as many as there are threads to send them.
    pub max_in_flight: usize,
    /// Records in one list call.
    pub page: usize,
    /// Retries a minute, as a share of the calls of that minute, in per cent.
    pub retry_percent: u64,
    /// How often a call is attempted at most.
    pub max_attempts: u32,
    /// First and largest back-off before a retry, in ms; the actual one is random between 0 and the current bound.
    pub backoff_ms: (u64, u64),
    /// Silence after a 429 without `Retry-After`, in ms.
    pub lockout_ms: u64,
    /// When a base counts as failing.
    pub breaker: BreakerLimits,
    /// Calls a month over all bases; `None`: no limit.
    pub monthly: Option<u64>,
    /// Records and calls queued at which refreshes and background work are no longer taken in.
    pub max_queued: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            rate_milli: 4000,
            ceiling_per_s: 5,
            token_rate_per_s: 50,
            network_jitter_ms: 50,
            max_in_flight: 4,
            page: 100,
            retry_percent: 10,
            max_attempts: 3,
            backoff_ms: (250, 8000),
            lockout_ms: 30_000,
            breaker: BreakerLimits::default(),
            monthly: None,
            max_queued: 200_000,
        }
    }
}

impl Limits {
    /// How long a batch that is not full is gathered while the base was just called, in ms: the time between two calls
    /// at the full rate.
    pub(super) fn gather_ms(&self) -> u64 {
        (1_000_000 / self.rate_milli.max(1)).clamp(1, 60_000)
    }
}

/// When a base counts as failing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row.
    pub consecutive: u32,
    /// Share of failures among the calls of the window, in per cent …
    pub ratio_percent: u32,
    /// … if there were at least so many calls.
    pub min_calls: u32,
    /// The window, in ms.
    pub window_ms: u64,
    /// Time between two probes while it is open, in ms.
    pub probe_ms: u64,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        BreakerLimits {
            consecutive: 5,
            ratio_percent: 50,
            min_calls: 20,
            window_ms: 30_000,
            probe_ms: 5000,
        }
    }
}
