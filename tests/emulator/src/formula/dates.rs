//! The date functions: units, truncation, formats. All in UTC.

use super::{Function, Value};
use crate::datetime::{self, civil, from_civil, Civil, DAY_MS};

/// The start of the day that holds `ms`.
pub(crate) fn midnight(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS) * DAY_MS
}

/// Date functions of plain values; `None` is `#ERROR!`.
pub(crate) fn call(function: Function, args: &[Value], separator: &str) -> Option<Value> {
    let date = |place: usize| args.get(place).and_then(Value::to_date);
    let text = |place: usize| args.get(place).map(|v| v.to_text(separator));
    if matches!(args.first(), Some(Value::Blank)) {
        return Some(match function {
            Function::IsSame | Function::IsBefore | Function::IsAfter => Value::Bool(false),
            _ => Value::Blank,
        });
    }
    let part = |pick: fn(Civil) -> i64| date(0).map(|ms| number(pick(civil(ms))));
    Some(match function {
        Function::IsSame | Function::IsBefore | Function::IsAfter => {
            // A blank or unreadable second date is never the same, before or after.
            let (Some(a), Some(b)) = (date(0), date(1)) else {
                return Some(Value::Bool(false));
            };
            let (a, b) = match text(2) {
                Some(unit) => (truncate(a, &unit)?, truncate(b, &unit)?),
                None => (a, b),
            };
            Value::Bool(match function {
                Function::IsSame => a == b,
                Function::IsBefore => a < b,
                _ => a > b,
            })
        }
        Function::DatetimeParse => Value::Date(date(0)?, false),
        Function::DatetimeFormat => Value::text(match text(1) {
            Some(pattern) => format(date(0)?, &pattern),
            None => datetime::iso(date(0)?),
        }),
        Function::DateStr => Value::text(datetime::iso_date(date(0)?)),
        Function::TimeStr => Value::text(format(date(0)?, "HH:mm:ss")),
        // Zones and locales are display matters: the moment stays the same.
        Function::SetTimezone | Function::SetLocale => Value::Date(date(0)?, false),
        Function::DateAdd => {
            Value::Date(add(date(0)?, args.get(1)?.to_number()?, &text(2)?)?, false)
        }
        Function::DatetimeDiff => number(difference(
            date(0)?,
            date(1)?,
            text(2).as_deref().unwrap_or("second"),
        )?),
        Function::Year => part(|c| c.year)?,
        Function::Month => part(|c| c.month)?,
        Function::Day => part(|c| c.day)?,
        Function::Hour => part(|c| c.hour)?,
        Function::Minute => part(|c| c.minute)?,
        Function::Second => part(|c| c.second)?,
        // 1970-01-01 was a Thursday; Sunday is 0.
        Function::Weekday => number((date(0)?.div_euclid(DAY_MS) + 4).rem_euclid(7)),
        _ => return None,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Millis(i64),
    Months(i64),
}

fn unit(name: &str) -> Option<Unit> {
    Some(match name.trim().to_lowercase().trim_end_matches('s') {
        "millisecond" => Unit::Millis(1),
        "second" | "" => Unit::Millis(1000),
        "minute" => Unit::Millis(60_000),
        "hour" | "h" => Unit::Millis(3_600_000),
        "day" | "d" => Unit::Millis(DAY_MS),
        "week" | "w" => Unit::Millis(7 * DAY_MS),
        "month" => Unit::Months(1),
        "quarter" | "q" => Unit::Months(3),
        "year" | "y" => Unit::Months(12),
        _ => return None,
    })
}

fn truncate(ms: i64, name: &str) -> Option<i64> {
    Some(match unit(name)? {
        // Weeks start on Sunday; the epoch was a Thursday.
        Unit::Millis(span) if span == 7 * DAY_MS => {
            (ms + 4 * DAY_MS).div_euclid(span) * span - 4 * DAY_MS
        }
        Unit::Millis(span) => ms.div_euclid(span) * span,
        Unit::Months(span) => {
            let c = civil(ms);
            from_civil(Civil {
                month: (c.month - 1) / span * span + 1,
                day: 1,
                hour: 0,
                minute: 0,
                second: 0,
                milli: 0,
                ..c
            })
        }
    })
}

#[allow(clippy::cast_possible_truncation)] // Saturates; a date that far away is as wrong as any other.
fn add(ms: i64, amount: f64, name: &str) -> Option<i64> {
    let amount = amount.trunc() as i64;
    match unit(name)? {
        Unit::Millis(span) => ms.checked_add(span.checked_mul(amount)?),
        Unit::Months(span) => {
            let c = civil(ms);
            let months = c
                .year
                .checked_mul(12)?
                .checked_add(c.month - 1)?
                .checked_add(span.checked_mul(amount)?)?;
            let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
            if !(-9999..=9999).contains(&year) {
                return None;
            }
            Some(from_civil(Civil {
                year,
                month,
                day: c.day.min(datetime::days_in_month(year, month)),
                ..c
            }))
        }
    }
}

fn difference(a: i64, b: i64, name: &str) -> Option<i64> {
    match unit(name)? {
        Unit::Millis(span) => Some((a - b) / span),
        Unit::Months(span) => {
            let (x, y) = (civil(a), civil(b));
            let whole = (x.year - y.year) * 12 + x.month - y.month;
            let behind = |c: Civil| (c.day, c.hour, c.minute, c.second, c.milli);
            let short = match whole.signum() {
                1 if behind(x) < behind(y) => -1,
                -1 if behind(x) > behind(y) => 1,
                _ => 0,
            };
            Some((whole + short) / span)
        }
    }
}

/// The tokens of moment.js that people use; anything else is copied.
fn format(ms: i64, pattern: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let c = civil(ms);
    let month_name = usize::try_from(c.month - 1)
        .ok()
        .and_then(|m| MONTHS.get(m))
        .copied()
        .unwrap_or_default();
    let hour12 = if c.hour % 12 == 0 { 12 } else { c.hour % 12 };
    let tokens: [(&str, String); 21] = [
        ("YYYY", format!("{:04}", c.year)),
        ("YY", format!("{:02}", c.year.rem_euclid(100))),
        ("MMMM", month_name.to_owned()),
        ("MMM", month_name.chars().take(3).collect()),
        ("MM", format!("{:02}", c.month)),
        ("M", c.month.to_string()),
        ("DD", format!("{:02}", c.day)),
        ("D", c.day.to_string()),
        ("HH", format!("{:02}", c.hour)),
        ("H", c.hour.to_string()),
        ("hh", format!("{hour12:02}")),
        ("h", hour12.to_string()),
        ("mm", format!("{:02}", c.minute)),
        ("m", c.minute.to_string()),
        ("ss", format!("{:02}", c.second)),
        ("s", c.second.to_string()),
        ("SSS", format!("{:03}", c.milli)),
        ("A", if c.hour < 12 { "AM" } else { "PM" }.to_owned()),
        ("a", if c.hour < 12 { "am" } else { "pm" }.to_owned()),
        ("X", ms.div_euclid(1000).to_string()),
        ("x", ms.to_string()),
    ];
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if let Some((literal, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            out.push_str(literal);
            rest = after;
        } else if let Some((token, text)) = tokens.iter().find(|(token, _)| rest.starts_with(token))
        {
            out.push_str(text);
            rest = rest.get(token.len()..).unwrap_or_default();
        } else {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

#[allow(clippy::cast_precision_loss)] // Milliseconds of any calendar date stay below 2^53.
fn number(n: i64) -> Value {
    Value::Number(n as f64)
}
