//! The rate limit: a log of the last starts.
//!
//! A call may start when the n-th last start is a whole window ago. Unlike GCRA or a token bucket, which must be given
//! either no burst (and delay the second call from idle) or one that adds to the rate (and exceed the limit in some
//! second), the log lets n calls go at once from idle and still never has more than n starts in *any* window.
//!
//! Airtable counts arrivals, not starts. A call whose way was long and one that follows on a short way arrive closer
//! together than they started, and no window of a reasonable length makes two bursts of n safe from that. So a second,
//! longer window bounds what can arrive within one second by what Airtable accepts; and calls that had to queue go evenly.

use alloc::collections::VecDeque;

use super::limits::Limits;

/// Safety margin of every window, in ms: coarse clocks and timers that fire early. At 1 % it leaves the rate at 0.99.
const MARGIN_MS: u64 = 10;
/// Calls a second and base that Airtable itself accepts.
const AIRTABLES_RATE: usize = 5;

/// What a [`StartLog`] allows.
#[derive(Copy, Clone, Debug)]
pub(super) struct Shape {
    /// At most so many starts …
    count: usize,
    /// … in any span of this length, in ms.
    window_ms: u64,
    /// The same for the span in which starts can arrive within one second.
    outer: Option<(usize, u64)>,
    /// Least distance of two starts while calls queue, in ms.
    gap_ms: u64,
}

impl Shape {
    /// The limit of a base.
    pub(super) fn base(limits: &Limits) -> Shape {
        let rate = limits.rate_milli.max(1);
        let count = rate.div_ceil(1000);
        let window_ms = (count * 1_000_000).div_ceil(rate) + MARGIN_MS;
        // Whoever sets the rate to Airtable's own has no call to spare for jitter: there the margin is all there is.
        let ceiling = u64::from(limits.ceiling_per_s);
        let outer = (count < ceiling).then_some((
            usize::try_from(ceiling).unwrap_or(usize::MAX),
            1000 + limits.network_jitter_ms,
        ));
        Shape {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            window_ms,
            outer,
            // A little under the even distance: then a late start does not delay those after it.
            gap_ms: window_ms * 9 / (count * 10),
        }
    }

    /// The limit of the token. Many bases share it, so it is rarely reached: safety goes before the last per cent.
    pub(super) fn token(limits: &Limits) -> Shape {
        Shape {
            count: usize::try_from(limits.token_rate_per_s.max(1)).unwrap_or(usize::MAX),
            window_ms: 1000 + MARGIN_MS + limits.network_jitter_ms,
            outer: None,
            gap_ms: 0,
        }
    }

    fn kept(&self) -> usize {
        self.outer
            .map_or(self.count, |(count, _)| count.max(self.count))
    }

    /// The longest span that matters, in ms.
    pub(super) fn span_ms(&self) -> u64 {
        self.outer
            .map_or(self.window_ms, |(_, ms)| ms.max(self.window_ms))
    }
}

/// The last starts, oldest first, as many as a [`Shape`] looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct StartLog {
    starts: VecDeque<u64>,
}

impl StartLog {
    /// From when on a call may start. `evenly`: calls queue, so they keep their distance.
    pub(super) fn free_at(&self, shape: &Shape, evenly: bool) -> u64 {
        let last = |count: usize| {
            let at = self.starts.len().checked_sub(count)?;
            self.starts.get(at).copied()
        };
        let window = last(shape.count).map_or(0, |t| t + shape.window_ms);
        let outer = shape
            .outer
            .and_then(|(count, ms)| last(count).map(|t| t + ms))
            .unwrap_or(0);
        let gap = if evenly {
            last(1).map_or(0, |t| t + shape.gap_ms)
        } else {
            0
        };
        window.max(outer).max(gap)
    }

    /// Takes for granted that a process before this one called at the full rate until now, and its last calls may still be
    /// on their way. One call may go at once: with the predecessor's it stays within what Airtable accepts, if that is
    /// more than the rate.
    pub(super) fn assume_busy(&mut self, shape: &Shape, now: u64) {
        let count = match shape.outer {
            Some(_) => shape.count.saturating_sub(1),
            None => shape.count,
        };
        // Airtable counts to five; a limit far beyond is that of some other service.
        for _ in 0..count.min(AIRTABLES_RATE) {
            self.start(shape, now + shape.span_ms() - shape.window_ms);
        }
    }

    /// A call starts now.
    pub(super) fn start(&mut self, shape: &Shape, now: u64) {
        self.starts.push_back(now);
        while self.starts.len() > shape.kept() {
            self.starts.pop_front();
        }
    }

    /// A call that started then was not sent after all. What its start pushed out of the log no longer matters: else it
    /// could not have started.
    pub(super) fn withdraw(&mut self, started: u64) {
        if let Some(at) = self.starts.iter().rposition(|t| *t == started) {
            self.starts.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use alloc::vec::Vec;

    /// Starts as many calls as early as possible.
    fn greedy(limits: &Limits, evenly: bool, calls: usize) -> Vec<u64> {
        let shape = Shape::base(limits);
        let mut log = StartLog::default();
        let mut now = 5_000;
        let mut starts = Vec::new();
        for _ in 0..calls {
            now = now.max(log.free_at(&shape, evenly));
            log.start(&shape, now);
            starts.push(now);
        }
        starts
    }

    #[test]
    fn a_burst_from_idle_has_no_delay_and_no_second_holds_more_than_the_rate() {
        for rate in [1, 2, 4, 5, 7, 50, 1000] {
            let limits = Limits {
                rate_milli: rate * 1000,
                ..Limits::default()
            };
            let rate = usize::try_from(rate).unwrap();
            let starts = greedy(&limits, false, rate * 5);
            assert!(starts[..rate].iter().all(|t| *t == 5000), "rate {rate}");
            for w in starts.windows(rate + 1) {
                assert!(w[rate] - w[0] >= 1000, "rate {rate}: {w:?}");
            }
        }
    }

    #[test]
    fn jitter_never_brings_more_than_the_ceiling_into_one_second() {
        let limits = Limits::default();
        for evenly in [false, true] {
            let starts = greedy(&limits, evenly, 40);
            for w in starts.windows(6) {
                assert!(w[5] - w[0] >= 1050, "evenly {evenly}: {w:?}");
            }
        }
    }

    #[test]
    fn at_saturation_the_rate_is_spent_evenly() {
        let starts = greedy(&Limits::default(), true, 401);
        let span = starts[400] - starts[0];
        assert!(span <= 400 * 250 * 1011 / 1000, "{span}");
        assert!(starts.windows(2).all(|w| w[1] - w[0] >= 200));
    }

    #[test]
    fn a_fractional_rate_stretches_the_window() {
        let limits = Limits {
            rate_milli: 500,
            ..Limits::default()
        };
        let starts = greedy(&limits, false, 3);
        assert_eq!(starts, [5000, 7010, 9020]);
        let limits = Limits {
            rate_milli: 2500,
            ..Limits::default()
        };
        assert_eq!(
            greedy(&limits, false, 4),
            [5000, 5000, 5000, 5000 + 1200 + MARGIN_MS]
        );
    }
}
