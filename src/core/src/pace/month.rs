//! The month's calls: counting them, and making them last.
//!
//! Reads that miss may take all there is. Polls may take half of what is left and background work a quarter, both spread
//! over the rest of the month: each has a credit that grows with time. What reads will take, as far as the month so far
//! tells, is set aside first.

use super::calendar::{month_end, month_of, DAY_MS};
use super::call::Class;

const YEAR_10000: u64 = 253_402_300_800_000;
/// A credit's unit: a millionth of a millionth of a call, so that even a slow growth is not lost in rounding.
const CALL: u128 = 1_000_000_000_000;

/// What a class may take of the month.
#[derive(Copy, Clone, Debug)]
struct Share {
    /// One in so many of the calls left, spread over the rest of the month.
    of_left: u64,
    /// It may save up one in so many of the calls left, for the times when it needs several at once …
    saved_of_left: u64,
    /// … and at least so many calls.
    saved_min: u64,
}

const POLL: Share = Share {
    of_left: 2,
    saved_of_left: 100,
    saved_min: 4,
};
const BACKGROUND: Share = Share {
    of_left: 4,
    saved_of_left: 20,
    saved_min: 10,
};

/// What a class may spend now.
#[derive(Clone, Debug, Default)]
struct Credit {
    /// In units of [`CALL`]; `None`: as much as may be saved.
    units: Option<u128>,
    at: u64,
}

impl Credit {
    fn most(share: Share, left: u64) -> u128 {
        // Never more than its share, so that the last calls are left to reads.
        let most = (left / share.saved_of_left).max(share.saved_min);
        u128::from(most.min(left / share.of_left)) * CALL
    }

    /// Brings the credit up to `now` and says from when on there is a whole call in it.
    fn free_at(&mut self, share: Share, left: u64, month_ms_left: u64, now: u64) -> u64 {
        let most = Self::most(share, left);
        // All that grows in a whole month is less than 2^64 calls: no overflow below 2^128 units.
        let per_ms =
            u128::from(left / share.of_left).max(1) * CALL / u128::from(month_ms_left.max(1));
        let elapsed = u128::from(now.saturating_sub(self.at));
        let units = match self.units {
            None => most,
            Some(units) => units
                .saturating_add(per_ms.saturating_mul(elapsed))
                .min(most),
        };
        self.units = Some(units);
        self.at = now;
        if units >= CALL {
            return 0;
        }
        let wait = (CALL - units).div_ceil(per_ms.max(1));
        now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    fn spend(&mut self) {
        if let Some(units) = &mut self.units {
            *units = units.saturating_sub(CALL);
        }
    }

    fn give_back(&mut self) {
        if let Some(units) = &mut self.units {
            *units = units.saturating_add(CALL);
        }
    }

    fn calls(&self) -> Option<u64> {
        self.units
            .map(|units| u64::try_from(units / CALL).unwrap_or(u64::MAX))
    }
}

/// Counts the month's calls and says when a class may make the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Month {
    /// Unix time minus `now`, in ms, as last told.
    offset: Option<i128>,
    /// The month being counted, once the wall clock is known, and its calls.
    number: Option<u32>,
    calls: u64,
    /// When it ends, unix ms.
    ends: u64,
    /// The month counted before: a wall clock that jumps over the month's end and back finds its count again.
    before: Option<(u32, u64)>,
    poll: Credit,
    background: Credit,
    /// Reads since `reads_since`: what the rest of the month will need is reckoned from them.
    reads: u64,
    reads_since: u64,
}

impl Month {
    /// The wall clock reads `unix_ms` at `now`.
    pub(super) fn set_clock(&mut self, now: u64, unix_ms: u64) {
        // Whatever a broken clock says, dates stay countable.
        let unix_ms = unix_ms.min(YEAR_10000);
        self.offset = Some(i128::from(unix_ms) - i128::from(now));
        self.turn(unix_ms, now);
    }

    /// Follows the wall clock into another month.
    pub(super) fn roll(&mut self, now: u64) {
        if let Some(unix_ms) = self.unix_ms(now).filter(|unix_ms| *unix_ms >= self.ends) {
            self.turn(unix_ms, now);
        }
    }

    fn turn(&mut self, unix_ms: u64, now: u64) {
        let number = month_of(unix_ms);
        self.ends = month_end(unix_ms);
        match self.number {
            Some(current) if current == number => return,
            // Calls counted before the wall clock was known belong to the month it shows.
            None => self.reads_since = now,
            Some(current) => {
                let found = self.before.filter(|(before, _)| *before == number);
                self.before = Some((current, self.calls));
                self.calls = found.map_or(0, |(_, calls)| calls);
                if found.is_none() {
                    self.allow();
                    self.reads = 0;
                    self.reads_since = now;
                }
            }
        }
        self.number = Some(number);
    }

    /// The unix time at `now`, if it was ever told.
    pub(super) fn unix_ms(&self, now: u64) -> Option<u64> {
        let offset = self.offset?;
        let unix_ms = u64::try_from((i128::from(now) + offset).max(0)).ok()?;
        Some(unix_ms.min(YEAR_10000))
    }

