//! Decimal numbers by their value, however they are written. No floats: 2^53 + 1 and a price of thirty digits are themselves.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::cmp::Ordering;

/// Digits that a plain decimal may have: a float's smallest and largest are written out, what lies beyond keeps its exponent.
const MOST_DIGITS: i64 = 400;
/// A longer exponent is no number that anybody means.
const MOST_EXPONENT_DIGITS: usize = 9;

/// A number as `0.DIGITS × 10^point`, without zeros at either end; no digits: 0.
struct Decimal<'a> {
    negative: bool,
    /// The digits before and behind the decimal point, as they were written.
    before: &'a [u8],
    behind: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// `-12.50e+3`; a sign, the digits before or behind the point, and the exponent may be lacking.
    fn read(text: &'a str) -> Option<Decimal<'a>> {
        let b = text.as_bytes();
        let (negative, b) = match b.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, b),
        };
        let (mantissa, exponent) = match b.iter().position(|c| matches!(c, b'e' | b'E')) {
            Some(at) => (b.get(..at)?, exponent(b.get(at + 1..)?)?),
            None => (b, 0),
        };
        let (before, behind) = match mantissa.iter().position(|c| *c == b'.') {
            Some(at) => (mantissa.get(..at)?, mantissa.get(at + 1..)?),
            None => (mantissa, &[][..]),
        };
        let digits =
            before.len() + behind.len() > 0 && before.iter().chain(behind).all(u8::is_ascii_digit);
        digits.then_some(Decimal {
            negative,
            before,
            behind,
            exponent,
        })
    }
    /// The digits that count, and the place of the point before the first of them (1: behind it).
    fn parts(&self) -> (String, i64) {
        let all: String = self
            .before
            .iter()
            .chain(self.behind)
            .map(|b| char::from(*b))
            .collect();
        let trimmed = all.trim_start_matches('0');
        let zeros = (all.len() - trimmed.len()) as i64;
        let point = self.before.len() as i64 + self.exponent - zeros;
        (trimmed.trim_end_matches('0').to_owned(), point)
    }
}

fn exponent(b: &[u8]) -> Option<i64> {
    let (negative, digits) = match b.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, b),
    };
    let text = core::str::from_utf8(digits).ok()?;
    let short = text.trim_start_matches('0');
    let ok = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && short.len() <= MOST_EXPONENT_DIGITS;
    if !ok {
        return None;
    }
    let n: i64 = if short.is_empty() {
        0
    } else {
        short.parse().ok()?
    };
    Some(if negative { -n } else { n })
}

/// A number in plain decimals, one text for one number: `94.00`, `+94` and `9.4e1` are `94`. What would take hundreds of
/// digits keeps an exponent: `1e999`. `None`: it is no number.
pub(crate) fn canonical_number(text: &str) -> Option<String> {
    let n = Decimal::read(text)?;
    let (digits, point) = n.parts();
    if digits.is_empty() {
        return Some("0".into());
    }
    let sign = if n.negative { "-" } else { "" };
    let len = digits.len() as i64;
    let zeros = |n: i64| "0".repeat(usize::try_from(n).unwrap_or(0));
    if point.abs().max(len) > MOST_DIGITS {
        return Some(format!("{sign}{digits}e{}", point - len));
    }
    Some(if point <= 0 {
        format!("{sign}0.{}{digits}", zeros(-point))
    } else if point >= len {
        format!("{sign}{digits}{}", zeros(point - len))
    } else {
        let (whole, rest) = digits.split_at(usize::try_from(point).unwrap_or(0));
        format!("{sign}{whole}.{rest}")
    })
}

/// The canonical text of what a JSON reader makes of a number: a whole one of 64 bits as it is, any other one rounded to a
/// float. A cell that was written with more digits than that was rounded the same way.
pub(crate) fn as_cell(canonical: &str) -> Option<String> {
    let whole = !canonical.contains(['.', 'e']);
    if whole && (canonical.parse::<i64>().is_ok() || canonical.parse::<u64>().is_ok()) {
        return Some(canonical.to_owned());
    }
    let n: f64 = canonical.parse().ok().filter(|n: &f64| n.is_finite())?;
    canonical_number(&n.to_string())
}

/// The order of two numbers; `None`: one of them is none.
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    let float = |t: &str| t.parse::<f64>().ok().filter(|n| n.is_finite());
    // Rounding keeps the order; only what it makes equal is looked at digit by digit.
    match (starts_as_number(a) && starts_as_number(b)).then(|| (float(a), float(b)))? {
        (Some(x), Some(y)) if x < y => return Some(Ordering::Less),
        (Some(x), Some(y)) if x > y => return Some(Ordering::Greater),
        _ => {}
    }
    let ((sx, px, dx), (sy, py, dy)) = (parts(a)?, parts(b)?);
    Some(sx.cmp(&sy).then_with(|| {
        let by_size = px.cmp(&py).then_with(|| dx.cmp(&dy));
        match sx {
            Ordering::Less => by_size.reverse(),
            Ordering::Equal => Ordering::Equal,
            Ordering::Greater => by_size,
        }
    }))
}

/// How a number stands to zero, where its point is, and its digits: what numbers are ordered by. `None`: it is none.
pub(super) fn parts(text: &str) -> Option<(Ordering, i64, String)> {
    let n = Decimal::read(text).filter(|_| starts_as_number(text))?;
    let (digits, point) = n.parts();
    let sign = match (digits.is_empty(), n.negative) {
        (true, _) => Ordering::Equal,
        (false, true) => Ordering::Less,
        (false, false) => Ordering::Greater,
    };
    Some((sign, point, digits))
}

/// Rust's floats read "inf" and "nan" as well.
fn starts_as_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
}

/// Is it a number?
pub(super) fn is_number(text: &str) -> bool {
    starts_as_number(text) && Decimal::read(text).is_some()
}
