//! Moments by their instant, however they are written.

use alloc::format;
use alloc::string::String;
use core::cmp::Ordering;

/// Longest text that is looked at: no clock counts finer.
const LONGEST: usize = 64;
/// `2026-03-04T05:06:07.000Z` without the digits behind the first three of its fraction, and without `Z`.
const TO_THE_MS: usize = 23;
const DAY_MINUTES: i64 = 24 * 60;

/// How a moment was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// With the offset of its clock.
    Zoned,
    /// Without: which moment it is depends on who reads it.
    Local,
    /// A day.
    Day,
}

/// A moment in UTC: its normal form `2026-03-04T05:06:07.000Z`, with as many more digits as its fraction needs, and how it
/// was written. One without an offset is read in UTC, as Airtable reads it, and a day as its start. `None`: it is none (a day
/// that the calendar lacks, a leap second, which has no instant of its own here).
pub(crate) fn read(text: &str) -> Option<(String, Written)> {
    let b = text.as_bytes();
    if !text.is_ascii() || b.len() > LONGEST {
        return None;
    }
    let is = |at: usize, any: &[u8]| b.get(at).is_some_and(|c| any.contains(c));
    if !(is(4, b"-") && is(7, b"-")) {
        return None;
    }
    let days = days(number(b, 0, 4)?, number(b, 5, 7)?, number(b, 8, 10)?)?;
    if b.len() == 10 {
        return Some((show(days, 0, 0, "")?, Written::Day));
    }
    if !(is(10, b"Tt ") && is(13, b":")) {
        return None;
    }
    let (hour, minute) = (number(b, 11, 13)?, number(b, 14, 16)?);
    let mut at = 16;
    let mut second = 0;
    if is(at, b":") {
        second = number(b, 17, 19)?;
        at = 19;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut fraction = "";
    if at == 19 && is(at, b".") {
        let begun = at + 1;
        at = begun;
        while is(at, b"0123456789") {
            at += 1;
        }
        fraction = text.get(begun..at).filter(|f| !f.is_empty())?;
    }
    let (offset, written) = offset(b.get(at..)?)?;
    let minutes = days * DAY_MINUTES + hour * 60 + minute - offset;
    let day = minutes.div_euclid(DAY_MINUTES);
    let text = show(day, minutes.rem_euclid(DAY_MINUTES), second, fraction)?;
    Some((text, written))
}

/// Minutes that the clock is ahead of UTC, from `Z`, `+01:00`, `+0100`, `+01`, or nothing.
fn offset(b: &[u8]) -> Option<(i64, Written)> {
    let (sign, rest) = match b.split_first() {
        None => return Some((0, Written::Local)),
        Some((b'Z' | b'z', [])) => return Some((0, Written::Zoned)),
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.len() {
        2 => (number(rest, 0, 2)?, 0),
        4 => (number(rest, 0, 2)?, number(rest, 2, 4)?),
        5 if rest.get(2) == Some(&b':') => (number(rest, 0, 2)?, number(rest, 3, 5)?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some((sign * (hours * 60 + minutes), Written::Zoned))
}

fn number(b: &[u8], from: usize, to: usize) -> Option<i64> {
    let digits = b.get(from..to)?;
    digits.iter().all(u8::is_ascii_digit).then(|| {
        digits
            .iter()
            .fold(0, |n, d| n * 10 + i64::from(d.saturating_sub(b'0')))
    })
}

/// Days since 1970-01-01, by the Gregorian calendar (Howard Hinnant's era arithmetic).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468)
}

/// Year, month and day.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, doy - (153 * mp + 2) / 5 + 1)
}

/// The normal form; `None`: its year has no four digits.
fn show(days: i64, minutes: i64, second: i64, fraction: &str) -> Option<String> {
    let (year, month, day) = civil(days);
    let (hour, minute) = (minutes / 60, minutes % 60);
    let fraction = fraction.trim_end_matches('0');
    (0..=9999).contains(&year).then(|| {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:0<3}Z")
    })
}

/// Is this written as a normal form is? Not whether the calendar has such a day.
fn is_normal(text: &[u8]) -> bool {
    let is = |at: usize, c: u8| text.get(at) == Some(&c);
    let digits = |from: usize, to: usize| {
        text.get(from..to)
            .is_some_and(|d| d.iter().all(u8::is_ascii_digit))
    };
    let Some(end) = text.len().checked_sub(1).filter(|end| *end >= TO_THE_MS) else {
        return false;
    };
    is(4, b'-')
        && is(7, b'-')
        && is(10, b'T')
        && is(13, b':')
        && is(16, b':')
        && is(19, b'.')
        && is(end, b'Z')
        && digits(0, 4)
        && digits(20, end)
}

/// A normal form to the millisecond, which is as fine as Airtable counts.
pub(super) fn to_the_ms(normal: &str) -> String {
    format!("{}Z", normal.get(..TO_THE_MS).unwrap_or(normal))
}

/// The day of a normal form, and the days before and after it: where in the world it was written decides which of them
/// the text of it begins with.
pub(super) fn days_around(normal: &str) -> [Option<String>; 3] {
    let b = normal.as_bytes();
    let day = || days(number(b, 0, 4)?, number(b, 5, 7)?, number(b, 8, 10)?);
    let shown = |by: i64| Some(show(day()? + by, 0, 0, "")?.get(..10)?.into());
    [shown(-1), shown(0), shown(1)]
}

/// What a text is ordered by: a moment without its `Z`, which would stand behind the digits of a finer one.
pub(super) fn key(text: &[u8]) -> &[u8] {
    match text.split_last() {
        Some((b'Z', rest)) if is_normal(text) => rest,
        _ => text,
    }
}

/// By that; where it is the same, bytewise.
pub(super) fn order(a: &[u8], b: &[u8]) -> Ordering {
    key(a).cmp(key(b)).then_with(|| a.cmp(b))
}
