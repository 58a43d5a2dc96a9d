//! Index values and what is asked upstream.
//!
//! The question asked upstream never means less than the one asked here: what comes back is checked against its own
//! cells, so a record too many costs nothing and a record too few would be a wrong answer.

mod formula;
#[cfg(test)]
mod tests;

pub use formula::{formula, ids_formula, Lookup};

use crate::spec::{self, FieldIx, Kind, Normal, Spec};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::str::from_utf8;
use serde_json::{Map, Value};

/// Why a value cannot be one of the field's: what is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadValue(pub String);

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl core::error::Error for BadValue {}

/// The canonical text of an index argument: normalised; numbers in plain decimals, so that `8`, `8.0` and `8e0` agree.
///
/// # Errors
/// The field cannot hold such a value; says what is expected.
pub fn canonical<'a>(
    spec: &Spec,
    field: FieldIx,
    raw: &'a [u8],
) -> Result<Cow<'a, [u8]>, BadValue> {
    let Some(field) = spec.get(field) else {
        return Err(BadValue("the spec has no such field".into()));
    };
    let expected = |what: &str| BadValue(format!("the value of {:?} must be {what}", field.name));
    let text = from_utf8(raw).map_err(|_| expected("UTF-8 text"))?;
    let as_is = |ok: bool, what: &str| {
        if ok {
            Ok(Cow::Borrowed(raw))
        } else {
            Err(expected(what))
        }
    };
    match field.kind {
        Kind::Boolean => as_is(matches!(text, "true" | "false"), "true or false"),
        Kind::Link | Kind::Links => as_is(spec::record_id_ok(raw), "a record id, rec…"),
        Kind::Date => as_is(spec::is_date_time(text), "a date such as 2026-03-04"),
        Kind::DateTime => as_is(
            spec::is_date_time(text),
            "a time such as 2026-03-04T05:06:07.000Z",
        ),
        Kind::Integer | Kind::Number => match canonical_number(text) {
            Some(n) if n.as_bytes() == raw => Ok(Cow::Borrowed(raw)),
            Some(n) => Ok(Cow::Owned(n.into_bytes())),
            None => Err(expected("a number such as 8 or 2.5")),
        },
        Kind::Text | Kind::Array | Kind::Object | Kind::Any => {
            Ok(match Normal::apply_all(&field.normalize, text) {
                Cow::Borrowed(t) => Cow::Borrowed(t.as_bytes()),
                Cow::Owned(t) => Cow::Owned(t.into_bytes()),
            })
        }
    }
}

/// A number in plain decimals; `None`: it is none, or too large for one.
pub(crate) fn canonical_number(text: &str) -> Option<String> {
    // Rust reads "inf" and "nan" as well.
    if !text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
    {
        return None;
    }
    if let Ok(whole) = text.parse::<i128>() {
        return Some(whole.to_string());
    }
    let n: f64 = text.parse().ok()?;
    if n == 0.0 {
        return Some("0".into());
    }
    n.is_finite().then(|| n.to_string())
}

/// The columns that a record of this spec is made of, and those of the lookups that are looked at beside its links. `None`:
/// of an open spec, all of them.
pub fn columns(spec: &Spec) -> Option<Vec<String>> {
    if spec.open() {
        return None;
    }
    let mut out: Vec<String> = Vec::new();
    for field in spec.fields().iter().filter(|f| f.name != "id") {
        let lookup = formula::lookup(field).map(|l| l.into_owned());
        for column in core::iter::once(field.airtable.clone()).chain(lookup) {
            if !out.contains(&column) {
                out.push(column);
            }
        }
    }
    Some(out)
}

/// What a fetched record's cells say of a link field's lookup: does it hold the ids that the link holds?
/// `None`: no evidence, as the link is empty or the field has no lookup.
pub fn lookup_agrees(spec: &Spec, field: FieldIx, cells: &Map<String, Value>) -> Option<bool> {
    let field = spec.get(field)?;
    let lookup = formula::lookup(field)?;
    let mut linked: Vec<&str> = Vec::new();
    strings(cells.get(&field.airtable)?, &mut linked);
    linked.retain(|id| match field.kind {
        Kind::Link | Kind::Links => spec::record_id_ok(id.as_bytes()),
        _ => formula::may_be_link(field, id),
    });
    if linked.is_empty() {
        return None;
    }
    let mut looked_up: Vec<&str> = Vec::new();
    if let Some(cell) = cells.get(lookup.as_ref()) {
        strings(cell, &mut looked_up);
    }
    let mut looked_up: Vec<&str> = looked_up
        .iter()
        .flat_map(|t| t.split(','))
        .map(str::trim)
        .collect();
    for ids in [&mut linked, &mut looked_up] {
        ids.sort_unstable();
        ids.dedup();
    }
    Some(linked == looked_up)
}

/// The texts in a cell; of `{id, …}` objects, the ids.
fn strings<'a>(cell: &'a Value, into: &mut Vec<&'a str>) {
    match cell {
        Value::String(s) => into.push(s),
        Value::Array(all) => all.iter().for_each(|v| strings(v, into)),
        Value::Object(o) => into.extend(o.get("id").and_then(Value::as_str)),
        _ => {}
    }
}

/// The order of SORT: numbers as numbers, false before true, text bytewise. Where a field holds anything, numbers come
/// before the rest.
pub fn compare(kind: Kind, a: &[u8], b: &[u8]) -> Ordering {
    match kind {
        Kind::Integer | Kind::Number | Kind::Any | Kind::Array => match (number(a), number(b)) {
            (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| whole(a).cmp(&whole(b))),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => a.cmp(b),
        },
        _ => a.cmp(b),
    }
}

fn number(text: &[u8]) -> Option<f64> {
    let text = from_utf8(text)
        .ok()
        .filter(|t| t.starts_with(|c: char| c.is_ascii_digit() || c == '-'))?;
    text.parse().ok().filter(|n: &f64| n.is_finite())
}

/// Whole numbers beyond 2^53, which are the same number as floats.
fn whole(text: &[u8]) -> Option<i128> {
    from_utf8(text).ok()?.parse().ok()
}
