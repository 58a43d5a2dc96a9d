//! Calendar arithmetic on milliseconds since the Unix epoch, UTC, proleptic Gregorian.

pub(crate) const DAY_MS: i64 = 86_400_000;

/// A moment taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) milli: i64,
}

/// Takes a moment apart (days-to-civil after Howard Hinnant's era arithmetic).
pub(crate) fn civil(ms: i64) -> Civil {
    let days = ms.div_euclid(DAY_MS);
    let rest = ms.rem_euclid(DAY_MS);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    Civil {
        year: yoe + era * 400 + i64::from(month <= 2),
        month,
        day: doy - (153 * mp + 2) / 5 + 1,
        hour: rest / 3_600_000,
        minute: rest / 60_000 % 60,
        second: rest / 1000 % 60,
        milli: rest % 1000,
    }
}

/// Puts a moment together; days beyond a month's end run over into the next.
pub(crate) fn from_civil(c: Civil) -> i64 {
    let year = if c.month <= 2 { c.year - 1 } else { c.year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let mp = (c.month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + c.day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = era * 146_097 + doe - 719_468;
    days * DAY_MS + c.hour * 3_600_000 + c.minute * 60_000 + c.second * 1000 + c.milli
}

/// `2026-03-04T05:06:07.000Z`.
pub(crate) fn iso(ms: i64) -> String {
    let c = civil(ms);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second, c.milli
    )
}

/// `2026-03-04`.
pub(crate) fn iso_date(ms: i64) -> String {
    let c = civil(ms);
    format!("{:04}-{:02}-{:02}", c.year, c.month, c.day)
}

/// Reads `YYYY-MM-DD`, optionally followed by `T` or a space, `HH:MM[:SS[.fff]]` and `Z` or `±HH:MM`.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, rest) = match text.find(['T', ' ', 't']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, ""),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2)?;
    let day = number(parts.next()?, 2)?;
    if parts.next().is_some()
        || !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
    {
        return None;
    }
    let midnight = Civil {
        year,
        month,
        day,
        hour: 0,
        minute: 0,
        second: 0,
        milli: 0,
    };
    if rest.is_empty() {
        return Some(from_civil(midnight));
    }
    let (time, offset_minutes) = split_zone(rest)?;
    let mut parts = time.split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let (second, milli) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (number(seconds, 2)?, 0),
            Some((whole, fraction)) => (number(whole, 2)?, millis(fraction)?),
        },
    };
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    Some(
        from_civil(Civil {
            hour,
            minute,
            second,
            milli,
            ..midnight
        }) - offset_minutes * 60_000,
    )
}

fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else {
        return Some((text, 0));
    };
    let sign = if text.get(at..)?.starts_with('-') {
        -1
    } else {
        1
    };
    let zone: String = text.get(at + 1..)?.chars().filter(|c| *c != ':').collect();
    let hours = number(zone.get(..2)?, 2)?;
    let minutes = if zone.len() > 2 {
        number(zone.get(2..)?, 2)?
    } else {
        0
    };
    Some((text.get(..at)?, sign * (hours * 60 + minutes)))
}

fn number(text: &str, max_digits: usize) -> Option<i64> {
    if text.is_empty() || text.len() > max_digits || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn millis(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
    padded.parse().ok()
}

/// Days of a month, leap years included.
pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_milliseconds_agree() {
        for (text, ms) in [
            ("1970-01-01", Some(0)),
            ("2026-03-04T05:06:07.890Z", Some(1_772_600_767_890)),
            ("2026-03-04T07:06:07.89+02:00", Some(1_772_600_767_890)),
            ("2024-02-29", Some(1_709_164_800_000)),
            ("2023-02-29", None),
            ("not a date", None),
            ("2026-3-4", Some(1_772_582_400_000)),
        ] {
            assert_eq!(parse(text), ms, "{text}");
        }
        assert_eq!(iso(1_772_600_767_890), "2026-03-04T05:06:07.890Z");
    }

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        for day in (-100_000..50_000).step_by(13) {
            let ms = day * DAY_MS + 12_345;
            assert_eq!(from_civil(civil(ms)), ms);
        }
    }
}