    pub(super) fn number(&self) -> Option<u32> {
        self.number
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Until the month turns, in ms. Thirty days as long as the wall clock is unknown.
    pub(super) fn ms_left(&self, now: u64) -> u64 {
        self.unix_ms(now)
            .map_or(30 * DAY_MS, |unix_ms| self.ends.saturating_sub(unix_ms))
    }

    /// From when on the class may make a call.
    pub(super) fn free_at(&mut self, monthly: Option<u64>, class: Class, now: u64) -> u64 {
        let Some(monthly) = monthly else { return 0 };
        let left = monthly.saturating_sub(self.calls);
        let ms_left = self.ms_left(now);
        if left == 0 {
            return now.saturating_add(ms_left);
        }
        if class == Class::Read {
            return 0;
        }
        // Not all, however many the reads: without polls there would be more of them.
        let left = left
            .saturating_sub(self.expected_reads(ms_left, now))
            .max(left.div_ceil(8));
        match class {
            Class::Read => 0,
            Class::Poll => self.poll.free_at(POLL, left, ms_left, now),
            Class::Refresh | Class::Background => {
                self.background.free_at(BACKGROUND, left, ms_left, now)
            }
        }
    }

    /// Reads to come in the rest of the month, if they go on as they did.
    fn expected_reads(&self, ms_left: u64, now: u64) -> u64 {
        // A busy first hour says nothing about a month.
        let elapsed = now.saturating_sub(self.reads_since).max(DAY_MS);
        let expected = u128::from(self.reads) * u128::from(ms_left) / u128::from(elapsed);
        u64::try_from(expected).unwrap_or(u64::MAX)
    }

    /// There is another allowance: what was saved up of the one before says nothing.
    pub(super) fn allow(&mut self) {
        self.poll.units = None;
        self.background.units = None;
    }

    /// A call of the class is made.
    pub(super) fn spend(&mut self, class: Class) {
        self.calls = self.calls.saturating_add(1);
        match class {
            Class::Read => self.reads = self.reads.saturating_add(1),
            Class::Poll => self.poll.spend(),
            Class::Refresh | Class::Background => self.background.spend(),
        }
    }

    /// A call of the class was not made after all.
    pub(super) fn give_back(&mut self, class: Class) {
        self.calls = self.calls.saturating_sub(1);
        match class {
            Class::Read => self.reads = self.reads.saturating_sub(1),
            Class::Poll => self.poll.give_back(),
            Class::Refresh | Class::Background => self.background.give_back(),
        }
    }

    /// Calls saved up for polls and for background work; `None`: as many as there may be.
    pub(super) fn credits(&self) -> (Option<u64>, Option<u64>) {
        (self.poll.calls(), self.background.calls())
    }

    /// Takes over the count of an earlier process.
    pub(super) fn restore(
        &mut self,
        number: Option<u32>,
        calls: u64,
        credits: (Option<u64>, Option<u64>),
        now: u64,
    ) {
        match (number, self.number) {
            (Some(saved), Some(current)) if saved != current => {
                self.before = Some((saved, calls));
                return;
            }
            (Some(saved), None) => self.number = Some(saved),
            _ => {}
        }
        self.calls = self.calls.saturating_add(calls);
        let credit = |calls: Option<u64>| Credit {
            units: calls.map(|calls| u128::from(calls) * CALL),
            at: now,
        };
        self.poll = credit(credits.0);
        self.background = credit(credits.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T00:00:00Z.
    const NOV_21: u64 = 1_795_219_200_000;

    #[test]
    fn the_count_starts_anew_with_the_month_and_survives_a_clock_that_jumps_back() {
        let mut month = Month::default();
        month.spend(Class::Read);
        month.set_clock(1000, NOV_21);
        month.spend(Class::Read);
        assert_eq!(month.calls(), 2);
        month.roll(1000 + 10 * DAY_MS);
        assert_eq!(month.calls(), 0);
        month.spend(Class::Read);
        month.set_clock(2000, NOV_21);
        assert_eq!(month.calls(), 2);
        month.set_clock(2000, NOV_21 + 10 * DAY_MS);
        assert_eq!(month.calls(), 1);
    }

    /// Makes calls of a class whenever it may, for a whole month; their number.
    fn spend_all(monthly: u64, class: Class, reads_per_hour: u64) -> (u64, u64) {
        let mut month = Month::default();
        let (start, end) = (31 * DAY_MS, 59 * DAY_MS);
        month.set_clock(start, start);
        let (mut calls, mut first_day, mut refused_reads) = (0, 0, 0);
        let mut now = start;
        let mut next_read = start;
        while now < end {
            while next_read <= now {
                for _ in 0..reads_per_hour {
                    if month.free_at(Some(monthly), Class::Read, now) <= now {
                        month.spend(Class::Read);
                    } else {
                        refused_reads += 1;
                    }
                }
                next_read += 3_600_000;
            }
            let at = month.free_at(Some(monthly), class, now);
            if at <= now {
                month.spend(class);
                calls += 1;
                first_day += u64::from(now < start + DAY_MS);
                now += 1000;
            } else {
                now = at.min(next_read);
            }
        }
        assert_eq!(refused_reads, 0);
        (calls, first_day)
    }

    #[test]
    fn polls_and_background_work_last_the_month() {
        for monthly in [900, 90_000] {
            let (calls, first_day) = spend_all(monthly, Class::Poll, 0);
            assert!(calls > monthly / 2 && calls < monthly, "{calls}");
            assert!(first_day < monthly / 15, "{first_day}");
            let (calls, first_day) = spend_all(monthly, Class::Background, 0);
            assert!(calls > monthly / 5 && calls <= monthly, "{calls}");
            assert!(first_day < monthly / 10, "{first_day}");
        }
    }

    #[test]
    fn reads_come_first_and_the_rest_makes_room() {
        // 28 × 24 hours with one read each: 672 of 900.
        let (calls, _) = spend_all(900, Class::Poll, 1);
        assert!(calls > 50 && calls <= 900 - 672, "{calls}");
    }

    #[test]
    fn a_spent_month_is_over_for_everybody() {
        let mut month = Month::default();
        month.set_clock(0, NOV_21);
        month.spend(Class::Read);
        for class in Class::ALL {
            assert_eq!(month.free_at(Some(1), class, 0), 10 * DAY_MS);
            assert_eq!(month.free_at(None, class, 0), 0);
        }
    }
}
