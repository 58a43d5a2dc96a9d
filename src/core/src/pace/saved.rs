//! What the scheduler keeps over a restart and a failover.

use alloc::vec::Vec;

use super::base::LONGEST_SILENCE_MS;
use super::call::BaseKey;
use super::scheduler::Scheduler;

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

impl<P: Clone> Scheduler<P> {
    /// What is to be kept over a restart, a failover.
    pub fn state(&self, now: u64) -> Saved {
        let now = self.at(now);
        let (poll_credit, background_credit) = self.month.credits();
        let bases = self.bases.iter().map(|(key, base)| SavedBase {
            base: *key,
            silent_ms: base.silent_until.saturating_sub(now),
            refused_month: base
                .refusal
                .filter(|_| base.refused_until(&self.month, now) > now)
                .and_then(|refusal| refusal.number),
            breaker_open: !base.circuit.is_closed(),
        });
        Saved {
            unix_ms: self.month.unix_ms(now),
            month: self.month.number(),
            calls: self.month.calls(),
            poll_credit,
            background_credit,
            bases: bases
                .filter(|b| b.silent_ms > 0 || b.refused_month.is_some() || b.breaker_open)
                .collect(),
        }
    }

    /// Takes over what an earlier process kept, and assumes that it was calling until now: in the first second a base
    /// gets one call. The default `Saved` does for a restart that kept nothing.
    pub fn restore(&mut self, saved: Saved, now: u64) {
        let now = self.tick(now);
        let passed = match (self.month.unix_ms(now), saved.unix_ms) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => 0,
        };
        let credits = (saved.poll_credit, saved.background_credit);
        self.month.restore(saved.month, saved.calls, credits, now);
        self.restored_at = Some(now);
        for base in self.bases.values_mut() {
            base.log.assume_busy(&self.shape, now);
        }
        let longest = self.limits.lockout_ms.max(LONGEST_SILENCE_MS);
        for kept in saved.bases {
            let silent = kept.silent_ms.min(longest).saturating_sub(passed);
            let month = kept.refused_month;
            let base = self.base(kept.base);
            if silent > 0 {
                base.silent_until = base.silent_until.max(now + silent);
                base.recovering = true;
            }
            if month.is_some() {
                base.restore_refusal(month, now);
            }
            if kept.breaker_open {
                let limits = self.limits.breaker.clone();
                self.base(kept.base).circuit.open(&limits, now);
            }
        }
    }
}
