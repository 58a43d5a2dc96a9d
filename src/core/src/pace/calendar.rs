//! Months of the calendar, in UTC: that is how Airtable counts calls.

pub(super) const DAY_MS: u64 = 86_400_000;

/// Months since January 1970, UTC, of a unix time in ms.
pub(super) fn month_of(unix_ms: u64) -> u32 {
    let (year, month) = civil(unix_ms / DAY_MS);
    u32::try_from((year - 1970) * 12 + month - 1).unwrap_or(u32::MAX)
}

/// When the month after that of `unix_ms` begins, unix ms, UTC.
pub(super) fn month_end(unix_ms: u64) -> u64 {
    let (year, month) = civil(unix_ms / DAY_MS);
    let (year, month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    first_day(year, month) * DAY_MS
}

/// Year and month (1–12) of a day since the epoch, proleptic Gregorian. Counted in years that begin in March, so that
/// the leap day is a year's last.
fn civil(days: u64) -> (u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    (year, month)
}

/// The day since the epoch on which a month begins.
fn first_day(year: u64, month: u64) -> u64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y / 400;
    let yoe = y % 400;
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T00:00:00Z.
    const NOV_21: u64 = 1_795_219_200_000;

    #[test]
    fn months_follow_the_calendar() {
        let cases = [
            // (unix ms, months since 1970-01, start of the next)
            (0, 0, 31 * DAY_MS),
            (31 * DAY_MS - 1, 0, 31 * DAY_MS),
            (31 * DAY_MS, 1, 59 * DAY_MS),
            // 2024-02-29: a leap day
            (1_709_164_800_000, 54 * 12 + 1, 1_709_251_200_000),
            // 2100-02-28: no leap year
            (4_107_456_000_000, 130 * 12 + 1, 4_107_542_400_000),
            // the last ms of 2026
            (1_798_761_599_999, 56 * 12 + 11, 1_798_761_600_000),
            (NOV_21, 56 * 12 + 10, NOV_21 + 10 * DAY_MS),
        ];
        for (unix, number, end) in cases {
            assert_eq!((month_of(unix), month_end(unix)), (number, end), "{unix}");
        }
        // Every month's end is the next month's first ms, for 400 years.
        let mut at = 0;
        for number in 0..4800 {
            assert_eq!(month_of(at), number);
            at = month_end(at);
            assert_eq!(month_of(at - 1), number);
        }
    }
}
