//! Retries: how many (a budget, not a count) and when (full jitter).

use super::limits::Limits;

const SLICE_MS: u64 = 10_000;
const SLICES: usize = 6;

/// Calls and retries of the last minute. A retry is allowed while retries stay within their share of the calls: in an
/// outage, where everything fails, a share bounds the extra load, which a count per call does not.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryBudget {
    /// Per slice of ten seconds: its number, first attempts, retries.
    slices: [(u64, u64, u64); SLICES],
}

impl RetryBudget {
    fn slice(&mut self, now: u64) -> Option<&mut (u64, u64, u64)> {
        let number = now / SLICE_MS;
        let at = usize::try_from(number % SLICES as u64).ok()?;
        let slice = self.slices.get_mut(at)?;
        if slice.0 != number {
            *slice = (number, 0, 0);
        }
        Some(slice)
    }

    /// A first attempt is sent.
    pub(super) fn call(&mut self, now: u64) {
        if let Some(slice) = self.slice(now) {
            slice.1 += 1;
        }
    }

    /// A first attempt that was to start then was not sent after all.
    pub(super) fn withdraw(&mut self, started: u64) {
        let number = started / SLICE_MS;
        if let Some(slice) = self.slices.iter_mut().find(|slice| slice.0 == number) {
            slice.1 = slice.1.saturating_sub(1);
        }
    }

    /// Takes `count` retries out of the budget, all or none. One a minute is free, so that a single hiccup on a quiet
    /// base is not passed on to the client.
    pub(super) fn take(&mut self, limits: &Limits, now: u64, count: u64) -> bool {
        let current = now / SLICE_MS;
        let (calls, retries) = self
            .slices
            .iter()
            .filter(|slice| slice.0 <= current && current - slice.0 < SLICES as u64)
            .fold((0, 0), |sum, slice| (sum.0 + slice.1, sum.1 + slice.2));
        let allowed = (calls * limits.retry_percent / 100).max(u64::from(limits.retry_percent > 0));
        if retries + count > allowed {
            return false;
        }
        if let Some(slice) = self.slice(now) {
            slice.2 += count;
        }
        true
    }
}

/// The wait before attempt `attempt` + 1, in ms: uniform between 0 and a bound that doubles with each attempt. Full
/// jitter spreads those who failed together best.
pub(super) fn full_jitter(limits: &Limits, attempt: u32, chance: u64) -> u64 {
    let (first, largest) = limits.backoff_ms;
    let bound = first
        .saturating_mul(1 << attempt.saturating_sub(1).min(20))
        .min(largest);
    chance % bound.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_calls_may_be_retries() {
        let limits = Limits::default();
        let mut budget = RetryBudget::default();
        for t in 0..100 {
            budget.call(t);
        }
        let granted = (0..100).filter(|_| budget.take(&limits, 100, 1)).count();
        assert_eq!(granted, 10);
    }

    #[test]
    fn one_a_minute_is_free() {
        let limits = Limits::default();
        let mut budget = RetryBudget::default();
        assert!(budget.take(&limits, 0, 1));
        assert!(!budget.take(&limits, 10, 1));
        assert!(!budget.take(&limits, 59_999, 1));
        assert!(budget.take(&limits, 60_000, 1));
        let none = Limits {
            retry_percent: 0,
            ..Limits::default()
        };
        assert!(!RetryBudget::default().take(&none, 0, 1));
    }

    #[test]
    fn what_is_over_a_minute_old_no_longer_earns() {
        let limits = Limits::default();
        let mut budget = RetryBudget::default();
        for t in 0..1000 {
            budget.call(t);
        }
        assert!(budget.take(&limits, 59_000, 50));
        assert!(!budget.take(&limits, 61_000, 10));
    }

    #[test]
    fn the_back_off_is_jittered_in_full_and_bounded() {
        let limits = Limits::default();
        assert_eq!(full_jitter(&limits, 1, 0), 0);
        assert_eq!(full_jitter(&limits, 1, 250), 250);
        assert!(full_jitter(&limits, 3, u64::MAX) <= 1000);
        assert!((0..10_000).all(|c| full_jitter(&limits, 60, c * 7919) <= 8000));
    }
}
