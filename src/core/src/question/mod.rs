//! Index values and what is asked upstream.
//!
//! The question asked upstream never means less than the one asked here: what comes back is checked against its own
//! cells, so a record too many costs nothing and a record too few would be a wrong answer.

mod column;
mod form;
mod formula;
mod instant;
mod number;
mod sort;
#[cfg(test)]
mod tests;

pub use column::Column;
pub(crate) use form::texts;
pub use formula::{
    by_id, filled_formula, formula, ids_formula, lookup, shown_formula, ById, Through,
};
pub use sort::{compare, SortKey};

use crate::spec::{self, Field, FieldIx, Kind, Normal, Spec};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
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

/// The canonical text of an index argument: normalised; what may be a number by its number, so that `8`, `8.0` and `8e0`
/// agree; what is a moment by its instant, so that `Z`, `.000Z` and `+00:00` do.
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
        Kind::Date | Kind::DateTime if spec::is_date_time(text) => {
            Ok(bytes(form::of_text(field, text)))
        }
        Kind::Date => Err(expected("a date such as 2026-03-04")),
        Kind::DateTime => Err(expected("a time such as 2026-03-04T05:06:07.000Z")),
        Kind::Integer | Kind::Number => {
            let number = number::canonical_number(text).and_then(|n| number::as_cell(&n));
            Ok(bytes(Cow::Owned(
                number.ok_or_else(|| expected("a number such as 8 or 2.5"))?,
            )))
        }
        Kind::Text | Kind::Array | Kind::Object | Kind::Any => {
            Ok(match Normal::apply_all(&field.normalize, text) {
                Cow::Borrowed(t) => bytes(form::of_text(field, t)),
                Cow::Owned(t) => bytes(Cow::Owned(form::of_text(field, &t).into_owned())),
            })
        }
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(t) => Cow::Borrowed(t.as_bytes()),
        Cow::Owned(t) => Cow::Owned(t.into_bytes()),
    }
}

/// An id of a linked record in the cells of a field that is not declared to be a link, if it holds one.
pub fn id_in(field: &Field, cells: &Map<String, Value>) -> Option<String> {
    let mut held: Vec<&str> = Vec::new();
    strings(cells.get(&field.airtable)?, &mut held);
    let is_id = |id: &&str| by_id(field, id) == ById::Perhaps;
    held.into_iter().find(is_id).map(String::from)
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
        _ => by_id(field, id) == ById::Perhaps,
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
