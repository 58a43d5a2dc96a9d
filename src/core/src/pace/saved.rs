//! What the scheduler keeps over a restart and a failover.

use alloc::vec::Vec;

use super::base::{LONGEST_SILENCE_MS, PLAN_PROBE_MS};
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
    /// Airtable refuses it.
    pub refusal: Option<SavedRefusal>,
    /// Its breaker was not closed.
    pub breaker_open: bool,
}

/// Airtable refused a base because the plan's calls of the month were used up.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SavedRefusal {
    /// In which month (as [`Saved::month`]).
    pub month: u32,
    /// For how long it was not to be asked again, in ms.
    pub probe_ms: u64,
    /// The allowance of that time ([`Limits::monthly`](super::Limits::monthly)): under another it does not hold.
    pub monthly: Option<u64>,
}

impl<P: Clone> Scheduler<P> {
    /// What is to be kept over a restart, a failover.
    pub fn state(&self, now: u64) -> Saved {
        let now = self.at(now);
        let (poll_credit, background_credit) = self.month.credits();
        let bases = self.bases.iter().map(|(key, base)| SavedBase {
            base: *key,
            silent_ms: base.silent_until.saturating_sub(now),
            refusal: base.refusal.and_then(|refusal| {
                let until = base.refused_until(&self.month, now);
                (until > now).then_some(SavedRefusal {
                    month: refusal.month?,
                    probe_ms: until - now,
                    monthly: self.limits.monthly,
                })
            }),
            breaker_open: !base.circuit.is_closed(),
        });
        Saved {
            unix_ms: self.month.unix_ms(now),
            month: self.month.number(),
            calls: self.month.calls(),
            poll_credit,
            background_credit,
            bases: bases
                .filter(|b| b.silent_ms > 0 || b.refusal.is_some() || b.breaker_open)
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
            let monthly = self.limits.monthly;
            let base = self.base(kept.base);
            if silent > 0 {
                base.silent_until = base.silent_until.max(now + silent);
                base.recovering = true;
            }
            if let Some(refusal) = kept.refusal.filter(|r| r.monthly == monthly) {
                let probe_ms = refusal.probe_ms.min(PLAN_PROBE_MS).saturating_sub(passed);
                base.restore_refusal(refusal.month, probe_ms, now);
            }
            if kept.breaker_open {
                let limits = self.limits.breaker.clone();
                self.base(kept.base).circuit.open(&limits, now);
            }
        }
    }
}
