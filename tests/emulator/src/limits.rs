//! Airtable's limits: per base, per token, per month.

use crate::datetime::civil;
use serde_json::{json, Value as Json};
use std::collections::{HashMap, VecDeque};

const SECOND_MS: i64 = 1000;

/// What the limits are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) enabled: bool,
    /// Requests a second and base.
    pub(crate) per_second: u32,
    /// Requests a second and token.
    pub(crate) per_token: u32,
    /// After a 429, nothing succeeds for so long.
    pub(crate) lockout_ms: i64,
    /// Any second counts, not only the clock's: harder than the default of fixed windows.
    pub(crate) sliding: bool,
    /// Calls a calendar month; `None` is no limit.
    pub(crate) monthly: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            enabled: true,
            per_second: 5,
            per_token: 50,
            lockout_ms: 30_000,
            sliding: false,
            monthly: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    RateLimited,
    MonthSpent,
}

/// The counters behind the limits.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) limits: Limits,
    bases: HashMap<String, Window>,
    tokens: HashMap<String, Window>,
    month: (i64, i64),
    pub(crate) month_calls: u64,
}

#[derive(Default)]
struct Window {
    /// Calls allowed of late, oldest first.
    recent: VecDeque<i64>,
    locked_until_ms: i64,
    allowed: u64,
    refused: u64,
    busiest: usize,
}

impl Window {
    /// Whether one more call fits; exceeding locks.
    fn admits(&mut self, now_ms: i64, limit: u32, limits: &Limits) -> bool {
        if now_ms < self.locked_until_ms {
            self.refused += 1;
            return false;
        }
        let start = if limits.sliding {
            now_ms - SECOND_MS + 1
        } else {
            now_ms.div_euclid(SECOND_MS) * SECOND_MS
        };
        while self.recent.front().is_some_and(|at| *at < start) {
            self.recent.pop_front();
        }
        if self.recent.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            self.locked_until_ms = now_ms + limits.lockout_ms;
            self.refused += 1;
            return false;
        }
        true
    }

    fn count(&mut self, now_ms: i64) {
        self.recent.push_back(now_ms);
        self.allowed += 1;
        self.busiest = self.busiest.max(self.recent.len());
    }
}

impl Meter {
    /// Counts a call, or says why it may not be made. A refused call costs nothing.
    pub(crate) fn admit(&mut self, base: Option<&str>, token: &str, now_ms: i64) -> Verdict {
        let c = civil(now_ms);
        if self.month != (c.year, c.month) {
            self.month = (c.year, c.month);
            self.month_calls = 0;
        }
        if self
            .limits
            .monthly
            .is_some_and(|limit| self.month_calls >= limit)
        {
            return Verdict::MonthSpent;
        }
        let limits = self.limits.clone();
        let mut base = base.map(|base| self.bases.entry(base.to_owned()).or_default());
        let token = self.tokens.entry(token.to_owned()).or_default();
        if limits.enabled {
            if base
                .as_mut()
                .is_some_and(|base| !base.admits(now_ms, limits.per_second, &limits))
            {
                return Verdict::RateLimited;
            }
            if !token.admits(now_ms, limits.per_token, &limits) {
                return Verdict::RateLimited;
            }
        } else {
            // The figures go on; only what is older than a second is let go.
            for window in base
                .iter_mut()
                .map(|b| &mut **b)
                .chain(std::iter::once(&mut *token))
            {
                while window
                    .recent
                    .front()
                    .is_some_and(|at| *at <= now_ms - SECOND_MS)
                {
                    window.recent.pop_front();
                }
            }
        }
        if let Some(base) = base {
            base.count(now_ms);
        }
        token.count(now_ms);
        self.month_calls += 1;
        Verdict::Allowed
    }

    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Forgets windows and lock-outs; the limits and the month's count stay.
    pub(crate) fn clear(&mut self) {
        self.bases.clear();
        self.tokens.clear();
    }

    pub(crate) fn show(&self, now_ms: i64) -> Json {
        let bases: serde_json::Map<String, Json> = self
            .bases
            .iter()
            .map(|(id, w)| {
                let locked_ms = (w.locked_until_ms - now_ms).max(0);
                (id.clone(), json!({"allowed": w.allowed, "refused": w.refused, "busiest_second": w.busiest, "locked_ms": locked_ms}))
            })
            .collect();
        json!({
            "enabled": self.limits.enabled, "per_second": self.limits.per_second, "per_token": self.limits.per_token,
            "lockout_ms": self.limits.lockout_ms, "window": if self.limits.sliding { "sliding" } else { "fixed" },
            "monthly_limit": self.limits.monthly, "month_calls": self.month_calls, "bases": bases,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_call_of_a_second_locks_the_base_for_thirty() {
        let mut meter = Meter::default();
        for call in 0..5 {
            assert_eq!(
                meter.admit(Some("app1"), "t", 10_000 + call),
                Verdict::Allowed
            );
        }
        assert_eq!(meter.admit(Some("app1"), "t", 10_500), Verdict::RateLimited);
        assert_eq!(
            meter.admit(Some("app2"), "t", 10_500),
            Verdict::Allowed,
            "another base is not concerned"
        );
        // A request during the penalty does not prolong it.
        assert_eq!(meter.admit(Some("app1"), "t", 40_499), Verdict::RateLimited);
        assert_eq!(meter.admit(Some("app1"), "t", 40_500), Verdict::Allowed);
    }

    #[test]
    fn fixed_windows_forgive_what_sliding_ones_do_not() {
        for (sliding, expected) in [(false, Verdict::Allowed), (true, Verdict::RateLimited)] {
            let mut meter = Meter::new(Limits {
                sliding,
                ..Limits::default()
            });
            for _ in 0..5 {
                assert_eq!(meter.admit(Some("app1"), "t", 10_900), Verdict::Allowed);
            }
            assert_eq!(
                meter.admit(Some("app1"), "t", 11_100),
                expected,
                "sliding: {sliding}"
            );
        }
    }

    #[test]
    fn a_token_has_fifty_over_all_bases() {
        let mut meter = Meter::default();
        for call in 0..50 {
            assert_eq!(
                meter.admit(Some(&format!("app{}", call / 5)), "t", 10_000),
                Verdict::Allowed
            );
        }
        assert_eq!(
            meter.admit(Some("app99"), "t", 10_000),
            Verdict::RateLimited
        );
        assert_eq!(
            meter.admit(Some("app99"), "other", 10_000),
            Verdict::Allowed
        );
    }

    #[test]
    fn the_month_ends_with_the_calendar() {
        let mut meter = Meter::new(Limits {
            monthly: Some(2),
            ..Limits::default()
        });
        let november = 1_793_491_200_000; // 2026-11-01
        assert_eq!(meter.admit(None, "t", november), Verdict::Allowed);
        assert_eq!(meter.admit(None, "t", november), Verdict::Allowed);
        assert_eq!(meter.admit(None, "t", november), Verdict::MonthSpent);
        assert_eq!(
            meter.admit(None, "t", november + 31 * crate::datetime::DAY_MS),
            Verdict::Allowed
        );
    }
}
