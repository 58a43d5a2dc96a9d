//! The figures of `INFO podium` that workers count: atomics, read by INFO and PODIUM.STATS.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a call was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Get,
    Index,
    Refresh,
    Sweep,
    Sync,
    Warm,
    Write,
    Meta,
}

pub(crate) const CAUSES: [(Cause, &str); 8] = [
    (Cause::Get, "get"),
    (Cause::Index, "index"),
    (Cause::Refresh, "refresh"),
    (Cause::Sweep, "sweep"),
    (Cause::Sync, "sync"),
    (Cause::Warm, "warm"),
    (Cause::Write, "write"),
    (Cause::Meta, "meta"),
];

static CALLS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
static ALL_CALLS: AtomicU64 = AtomicU64::new(0);
static RECORDS: AtomicU64 = AtomicU64::new(0);
static ERRORS: AtomicU64 = AtomicU64::new(0);
static TOO_MANY: AtomicU64 = AtomicU64::new(0);
static RETRIES: AtomicU64 = AtomicU64::new(0);
static LATENCY: Mutex<Histogram> = Mutex::new(Histogram::new());

/// Latencies in ms, in buckets that are at most 1/16 wide: percentiles within 7 %.
struct Histogram {
    buckets: [u64; 256],
    count: u64,
}

impl Histogram {
    const fn new() -> Histogram {
        Histogram {
            buckets: [0; 256],
            count: 0,
        }
    }
    fn bucket(ms: u64) -> usize {
        if ms < 16 {
            return ms as usize;
        }
        let exponent = 63 - ms.leading_zeros() as usize;
        ((exponent - 3) * 16 + ((ms >> (exponent - 4)) & 15) as usize).min(255)
    }
    fn middle(bucket: usize) -> u64 {
        if bucket < 16 {
            return bucket as u64;
        }
        let (exponent, part) = (bucket / 16 + 3, (bucket % 16) as u64);
        ((16 + part) << (exponent - 4)) + (1 << (exponent - 4)) / 2
    }
    fn add(&mut self, ms: u64) {
        if let Some(b) = self.buckets.get_mut(Self::bucket(ms)) {
            *b += 1;
            self.count += 1;
        }
    }
    fn percentile(&self, p: f64) -> u64 {
        let rank = (self.count as f64 * p).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if *n > 0 && seen >= rank {
                return Self::middle(i);
            }
        }
        0
    }
}

pub(crate) fn call_begins() {}

/// What a fetch takes of late, ms.
static FETCH_MS: AtomicU64 = AtomicU64::new(200);

fn fetch_took(ms: u64) {
    // Two threads at once may lose one of two samples: it is an average.
    let before = FETCH_MS.load(Ordering::Relaxed);
    FETCH_MS.store((before * 7 + ms.min(10_000)) / 8, Ordering::Relaxed);
}

/// What a fetch takes of late, ms.
#[inline]
pub(crate) fn fetch_ms() -> u64 {
    FETCH_MS.load(Ordering::Relaxed)
}

/// One call to Airtable, however it ended.
pub(crate) fn call(cause: Cause, ms: u64, records: usize) {
    ALL_CALLS.fetch_add(1, Ordering::Relaxed);
    if let Some(i) = CAUSES.iter().position(|(c, _)| *c == cause) {
        if let Some(n) = CALLS.get(i) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }
    RECORDS.fetch_add(records as u64, Ordering::Relaxed);
    if matches!(cause, Cause::Get | Cause::Index | Cause::Refresh) {
        fetch_took(ms);
    }
    LATENCY.lock().add(ms);
}
pub(crate) fn error(too_many: bool) {
    ERRORS.fetch_add(1, Ordering::Relaxed);
    if too_many {
        TOO_MANY.fetch_add(1, Ordering::Relaxed);
    }
}
pub(crate) fn retry() {
    RETRIES.fetch_add(1, Ordering::Relaxed);
}

/// The upstream's share of the figures, by name.
pub(crate) fn upstream() -> Vec<(String, i64)> {
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed) as i64;
    let mut out = vec![("podium_upstream_calls".to_string(), get(&ALL_CALLS))];
    for ((_, name), n) in CAUSES.iter().zip(&CALLS) {
        out.push((format!("podium_upstream_calls_{name}"), get(n)));
    }
    out.push(("podium_upstream_records".into(), get(&RECORDS)));
    out.push(("podium_upstream_errors".into(), get(&ERRORS)));
    out.push(("podium_upstream_429".into(), get(&TOO_MANY)));
    out.push(("podium_upstream_retries".into(), get(&RETRIES)));
    let h = LATENCY.lock();
    out.push(("podium_upstream_ms_p50".into(), h.percentile(0.5) as i64));
    out.push(("podium_upstream_ms_p99".into(), h.percentile(0.99) as i64));
    out
}

/// PODIUM.STATS RESET.
pub(crate) fn reset() {
    for n in CALLS
        .iter()
        .chain([&ALL_CALLS, &RECORDS, &ERRORS, &TOO_MANY, &RETRIES])
    {
        n.store(0, Ordering::Relaxed);
    }
    *LATENCY.lock() = Histogram::new();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_their_bucket() {
        let mut h = Histogram::new();
        for ms in 1..=1000 {
            h.add(ms);
        }
        for (p, expected) in [(0.5, 500.0), (0.99, 990.0), (0.01, 10.0)] {
            let got = h.percentile(p) as f64;
            assert!((got - expected).abs() / expected < 0.07, "{p}: {got}");
        }
        assert_eq!(Histogram::new().percentile(0.5), 0);
        h.add(u64::MAX);
        assert!(h.percentile(1.0) > 1000);
    }
}
